//! Where a decision begins.

use holdfast_api::BackupPhase;
use jiff::Timestamp;

use super::{Decision, Observed, is_admitted, plan, run, status};

/// What to do about a Backup: at most one write, and when to look again. Never fails: a problem is a decision too.
///
/// New belongs to the scheduler until it is admitted, and again when it is deleted before it started;
/// what is over belongs to gc.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    match status::phase(backup) {
        BackupPhase::New if is_admitted(backup) && backup.metadata.deletion_timestamp.is_none() => {
            plan::decide(observed, now)
        }
        BackupPhase::InProgress => run::decide(observed, now),
        _ => Decision::wait(),
    }
}
