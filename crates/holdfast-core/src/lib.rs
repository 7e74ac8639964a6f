//! What Holdfast decides: pure functions over observed state, without a cluster, a bus or a clock.

pub mod admission;
pub mod backup;
pub mod gc;
pub mod naming;
pub mod pod;
pub mod policy;
pub mod quantity;
pub mod repo;
pub mod restore;
pub mod target;
pub mod template;
pub mod ttl;
