//! What is removed, and what never: retention, and the way of a deleted Backup to its end.
//!
//! ```text
//! Completed, Failed ── retirement::decide (expired, over the limit) or a user ──> deleted ── decide ──> Deleting
//!     Deleting ── volume::decide: one purge Job for many Backups of a volume ──> files gone ──> released
//! ```
//! Every decision is derived anew from what is observed and yields at most one guarded write, so that doing one twice,
//! or crashing between two, is harmless.

mod index;
mod purge;
pub mod purge_plan;
mod release;
mod restores;
mod retention;
pub mod retirement;
mod summary;
pub mod volume;

#[cfg(test)]
mod tests;

pub use index::{At, Index};
pub use purge::{
    BATCH_MAX, Batch, Entry, Outcome, freed, identity, is_ours, outcome, pull_secrets, purge_job, purge_job_name,
    repository,
};
pub use release::{Decision, Observed, Read, Release, Write, decide, tell, untell};
pub use restores::{InUse, restoring};
pub use retention::{Candidate, Group, Limits, next_expiration, retire};
pub use summary::{BackupSummary, Place, SummarySpec, SummaryStatus, concerns};
