//! What is removed, and what never: retention, and the way of a deleted Backup to its end.
//!
//! ```text
//! Completed, Failed ── retire (expired, surplus) or a user ──> deleted ── decide ──> Deleting
//!     Deleting ── volume::decide: one purge Job for many Backups of a volume ──> files gone ──> released
//! ```
//! Every decision is derived anew from what is observed and yields at most one guarded write, so that doing one twice,
//! or crashing between two, is harmless.

mod index;
mod purge;
mod release;
mod retention;
mod slim;
pub mod volume;

#[cfg(test)]
mod tests;

pub use index::{At, Index};
pub use purge::{BATCH_MAX, Batch, Entry, Outcome, freed, is_ours, outcome, pull_secrets, purge_job, purge_job_name};
pub use release::{Decision, Observed, Write, concerns, decide, release, tell, untell};
pub use retention::{Doomed, Group, Limits, next_expiration, retire};
pub use slim::{Place, SlimBackup, SlimSpec, SlimStatus, place};
