//! A claimed directory on a volume, as the agent works in it: from the claim to the seal.

use crate::Result;
use crate::attempt::{Attempt, Claimed, Held};
use crate::claim::Claimant;
use crate::folder::Folder;
use crate::path::BackupPath;
use crate::repo::Waiting;
use crate::repository::Repository;
use crate::seal::Seal;
use crate::volume::Place;
use jiff::Timestamp;

/// Name of the tool's log, beside the claim.
pub const TOOL_LOG: &str = "tool.log";

/// A claimed directory.
#[derive(Debug)]
pub struct Work {
    repository: Repository,
    held: Held<Place>,
    metadata: Folder,
}

impl Repository {
    /// Claims the directory of a backup for a pod: writes the claim, then makes the directory. What an earlier
    /// attempt of the same first run left is removed.
    ///
    /// # Errors
    /// As [`Attempt::step`].
    pub fn claim(
        &self,
        path: &BackupPath,
        claimant: &Claimant,
        now: Timestamp,
        waiting: &Waiting<'_>,
    ) -> Result<Claimed<Work>> {
        Ok(match Attempt::new(path, claimant, now)?.run(self, waiting)? {
            Claimed::Sealed(seal) => Claimed::Sealed(seal),
            Claimed::Work(held) => Claimed::Work(Box::new(Work {
                repository: self.again()?,
                metadata: held.place().metadata()?.again()?,
                held: *held,
            })),
        })
    }
}

impl Work {
    /// The backup's directory, opened anew since tools remove and make it again. None if the tool left none.
    ///
    /// # Errors
    /// As [`Place::dir`].
    pub fn folder(&self) -> Result<Option<Folder>> {
        self.held.place().dir()
    }

    /// The backup's directory, made again if the tool left none.
    ///
    /// # Errors
    /// As [`Place::dir`].
    pub fn make_folder(&self) -> Result<Folder> {
        self.held.place().make_dir()
    }

    /// The directory beside it: claim and log.
    pub fn metadata(&self) -> &Folder {
        &self.metadata
    }

    /// Whether the claim still names us and nobody purged the backup.
    ///
    /// # Errors
    /// As [`Held::still_ours`].
    pub fn still_ours(&self) -> Result<()> {
        self.held.still_ours(&self.repository)
    }

    /// Removes what the tool wrote, after the run has failed, and leaves claim and log. Answers how many bytes it was;
    /// none where it is not to go.
    ///
    /// # Errors
    /// As [`Held::give_up`] and [`Discard::step`](crate::Discard::step).
    pub fn discard(self) -> Result<Option<u64>> {
        let mut freed = 0;
        let Some(mut discard) = self.held.give_up(&self.repository)? else {
            return Ok(None);
        };
        loop {
            if let Some(gone) = discard.step(&self.repository, &mut freed)? {
                return Ok(gone.then_some(freed));
            }
        }
    }

    /// Seals the directory.
    ///
    /// # Errors
    /// As [`Held::seal`].
    pub fn seal(&self, seal: &Seal) -> Result<()> {
        self.held.seal(&self.repository, seal)
    }
}
