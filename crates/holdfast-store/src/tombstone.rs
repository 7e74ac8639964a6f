//! Tombstones: a purge writes one before it removes anything, so that a late pod of the same backup finds it and stops.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a tombstone stays: longer than any pod of the backup could linger.
pub const TOMBSTONE_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Format version.
    pub v: u32,
    /// Uid of the Backup.
    pub uid: String,
    /// Name of the Backup; may be empty.
    pub name: String,
    /// Its place in the repository; empty if none was ever planned.
    pub path: String,
    /// When it was written, RFC 3339.
    pub time: String,
}

impl Tombstone {
    /// Whether no pod of its backup can linger any more.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        let written = self.time.parse::<Timestamp>();
        written.is_ok_and(|written| now.duration_since(written) > TOMBSTONE_KEPT)
    }
}
