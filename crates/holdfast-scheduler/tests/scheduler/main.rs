//! The scheduler against a real API server. There are no nodes and no controllers: the tests play kubelet and the
//! other services by writing what these would write.

#![allow(clippy::disallowed_methods, reason = "tests play those who write as they like")]
#![allow(clippy::expect_used, reason = "a test that does not find what it needs has failed")]

mod admission;
mod policies;
mod replicas;
mod slots;
mod world;
