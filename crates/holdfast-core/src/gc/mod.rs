//! What is removed, and what never: retention, and the way of a deleted Backup to its end.

mod purge;
mod release;
mod retention;
mod slim;
#[cfg(test)]
mod tests;

pub use purge::{BATCH_MAX, Batch, Entry, Outcome, outcome, purge_job, purge_job_name};
pub use release::{Decision, Observed, Write, claim_and_path, concerns, decide, purge_failed, release};
pub use retention::{Doomed, Group, Limits, next_expiration, retire};
pub use slim::{SlimBackup, SlimSpec, SlimStatus};
