//! Tombs: a purge writes one before it removes anything, so that a late pod of the same backup finds it and stops.

use crate::folder::Folder;
use crate::path::{META_DIR, valid_uid};
use crate::{Error, Repository, Result};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a tomb stays: longer than any pod of the backup could linger.
pub const TOMB_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
const TOMBS: &str = "tombs";
const TOMB_MAX: u64 = 16 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Tomb {
    v: u32,
    uid: String,
    name: String,
    path: String,
    /// RFC 3339.
    time: String,
}

fn folder(root: &Folder) -> Result<Option<Folder>> {
    match root.open_dir(META_DIR)? {
        Some(meta) => meta.open_dir(TOMBS),
        None => Ok(None),
    }
}

/// Whether this backup was purged.
pub(crate) fn exists(root: &Folder, uid: &str) -> Result<bool> {
    match folder(root)? {
        Some(tombs) if valid_uid(uid) => Ok(tombs.kind(uid)?.is_some()),
        _ => Ok(false),
    }
}

/// Writes the tomb of a backup; one that is there keeps its time.
pub(crate) fn write(repository: &Repository, uid: &str, name: &str, path: &str, now: Timestamp) -> Result<()> {
    let tomb = Tomb {
        v: crate::FORMAT_VERSION,
        uid: uid.to_owned(),
        name: name.to_owned(),
        path: path.to_owned(),
        time: now.to_string(),
    };
    let bytes = serde_json::to_vec(&tomb).map_err(|error| Error::io("write tomb", std::io::Error::other(error)))?;
    let tombs = repository.root().make_dir(META_DIR)?.make_dir(TOMBS)?;
    tombs.write_new(uid, &bytes, repository.writer())?;
    Ok(())
}

/// Removes tombs that are older than [`TOMB_KEPT`]; what is no tomb of ours stays. Answers how many went.
pub(crate) fn remove_expired(root: &Folder, now: Timestamp) -> Result<u32> {
    let mut removed = 0;
    let Some(tombs) = folder(root)? else {
        return Ok(removed);
    };
    for name in tombs.names()? {
        let Ok(Some(bytes)) = tombs.read(&name, TOMB_MAX) else {
            continue;
        };
        let written = serde_json::from_slice::<Tomb>(&bytes)
            .ok()
            .and_then(|tomb| tomb.time.parse::<Timestamp>().ok());
        if written.is_some_and(|written| now.duration_since(written) > TOMB_KEPT) {
            tombs.remove_file(&name)?;
            removed += 1;
        }
    }
    Ok(removed)
}
