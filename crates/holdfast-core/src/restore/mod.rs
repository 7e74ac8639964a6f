//! How a RestoreJob stops a workload, has its volumes written, and brings it back.
//!
//! ```text
//! New ── everything checked, nothing touched ──> InProgressPhy
//!   verify Job ──> suspend (replicas 0) ──> pods gone ──> restore Job ──> resume ──> Ready ──> Completed
//!   └─ wrong ──> Failed, workload as it was            └─ half written ──> Failed, workload stays suspended
//! ```
//! Restores are rare, so everything is read from the API server itself in each pass. [`decide`] judges what was read
//! ([`verdict`]) and renders the one write that follows ([`status`]). How to undo the suspension lies on the workload,
//! written in the same patch: the annotation is the lock, and any later pass, of whichever process, can settle it.

mod after_write;
mod hold;
mod jobs;
mod new;
mod observed;
mod run;
mod start;
mod status;
mod stop;
mod targets;
#[cfg(test)]
mod tests;
mod tool;
mod undo;
mod verdict;
mod verify;
mod withdraw;
mod workload;
mod writers;

use holdfast_api::{RestoreJobPhase, names::FINALIZER};
use jiff::Timestamp;

pub use jobs::{restore_job_name, verify_job_name};
pub use observed::{Decision, LockHolder, Observed, Read, Write};
pub use start::release_pod;
pub use stop::orphan;
pub use workload::{Kind, Workload, claim_names};
pub use writers::target_of;

pub use crate::settings::Settings;

use crate::decision::with_finalizer;
use verdict::Verdict;

/// Decides about one RestoreJob.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    status::render(observed, judge(observed, now), now)
}

fn judge(observed: &Observed, now: Timestamp) -> Verdict {
    let restore = &observed.restore;
    if restore.metadata.deletion_timestamp.is_some() {
        return stop::judge(observed, now);
    }
    match restore.phase() {
        RestoreJobPhase::New => match with_finalizer(&restore.metadata, FINALIZER) {
            Some(patch) => Verdict::write(Write::Metadata(patch)),
            None => new::judge(observed, now),
        },
        RestoreJobPhase::InProgressPhy => run::judge(observed, now),
        // Nobody needs any more what its pods say.
        RestoreJobPhase::Completed | RestoreJobPhase::Failed => start::release_all(observed).unwrap_or(Verdict::Rest),
        RestoreJobPhase::InProgressLogic => Verdict::Rest,
    }
}
