//! Which phase may follow which.

use holdfast_api::BackupPhase;

/// Whether the executor may move a Backup from one phase to another. No phase at all is New.
/// Staying is always allowed in phases that the executor owns; what is over stays over.
pub const fn can_become(from: Option<BackupPhase>, to: BackupPhase) -> bool {
    use BackupPhase::{Completed, Failed, InProgress, New};
    match from {
        None | Some(New) => matches!(to, New | InProgress | Failed),
        Some(InProgress) => matches!(to, InProgress | Completed | Failed),
        Some(_) => false,
    }
}
