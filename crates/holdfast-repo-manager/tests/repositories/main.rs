//! The repo-manager against a real API server. Nothing provisions volumes there: what is tested is what is asked for.

mod claims;
mod deletion;
mod lifecycle;
mod support;
