//! The restore service against a real API server, with the rights that the chart gives it. There are no nodes and no
//! controllers: the tests play the Job and StatefulSet controllers, kubelet and the agent by writing the status that
//! these would write.

#![allow(clippy::disallowed_methods, reason = "tests play those who write as they like")]
#![allow(clippy::expect_used, reason = "a test that does not find what it needs has failed")]

mod absent;
mod deletion;
mod endings;
mod history;
mod one_writer;
mod path;
mod play;
mod process;
mod refusals;
mod service;
mod unreadable;
mod withdrawn;
mod world;
