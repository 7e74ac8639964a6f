//! What Holdfast decides: pure functions over observed state, without a cluster, a bus or a clock.

// Fixtures are built in place: what matters in tests is that they read as tables.
#![cfg_attr(
    test,
    allow(
        clippy::needless_pass_by_value,
        clippy::semicolon_if_nothing_returned,
        clippy::unnecessary_wraps
    )
)]

pub mod admission;
pub mod backup;
pub mod decision;
pub mod driver;
pub mod gc;
pub mod key;
pub mod naming;
pub mod pod;
pub mod policy;
pub mod quantity;
pub mod repo;
pub mod restore;
pub mod settings;
pub mod target;
pub mod template;
pub mod tool;
pub mod ttl;
