//! The marker of a repository on a volume: its identity, and how a volume without one is searched for backups.

use crate::folder::{Folder, Kind};
use crate::lock::Lock;
use crate::path::{META_DIR, valid_uid};
use crate::seal::{FORMAT_VERSION, SEAL_FILE, known_version, newer};
use crate::{Error, Identity, Result, is_set_aside};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::time::Duration;

/// Name of its file.
pub(crate) const MARKER_FILE: &str = "repository.json";
const MARKER_MAX: u64 = 16 * 1024;
/// How far a volume without a marker is searched for backups before it is taken as one without.
const SEARCH_DEPTH: usize = 8;
const SEARCH_NAMES: usize = 50_000;
/// How long another pod may take to write a damaged marker anew.
const REPAIR_WAIT: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Marker {
    v: u32,
    id: String,
}

/// Reads the marker.
///
/// # Errors
/// [`Error::Newer`] for a newer format, or errors of the volume.
pub(crate) fn read(root: &Folder) -> Result<Identity> {
    let bytes = match root.open_dir(META_DIR)? {
        Some(meta) => meta.read(MARKER_FILE, MARKER_MAX)?,
        None => None,
    };
    let Some(bytes) = bytes else {
        return Ok(Identity::Missing);
    };
    if let Some(found) = known_version(&bytes).filter(|v| newer(*v)) {
        return Err(Error::Newer {
            what: format!("{META_DIR}/{MARKER_FILE}"),
            found,
            known: FORMAT_VERSION.into(),
        });
    }
    Ok(serde_json::from_slice::<Marker>(&bytes)
        .ok()
        .filter(|marker| valid_uid(&marker.id))
        .map_or(Identity::Damaged, |marker| Identity::Is(marker.id)))
}

/// Writes a marker unless there is one that can be read: of two at once, one wins.
///
/// # Errors
/// Errors of the volume.
pub(crate) fn write(root: &Folder, id: &str, writer: &str) -> Result<()> {
    let marker = Marker {
        v: FORMAT_VERSION,
        id: id.to_owned(),
    };
    let mut bytes =
        serde_json::to_vec(&marker).map_err(|error| Error::io("write marker", std::io::Error::other(error)))?;
    bytes.push(b'\n');
    let meta = root.make_dir(META_DIR)?;
    if meta.write_new(MARKER_FILE, &bytes, writer)? {
        return Ok(());
    }
    // The damaged marker is its own lock: who comes second finds another file of that name.
    let _lock = Lock::exclusive(&meta, MARKER_FILE, REPAIR_WAIT, &|| false)?;
    match read(root)? {
        Identity::Is(_) => Ok(()),
        Identity::Missing | Identity::Damaged => meta.write(MARKER_FILE, &bytes, writer),
    }
}

/// The first trace of a backup in a volume without a usable marker.
///
/// # Errors
/// Errors of the volume.
pub(crate) fn first_trace(root: &Folder) -> Result<Option<String>> {
    let mut budget = SEARCH_NAMES;
    search(root, "", 0, &mut budget)
}

fn search(folder: &Folder, at: &str, depth: usize, budget: &mut usize) -> Result<Option<String>> {
    for name in folder.names()? {
        if *budget == 0 {
            return Ok(None);
        }
        *budget -= 1;
        let path = format!("{at}/{}", name.to_string_lossy());
        if name == SEAL_FILE {
            return Ok(Some(path));
        }
        if depth >= SEARCH_DEPTH || folder.kind(&name)? != Some(Kind::Directory) {
            continue;
        }
        let Some(below) = folder.open_dir(&name)? else {
            continue;
        };
        if name == META_DIR {
            // At the root, a start that was cut off leaves nothing but the marker, or what was to be it.
            let of_marker = |name: &OsString| name == MARKER_FILE || is_set_aside("", name);
            if depth == 0 && below.names()?.iter().all(of_marker) {
                continue;
            }
            return Ok(Some(path));
        }
        if let Some(found) = search(&below, &path, depth + 1, budget)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
