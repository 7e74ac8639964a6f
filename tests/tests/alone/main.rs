//! What changes the whole installation, so that nothing else may run beside it.
#![allow(clippy::disallowed_methods, reason = "tests play those who write as they like")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)] // A test fails by panic.

mod bus;
mod installation;
mod leaders;
mod node;
#[allow(dead_code)] // The other tests use the rest of it.
#[path = "../path/scene.rs"]
mod scene;
