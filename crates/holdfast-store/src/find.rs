//! What a repository holds of a backup: for reports, checks and restores.

use crate::claim::Claim;
use crate::path::BackupPath;
use crate::repo::{Access, Repo};
use crate::seal::Seal;
use crate::{Error, Result};

/// What the repository holds of a backup.
#[derive(Debug)]
pub enum Found<P> {
    /// A sealed backup.
    Sealed(Box<Sealed<P>>),
    /// A claim, and no seal.
    Claimed(Claim),
    /// Neither.
    Nothing,
}

/// A sealed backup, held: a purge refuses it while this lives.
#[derive(Debug)]
pub struct Sealed<P> {
    /// Its seal.
    pub seal: Seal,
    /// Its place.
    pub place: P,
}

/// What there is of this backup.
///
/// # Errors
/// A damaged or newer seal, a place that is another backup's, or [`Error::Busy`] if a live process works in the place of
/// the sealed backup.
pub fn find<R: Repo>(repo: &R, path: &BackupPath, uid: &str) -> Result<Found<R::Place>> {
    let Some(place) = repo.open_place(path, Access::Read)? else {
        return Ok(Found::Nothing);
    };
    let claim = repo.read_claim(&place)?;
    if let Some(seal) = repo.read_seal(&place)? {
        if seal.uid != uid {
            return Err(foreign(path, &seal.uid, uid));
        }
        let place = repo.hold(place)?;
        return Ok(Found::Sealed(Box::new(Sealed { seal, place })));
    }
    match claim {
        Some(claim) if claim.uid != uid => Err(foreign(path, &claim.uid, uid)),
        Some(claim) => Ok(Found::Claimed(claim)),
        None => Ok(Found::Nothing),
    }
}

fn foreign(path: &BackupPath, theirs: &str, ours: &str) -> Error {
    Error::Occupied(format!(
        "`{path}` in the repository belongs to backup {theirs}, not to {ours}"
    ))
}
