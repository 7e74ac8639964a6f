//! The repo-manager against a real API server. Nothing provisions volumes there: what is tested is what is asked for.

#![allow(clippy::disallowed_methods, reason = "tests play those who write as they like")]
#![allow(clippy::unwrap_used, reason = "a test that cannot reach its server has failed")]

mod claims;
mod deletion;
mod identity;
mod lifecycle;
mod support;
