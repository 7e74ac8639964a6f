//! A repository: the root of its volume, its identity, and what is known about a backup in it.

use crate::claim::Claim;
use crate::folder::Folder;
use crate::lock::Lock;
use crate::marker::{self, Identity};
use crate::path::{BackupPath, META_DIR};
use crate::seal::Seal;
use crate::{Error, Result, random, tomb};
use jiff::Timestamp;
use std::path::Path;

const ID_BYTES: usize = 16;

/// A repository, open.
#[derive(Debug)]
pub struct Repository {
    root: Folder,
    id: String,
    /// Uid of the pod that writes, empty if it is not known.
    writer: String,
}

/// An identity for a new repository: 128 random bits in hex.
pub fn new_repository_id() -> Result<String> {
    random::hex(ID_BYTES)
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
        let id = match marker::read(&root)? {
            Identity::Is(id) => id,
            Identity::Damaged => return Err(damaged()),
            Identity::Missing if expected.is_empty() => String::new(),
            Identity::Missing => return Err(lost(&root, expected)),
        };
        check(&root, &id, expected)?;
        Ok(Self {
            root,
            id,
            writer: String::new(),
        })
    }

    /// Opens a repository for a pod that writes to it, `writer` being the pod's uid, or empty. A volume that never
    /// was a repository gets the identity `new_id`, but only if `expected` is empty and the volume holds no backup:
    /// one that lost its marker, or whose marker is damaged, is reported, not made new.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn open_or_create(root: &Path, expected: &str, new_id: &str, writer: &str) -> Result<Self> {
        let root = Folder::open_root(root)?;
        let id = match marker::read(&root)? {
            Identity::Is(id) => id,
            Identity::Missing if !expected.is_empty() => return Err(lost(&root, expected)),
            Identity::Damaged if !expected.is_empty() => return Err(damaged()),
            unusable => establish(&root, &unusable, new_id, writer)?,
        };
        check(&root, &id, expected)?;
        let writer = writer.to_owned();
        Ok(Self { root, id, writer })
    }

    /// Its identity; empty for a volume that is no repository.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn root(&self) -> &Folder {
        &self.root
    }

    pub(crate) fn writer(&self) -> &str {
        &self.writer
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

fn damaged() -> Error {
    Error::Mismatch(format!("`{}` in the repository is damaged", marker::label()))
}

/// Gives the volume an identity. Others may be doing that too, and have begun their backups already.
fn establish(root: &Folder, before: &Identity, new_id: &str, writer: &str) -> Result<String> {
    if let Some(found) = marker::first_trace(root)? {
        return match marker::read(root)? {
            Identity::Is(id) => Ok(id),
            _ if *before == Identity::Damaged => Err(damaged()),
            _ => Err(Error::Mismatch(format!(
                "the volume has no repository marker but holds `{found}`: it was a repository whose marker was lost; put it back or empty the volume"
            ))),
        };
    }
    marker::write(root, new_id, writer)?;
    // What stands there now is the identity, whoever wrote it.
    match marker::read(root)? {
        Identity::Is(id) => Ok(id),
        _ => Err(Error::Busy(format!("`{}` vanished while it was made", marker::label()))),
    }
}
