//! How an admitted datafile Backup is driven to Completed or Failed.
//!
//! ```text
//! New, admitted ── plan ──> InProgress ── Job ──> sealed ──> Completed
//!        │                      │            └──> Failed
//!        └── cannot be planned ─┴── deleted, cancelled, too late: Job removed, pods gone ──> Failed
//! ```
//! [`decide`] judges what was observed ([`verdict`]) and renders the one write that follows ([`status`]).

mod children;
mod cleanup;
mod finish;
mod job;
mod lookup;
mod mark;
mod observed;
mod plan;
mod report;
mod run;
mod size;
mod state;
mod status;
mod stop;
mod storage;
mod trouble;
mod verdict;
mod volumes;

#[cfg(test)]
mod tests;

use holdfast_api::BackupPhase;
use jiff::Timestamp;

pub use children::report_job_name;
pub use cleanup::{Owner, cleanup};
pub use observed::{Decision, Observed, Pods, Problem, Read, Write};
pub use plan::{is_admitted, section};
pub use state::can_become;
pub use stop::CANCELLED;
pub use storage::{Storage, storage};
pub use trouble::{Troubled, in_trouble};
pub(crate) use volumes::claims_in;
pub use volumes::claims_of;

pub use crate::{
    decision::{Next, Seen, unreadable},
    settings::Settings,
};

use verdict::Verdict;

/// What to do about a Backup: at most one write, and when to look again. Never fails: a problem is a decision too.
///
/// New belongs to the scheduler until it is admitted, and again when it is deleted before it started; what is over belongs
/// to gc.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    if let Some(metadata) = mark::lost(backup) {
        return Decision::write(Write::Metadata(metadata));
    }
    let verdict = match backup.phase() {
        BackupPhase::New if is_admitted(backup) && backup.metadata.deletion_timestamp.is_none() => {
            plan::judge(observed, now)
        }
        BackupPhase::InProgress => run::judge(observed, now),
        _ => Verdict::Rest(None),
    };
    status::render(observed, verdict, now)
}
