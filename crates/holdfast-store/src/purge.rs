//! Removes backups from a repository: tombstone first, then only what names the backup's uid, then what is left empty
//! above it. Each step does one thing to the repository, so that a test can let anything happen between two of them.

use crate::path::{BackupPath, valid_uid};
use crate::repo::{Access, Data, Repo};
use crate::tombstone::Tombstone;
use crate::{Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How often a place is looked at in which something is new again and again.
const LOOKS_MAX: u32 = 3;

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
    /// The storage failed us, or somebody still reads it; worth another try.
    Failed(Error),
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { .. } | Error::Busy(_) | Error::Stopped => Self::Failed(error),
            error => Self::Refused(error),
        }
    }
}

/// Removes one backup. The tombstone stays whatever the outcome, so that no late pod fills the place again. The sizes of
/// the files that are gone are added to `freed`, whatever the outcome.
pub fn purge<R: Repo>(repo: &R, entry: &PurgeEntry, now: Timestamp, freed: &mut u64) -> Outcome {
    let mut purge = match Purge::new(entry, now) {
        Ok(purge) => purge,
        Err(error) => return error.into(),
    };
    loop {
        match purge.step(repo, freed) {
            Ok(Some(outcome)) => return outcome,
            Ok(None) => {}
            Err(error) => return error.into(),
        }
    }
}

/// The removal of one backup. Ended by its outcome or its first error.
#[derive(Debug)]
pub struct Purge<R: Repo> {
    tombstone: Tombstone,
    path: Option<BackupPath>,
    /// How often the place was looked at.
    looks: u32,
    at: At<R::Place>,
}

#[derive(Debug)]
enum At<P> {
    Tombstone,
    Look,
    Data(P),
    Place(P),
    Prune,
    Over,
}

impl<R: Repo> Purge<R> {
    /// A removal that has done nothing yet. `now` will be the tombstone's time.
    ///
    /// # Errors
    /// [`Error::Occupied`] or [`Error::Path`] if uid, path or name cannot be those of a backup.
    pub fn new(entry: &PurgeEntry, now: Timestamp) -> Result<Self> {
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
        Ok(Self {
            tombstone: Tombstone {
                v: crate::FORMAT_VERSION,
                uid: entry.uid.clone(),
                name: entry.name.clone(),
                path: entry.path.clone(),
                time: now.to_string(),
            },
            path,
            looks: 0,
            at: At::Tombstone,
        })
    }

    /// Does the next step. None as long as there is another one. What is gone is added to `freed`, in bytes.
    ///
    /// # Errors
    /// [`Error::Occupied`] and others if it is not ours to remove; [`Error::Busy`] or errors of the storage.
    pub fn step(&mut self, repo: &R, freed: &mut u64) -> Result<Option<Outcome>> {
        self.at = match (std::mem::replace(&mut self.at, At::Over), &self.path) {
            (At::Tombstone, _) => {
                repo.put_tombstone(&self.tombstone)?;
                At::Look
            }
            (At::Look, Some(path)) => {
                let Some(place) = repo.open_place(path, Access::Remove)? else {
                    repo.prune(path)?;
                    return Ok(Some(Outcome::Gone));
                };
                may_remove(repo, path, &place, &self.tombstone.uid)?;
                At::Data(place)
            }
            (At::Data(place), _) => {
                repo.remove_data(&place, freed)?;
                At::Place(place)
            }
            (At::Place(place), _) => self.remove_place(repo, place, freed)?,
            (At::Prune, Some(path)) => {
                repo.prune(path)?;
                return Ok(Some(Outcome::Purged));
            }
            (At::Look | At::Prune, None) => return Ok(Some(Outcome::Gone)),
            (At::Over, _) => return Err(Error::Occupied("this purge is over".to_owned())),
        };
        Ok(None)
    }
}

impl<R: Repo> Purge<R> {
    /// The claim goes only when there is no data: without it, nobody would know whose that is.
    fn remove_place(&mut self, repo: &R, place: R::Place, freed: &mut u64) -> Result<At<R::Place>> {
        // Another backup of that name may have claimed the place by now.
        let claim = repo.read_claim(&place)?;
        if claim.is_some_and(|claim| claim.uid != self.tombstone.uid) {
            return Ok(At::Prune);
        }
        if repo.data(&place)? == Data::None {
            repo.remove_place(place, freed)?;
            return Ok(At::Prune);
        }
        // A late pod of the backup, which had claimed the place before the tombstone was there, has begun to work.
        self.looks += 1;
        if self.looks < LOOKS_MAX {
            return Ok(At::Look);
        }
        Err(Error::Busy(format!(
            "somebody still writes to `{}`",
            self.tombstone.path
        )))
    }
}

/// The claim must be ours, and the seal too; without a claim, the seal must be there.
fn may_remove<R: Repo>(repo: &R, path: &BackupPath, place: &R::Place, uid: &str) -> Result<()> {
    let not_ours = || {
        let text = format!("`{path}` in the repository does not name backup {uid}: it was left as it is");
        Err(Error::Occupied(text))
    };
    let claimed = match repo.read_claim(place)? {
        Some(claim) if claim.uid != uid => return not_ours(),
        claim => claim.is_some(),
    };
    match repo.read_seal(place) {
        Ok(Some(seal)) if seal.uid == uid => Ok(()),
        Ok(None) if claimed || repo.data(place)? == Data::None => Ok(()),
        Ok(_) => not_ours(),
        // The claim is enough to remove what was damaged.
        Err(Error::SealInvalid(_)) if claimed => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes tombstones that are older than [`TOMBSTONE_KEPT`](crate::TOMBSTONE_KEPT). Answers how many went.
///
/// # Errors
/// Errors of the storage.
pub fn remove_expired_tombstones<R: Repo>(repo: &R, now: Timestamp) -> Result<u32> {
    repo.remove_tombstones(&|tombstone| tombstone.is_expired(now))
}
