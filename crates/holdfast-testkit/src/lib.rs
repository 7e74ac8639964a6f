//! What tests share: a real API server, a real NATS server, samples, and waiting with a deadline.
//!
//! Only ever a dev-dependency. Servers listen on loopback, on ports of their own, and never outlive the test process.

#![allow(clippy::missing_panics_doc, clippy::panic, clippy::expect_used)] // Only tests call it, and a test fails by panic.
#![allow(clippy::disallowed_methods, reason = "tests play those who write as they like")]

mod apiserver;
mod nats;
pub mod permissions;
mod pki;
pub mod play;
pub mod process;
pub mod sample;
pub mod stage;
mod wait;

pub use apiserver::ApiServer;
pub use nats::Nats;
pub use process::Process;
pub use wait::{eventually, never};
