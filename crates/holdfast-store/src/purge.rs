//! Removes backups from a repository: tomb first, then only what names the backup's uid, then parents left empty.

use crate::claim::Claim;
use crate::folder::Folder;
use crate::lock::{LOCK_FILE, Lock};
use crate::path::{BackupPath, META_DIR, valid_uid};
use crate::repository::Repository;
use crate::seal::{SEAL_FILE, Seal};
use crate::{CLAIM_FILE, Error, Result, tomb};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A backup to remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeEntry {
    /// Uid of the Backup.
    pub uid: String,
    /// Its directory below the root; empty if none was ever planned.
    #[serde(default)]
    pub path: String,
    /// Name of the Backup; the last part of the path.
    #[serde(default)]
    pub name: String,
}

/// How the removal of one backup ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was there and is gone.
    Purged,
    /// There was nothing of it.
    Gone,
    /// It is not ours to remove; nothing was touched.
    Refused(Error),
    /// The volume failed us, or somebody still reads it; worth another try.
    Failed(Error),
}

/// Removes one backup. The tomb stays whatever the outcome, so that no late pod fills the directory again. The sizes of
/// the files that are gone are added to `freed`, whatever the outcome.
pub fn purge(repository: &Repository, entry: &PurgeEntry, now: Timestamp, freed: &mut u64) -> Outcome {
    match try_purge(repository, entry, now, freed) {
        Ok(true) => Outcome::Purged,
        Ok(false) => Outcome::Gone,
        Err(error @ (Error::Io { .. } | Error::Busy(_) | Error::Stopped)) => Outcome::Failed(error),
        Err(error) => Outcome::Refused(error),
    }
}

fn try_purge(repository: &Repository, entry: &PurgeEntry, now: Timestamp, freed: &mut u64) -> Result<bool> {
    if !valid_uid(&entry.uid) {
        let text = format!("`{}` is not a uid", entry.uid.escape_default());
        return Err(Error::Occupied(text));
    }
    let path = match entry.path.as_str() {
        "" => None,
        text => Some(BackupPath::parse(text)?),
    };
    if let Some(path) = &path
        && !entry.name.is_empty()
        && path.name() != entry.name
    {
        let text = format!("`{path}` does not end with the backup's name `{}`", entry.name);
        return Err(Error::Occupied(text));
    }
    tomb::write(repository, &entry.uid, &entry.name, &entry.path, now)?;
    let Some(path) = path else {
        return Ok(false);
    };
    let Some(parent) = repository.parent_of(&path)? else {
        return Ok(false);
    };
    let removed = remove(&parent, &path, &entry.uid, freed)?;
    drop(parent);
    prune(repository.root(), path.parents())?;
    Ok(removed)
}

fn remove(parent: &Folder, path: &BackupPath, uid: &str, freed: &mut u64) -> Result<bool> {
    let meta = parent.open_dir(META_DIR)?;
    let desk = match &meta {
        Some(meta) => meta.open_dir(path.name())?,
        None => None,
    };
    let _lock = desk
        .as_ref()
        .map(|desk| Lock::exclusive(desk, LOCK_FILE, Duration::ZERO, &|| false))
        .transpose()?;
    let claim = desk.as_ref().map(Claim::read).transpose()?.flatten();
    let dir = parent.open_dir(path.name())?;
    let ours = claim.as_ref().map(|claim| claim.uid == uid);
    match (&dir, ours) {
        (_, Some(false)) => return Err(not_ours(path, uid)),
        (None, None) if desk.is_none() => return Ok(false),
        (Some(dir), ours) => check_seal(path, dir, uid, ours)?,
        (None, _) => {}
    }
    if let Some(dir) = dir {
        // Without its seal it is no backup any more, whatever happens to the rest.
        dir.remove_tree(SEAL_FILE, freed)?;
        dir.sync()?;
        drop(dir);
        parent.remove_tree(path.name(), freed)?;
        parent.sync()?;
    }
    if let (Some(meta), Some(desk)) = (meta, desk) {
        clear_desk(&desk, freed)?;
        meta.remove_empty_dir(path.name())?;
        meta.sync()?;
        drop(meta);
        parent.remove_empty_dir(META_DIR)?;
    }
    Ok(true)
}

/// The claim goes last: until then a purge that was cut off knows what it may remove.
fn clear_desk(desk: &Folder, freed: &mut u64) -> Result<()> {
    for name in desk.names()? {
        if name != CLAIM_FILE {
            desk.remove_tree(&name, freed)?;
        }
    }
    desk.remove_tree(CLAIM_FILE, freed)
}

/// A seal must be ours too; without a claim it must be there.
fn check_seal(path: &BackupPath, dir: &Folder, uid: &str, claim_ours: Option<bool>) -> Result<()> {
    match Seal::read(dir) {
        Ok(Some(seal)) if seal.uid == uid => Ok(()),
        Ok(None) if claim_ours == Some(true) || dir.is_empty()? => Ok(()),
        Ok(_) => Err(not_ours(path, uid)),
        // The claim is enough to remove what was damaged.
        Err(Error::SealInvalid(_)) if claim_ours == Some(true) => Ok(()),
        Err(error) => Err(error),
    }
}

fn not_ours(path: &BackupPath, uid: &str) -> Error {
    Error::Occupied(format!(
        "`{path}` in the repository does not name backup {uid}: it was left as it is"
    ))
}

/// Removes directories that are empty now, from the lowest up to, not including, the root.
fn prune(root: &Folder, parents: &[String]) -> Result<()> {
    let Some((last, above)) = parents.split_last() else {
        return Ok(());
    };
    let mut folder = root.again()?;
    for part in above {
        match folder.open_dir(part)? {
            Some(below) => folder = below,
            None => return prune(root, above),
        }
    }
    if folder.remove_empty_dir(last)? {
        folder.sync()?;
        return prune(root, above);
    }
    Ok(())
}
