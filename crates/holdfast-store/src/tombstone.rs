//! Tombstones: a purge writes one before it removes anything, so that a late pod of the same backup finds it and stops.

use crate::Result;
use crate::purge::PurgeEntry;
use crate::repo::Repo;
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
    pub(crate) fn new(entry: &PurgeEntry, now: Timestamp) -> Self {
        Self {
            v: crate::FORMAT_VERSION,
            uid: entry.uid.clone(),
            name: entry.name.clone(),
            path: entry.path.clone(),
            time: now.to_string(),
        }
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        let written = self.time.parse::<Timestamp>();
        written.is_ok_and(|written| now.duration_since(written) > TOMBSTONE_KEPT)
    }
}

/// Removes tombstones that are older than [`TOMBSTONE_KEPT`]. Answers how many went.
///
/// # Errors
/// Errors of the storage.
pub fn remove_expired_tombstones<R: Repo>(repo: &R, now: Timestamp) -> Result<u32> {
    repo.remove_tombstones(&|tombstone| tombstone.is_expired(now))
}
