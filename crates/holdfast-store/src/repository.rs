//! A repository: the root of its volume, its identity, and what is known about a backup in it.

use crate::claim::Claim;
use crate::folder::{Folder, Kind};
use crate::lock::Lock;
use crate::path::{BackupPath, META_DIR, valid_uid};
use crate::seal::{FORMAT_VERSION, SEAL_FILE, Seal, known_version, newer};
use crate::{Error, Result, to_hex, tomb};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

const MARKER_FILE: &str = "repository.json";
const ID_BYTES: usize = 16;
const MARKER_MAX: u64 = 16 * 1024;
/// How far a volume without a marker is searched for backups before it is taken as one without.
const SEARCH_DEPTH: usize = 8;
const SEARCH_NAMES: usize = 50_000;

#[derive(Serialize, Deserialize)]
struct Marker {
    v: u32,
    id: String,
}

/// A repository, open.
#[derive(Debug)]
pub struct Repository {
    root: Folder,
    id: String,
}

/// An identity for a new repository: 128 random bits in hex.
pub fn new_repository_id() -> Result<String> {
    let mut bytes = [0; ID_BYTES];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|source| Error::io("read random numbers", source))?;
    Ok(to_hex(&bytes))
}

/// What the repository holds of a backup.
#[derive(Debug)]
pub enum Found {
    /// A sealed backup.
    Sealed(Box<Sealed>),
    /// A claim, and no seal.
    Claimed(Claim),
    /// Neither.
    Nothing,
}

/// A sealed backup, held: a purge refuses it while this lives.
#[derive(Debug)]
pub struct Sealed {
    /// Its seal.
    pub seal: Seal,
    /// Its directory.
    pub dir: Folder,
    _lock: Option<Lock>,
}

impl Repository {
    /// Opens a repository that should be there. `expected` is the identity it must have; empty means any.
    /// A volume that never was a repository opens with an empty identity, if any is allowed.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another identity or a missing one, [`Error::Newer`] for a newer format.
    pub fn open(root: &Path, expected: &str) -> Result<Self> {
        let root = Folder::open_root(root)?;
        let id = read_marker(&root)?;
        if id.is_none() && !expected.is_empty() {
            return Err(lost(&root, expected));
        }
        let id = id.unwrap_or_default();
        check(&root, &id, expected)?;
        Ok(Self { root, id })
    }

    /// Opens a repository and gives a volume that never was one the identity `new_id`. Only if `expected` is
    /// empty, and only a volume without backups: one that lost its marker is reported, not made new.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn open_or_create(root: &Path, expected: &str, new_id: &str) -> Result<Self> {
        let mut repository = Self::open(root, expected)?;
        if repository.id.is_empty() {
            if let Some(found) = backups_below(&repository.root)? {
                let text = format!(
                    "the volume has no repository marker but holds `{found}`: it was a repository whose marker was lost; put it back or empty the volume"
                );
                return Err(Error::Mismatch(text));
            }
            let marker = Marker {
                v: FORMAT_VERSION,
                id: new_id.to_owned(),
            };
            let mut bytes =
                serde_json::to_vec(&marker).map_err(|error| Error::io("write marker", std::io::Error::other(error)))?;
            bytes.push(b'\n');
            let meta = repository.root.make_dir(META_DIR)?;
            meta.write_new(MARKER_FILE, &bytes)?;
            // Two may have come at once: what stands there now is the identity.
            repository.id = read_marker(&repository.root)?.unwrap_or_default();
        }
        Ok(repository)
    }

    /// Its identity; empty for a volume that is no repository.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn root(&self) -> &Folder {
        &self.root
    }

    /// What there is of this backup.
    ///
    /// # Errors
    /// A damaged or newer seal, or a directory that is another backup's.
    pub fn find(&self, path: &BackupPath, uid: &str) -> Result<Found> {
        let Some(parent) = self.parent_of(path)? else {
            return Ok(Found::Nothing);
        };
        let desk = match parent.open_dir(META_DIR)? {
            Some(meta) => meta.open_dir(path.name())?,
            None => None,
        };
        let lock = desk.as_ref().map(Lock::shared).transpose();
        let claim = desk.as_ref().map(Claim::read).transpose()?.flatten();
        if let Some(dir) = parent.open_dir(path.name())?
            && let Some(seal) = Seal::read(&dir)?
        {
            if seal.uid != uid {
                return Err(foreign(path, &seal.uid, uid));
            }
            return Ok(Found::Sealed(Box::new(Sealed {
                seal,
                dir,
                _lock: lock?,
            })));
        }
        match claim {
            Some(claim) if claim.uid != uid => Err(foreign(path, &claim.uid, uid)),
            Some(claim) => Ok(Found::Claimed(claim)),
            None => Ok(Found::Nothing),
        }
    }

    /// Whether this backup was purged within the last week.
    pub fn is_tombed(&self, uid: &str) -> Result<bool> {
        tomb::exists(&self.root, uid)
    }

    /// Removes tombs that are old enough. Answers how many went.
    pub fn remove_expired_tombs(&self, now: Timestamp) -> Result<u32> {
        tomb::remove_expired(&self.root, now)
    }

    /// The directory above a backup, none if it is not there.
    pub(crate) fn parent_of(&self, path: &BackupPath) -> Result<Option<Folder>> {
        let mut folder = self.root.again()?;
        for part in path.parents() {
            match folder.open_dir(part)? {
                Some(below) => folder = below,
                None => return Ok(None),
            }
        }
        Ok(Some(folder))
    }
}

fn foreign(path: &BackupPath, theirs: &str, ours: &str) -> Error {
    Error::Occupied(format!(
        "`{path}` in the repository belongs to backup {theirs}, not to {ours}"
    ))
}

fn check(root: &Folder, id: &str, expected: &str) -> Result<()> {
    if expected.is_empty() || id == expected {
        return Ok(());
    }
    Err(Error::Mismatch(format!(
        "the volume at {} is repository {id}, expected {expected}: another volume was put in its place",
        root.label()
    )))
}

fn lost(root: &Folder, expected: &str) -> Error {
    Error::Mismatch(format!(
        "the volume at {} has no repository marker, expected repository {expected}: it was emptied or replaced",
        root.label()
    ))
}

fn read_marker(root: &Folder) -> Result<Option<String>> {
    let bytes = match root.open_dir(META_DIR)? {
        Some(meta) => meta.read(MARKER_FILE, MARKER_MAX)?,
        None => None,
    };
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let what = format!("{META_DIR}/{MARKER_FILE}");
    if let Some(found) = known_version(&bytes).filter(|v| newer(*v)) {
        return Err(Error::Newer {
            what,
            found,
            known: FORMAT_VERSION.into(),
        });
    }
    serde_json::from_slice::<Marker>(&bytes)
        .ok()
        .filter(|marker| valid_uid(&marker.id))
        .map(|marker| Some(marker.id))
        .ok_or_else(|| Error::Mismatch(format!("`{what}` in the repository is damaged")))
}

/// The first trace of a backup in a volume without a marker.
fn backups_below(root: &Folder) -> Result<Option<String>> {
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
            // At the root, a start that was cut off leaves it with nothing but unfinished files.
            let unfinished = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".new");
            if depth == 0 && below.names()?.iter().all(unfinished) {
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
