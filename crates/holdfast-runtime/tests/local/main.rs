//! What needs neither a cluster nor a bus: health, draining, the queue.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod queue;
mod service;
#[path = "../support/mod.rs"]
mod support;
