//! The executor against a real API server. There are no nodes and no controllers: the tests play the Job controller,
//! kubelet and the agent by writing the status that these would write.

#![allow(clippy::disallowed_methods, reason = "tests play those who write as they like")]
#![allow(clippy::expect_used, reason = "a test that does not find what it needs has failed")]

mod backups;
mod endings;
mod sharing;
mod world;
