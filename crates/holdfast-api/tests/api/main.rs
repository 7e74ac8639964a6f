//! The API as users and the API server meet it: definitions, manifests, and what the agent answers.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod definitions;
mod fields;
mod flat;
mod golden;
mod manifests;
mod meanings;
mod results;
