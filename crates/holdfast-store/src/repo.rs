//! What a repository offers, whatever it lies on: an identity, tombstones and, for each backup, a claim, a seal and
//! data. An access method (a volume, an object store, memory) supplies these operations and decides nothing. Who may
//! claim, when a seal is told again, when a tombstone refuses and what a purge may remove is decided above it, once,
//! by [`Attempt`](crate::Attempt), [`Held`](crate::Held), [`find`](crate::find()), [`Purge`](crate::Purge) and
//! [`establish`](crate::establish).

use crate::claim::Claim;
use crate::path::BackupPath;
use crate::seal::Seal;
use crate::tombstone::Tombstone;
use crate::{Error, Result};
use std::time::Duration;

/// How long another live process is waited for.
#[derive(Clone, Copy)]
pub struct Waiting<'a> {
    /// So long, in all.
    pub wait: Duration,
    /// Asked meanwhile; true ends the wait with [`Error::Stopped`].
    pub stop: &'a dyn Fn() -> bool,
}

impl Waiting<'static> {
    /// Not at all.
    pub const NONE: Self = Self {
        wait: Duration::ZERO,
        stop: &|| false,
    };
}

/// How the place of a backup is opened that may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read it: a purge is kept out meanwhile.
    Read,
    /// To remove it: everybody else is kept out meanwhile.
    Remove,
}

/// What is known of a repository's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// It has none.
    #[default]
    Missing,
    /// It says nothing that can be read.
    Damaged,
    /// This is it.
    Is(String),
}

/// What lies where a backup's data goes; its seal counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    None,
    /// Something.
    Files,
    /// Something, other backups among it.
    Backups,
}

/// The operations of a repository. What one of them has written when it returns, every later one of any process sees,
/// and it outlasts a power cut. All may fail with errors of the storage ([`Error::Io`]).
pub trait Repo {
    /// A backup's place, open. While it lives, others are kept out of it as far as the storage can do that. It saves
    /// work; no rule relies on it.
    type Place;
    /// A seal that is written and not yet in its place. Dropped, it is gone.
    type Staged;

    /// What the repository lies on, for messages: `the volume at /backupdata`.
    fn label(&self) -> String;

    /// The identity.
    ///
    /// # Errors
    /// [`Error::Newer`] if a newer version wrote it.
    fn identity(&self) -> Result<Identity>;

    /// Gives the repository an identity, unless it has one that can be read. Of two at once, one wins.
    ///
    /// # Errors
    /// Errors of the storage.
    fn put_identity(&self, id: &str) -> Result<()>;

    /// The first trace of a backup, in words for people; looked for in a repository without an identity.
    ///
    /// # Errors
    /// Errors of the storage.
    fn first_trace(&self) -> Result<Option<String>>;

    /// Whether there is a tombstone of this backup.
    ///
    /// # Errors
    /// Errors of the storage.
    fn has_tombstone(&self, uid: &str) -> Result<bool>;

    /// Writes a tombstone; one that is there stays as it is.
    ///
    /// # Errors
    /// Errors of the storage.
    fn put_tombstone(&self, tombstone: &Tombstone) -> Result<()>;

    /// Removes the tombstones that are expired; what is not readable as one stays. Answers how many went.
    ///
    /// # Errors
    /// Errors of the storage.
    fn remove_tombstones(&self, expired: &dyn Fn(&Tombstone) -> bool) -> Result<u32>;

    /// The claimed or sealed backup that this path would lie in, in words for people.
    ///
    /// # Errors
    /// [`Error::NotPlain`] where the path leads through something that is not followed.
    fn enclosing(&self, path: &BackupPath) -> Result<Option<String>>;

    /// Opens the place of a backup to work in it, and makes it first if need be, but not the place of its data.
    ///
    /// # Errors
    /// [`Error::Busy`] if another live process has it all the time, [`Error::Stopped`], or as [`Repo::enclosing`].
    fn make_place(&self, path: &BackupPath, waiting: &Waiting<'_>) -> Result<Self::Place>;

    /// Opens the place of a backup; none if nothing of it is there. That it could not be kept for reading is only an
    /// error of [`Repo::hold`].
    ///
    /// # Errors
    /// [`Error::Busy`] if it is to be removed and another live process has it, or as [`Repo::enclosing`].
    fn open_place(&self, path: &BackupPath, access: Access) -> Result<Option<Self::Place>>;

    /// The same place, if it could be kept from others.
    ///
    /// # Errors
    /// [`Error::Busy`] if another live process has it.
    fn hold(&self, place: Self::Place) -> Result<Self::Place>;

    /// The claim.
    ///
    /// # Errors
    /// [`Error::Newer`], or [`Error::Occupied`] if it is none of ours.
    fn read_claim(&self, place: &Self::Place) -> Result<Option<Claim>>;

    /// Writes the claim, over one that is there.
    ///
    /// # Errors
    /// Errors of the storage.
    fn put_claim(&self, place: &Self::Place, claim: &Claim) -> Result<()>;

    /// The seal.
    ///
    /// # Errors
    /// [`Error::Newer`], or [`Error::SealInvalid`] if it is damaged.
    fn read_seal(&self, place: &Self::Place) -> Result<Option<Seal>>;

    /// What lies where the data goes.
    ///
    /// # Errors
    /// [`Error::NotPlain`] if that is not followed.
    fn data(&self, place: &Self::Place) -> Result<Data>;

    /// Makes the place of the data. With `wipe`, what lay there when the place was opened goes first, a seal too; what
    /// came since stays, for whoever brought it has taken over.
    ///
    /// # Errors
    /// If the claim or the whole place is gone, or if there is something new to be wiped.
    fn make_data(&self, place: &Self::Place, wipe: bool) -> Result<()>;

    /// Writes a seal for the data that is there now; none if there is no place of data.
    ///
    /// # Errors
    /// Errors of the storage.
    fn stage(&self, place: &Self::Place, seal: &Seal) -> Result<Option<Self::Staged>>;

    /// Puts a seal in its place, whole or not at all, over one of an earlier run.
    ///
    /// # Errors
    /// If the place of the data was removed or made anew since the seal was staged.
    fn put_seal(&self, place: &Self::Place, staged: Self::Staged) -> Result<()>;

    /// The same place as if it were opened now: what data is there from now on was there before.
    ///
    /// # Errors
    /// As [`Repo::data`].
    fn look_again(&self, place: Self::Place) -> Result<Self::Place>;

    /// Empties the data that was there when the place was opened, and leaves its place: another one's may stand there by
    /// now. What is gone is added to `freed`, in bytes, also if it fails.
    ///
    /// # Errors
    /// As [`Repo::remove_data`].
    fn clear_data(&self, place: &Self::Place, freed: &mut u64) -> Result<()>;

    /// Removes the data that was there when the place was opened, and the seal before the rest; what came since stays.
    /// What is gone is added to `freed`, in bytes, also if it fails.
    ///
    /// # Errors
    /// [`Error::Occupied`] where another volume is mounted inside or it is nested too deep.
    fn remove_data(&self, place: &Self::Place, freed: &mut u64) -> Result<()>;

    /// Removes what there is in the place beside data; the claim goes last: until then a purge that was cut off knows
    /// what it may remove.
    ///
    /// # Errors
    /// As [`Repo::remove_data`].
    fn remove_place(&self, place: Self::Place, freed: &mut u64) -> Result<()>;

    /// Removes what is left empty above a backup's place.
    ///
    /// # Errors
    /// As [`Repo::enclosing`].
    fn prune(&self, path: &BackupPath) -> Result<()>;
}

/// Refuses a backup that was purged.
pub(crate) fn refuse_deleted<R: Repo>(repo: &R, uid: &str) -> Result<()> {
    if repo.has_tombstone(uid)? {
        return Err(Error::AlreadyDeleted(uid.to_owned()));
    }
    Ok(())
}
