//! The whole path on a real cluster, and what users do wrong on it.
#![allow(clippy::disallowed_methods, reason = "tests play those who write as they like")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)] // A test fails by panic.

mod backup;
mod bad_input;
mod chaos;
mod never_starts;
mod one_writer;
mod restore;
mod scene;
mod schedule;
mod secrets;
mod strict;
