//! Whether a repository is the one that is meant, and who may make one.

use crate::marker::MARKER_FILE;
use crate::path::META_DIR;
use crate::repo::{Identity, Repo};
use crate::{Error, Result, random};

const ID_BYTES: usize = 16;

/// An identity for a new repository: 128 random bits in hex.
///
/// # Errors
/// If the system has no random numbers.
pub fn new_repository_id() -> Result<String> {
    random::hex(ID_BYTES)
}

/// The identity of a repository that should be there. `expected` is the one that it must have; empty means any. Where
/// nothing ever was, it is empty, if any is allowed.
///
/// # Errors
/// [`Error::Mismatch`] for another identity, a damaged or a missing one, [`Error::Newer`] for a newer format.
pub fn identify<R: Repo>(repo: &R, expected: &str) -> Result<String> {
    match repo.identity()? {
        Identity::Is(id) => check(repo, id, expected),
        Identity::Damaged => Err(damaged()),
        Identity::Missing if expected.is_empty() => Ok(String::new()),
        Identity::Missing => Err(Error::Mismatch(format!(
            "{} has no repository marker, expected repository {expected}: it was emptied or replaced",
            repo.label()
        ))),
    }
}

/// As [`identify`], but makes a repository with the identity `new_id` where none ever was: only if `expected` is empty,
/// and only where no backup is. One that lost its identity, or whose identity is damaged, is reported, not made new.
///
/// # Errors
/// As [`identify`].
pub fn establish<R: Repo>(repo: &R, expected: &str, new_id: &str) -> Result<String> {
    let before = repo.identity()?;
    if matches!(before, Identity::Is(_)) || !expected.is_empty() {
        return identify(repo, expected);
    }
    // Others may do this at the same time, and have begun their backups already: they look anew, and so do we.
    if let Some(found) = repo.first_trace()? {
        return match repo.identity()? {
            Identity::Is(id) => Ok(id),
            Identity::Damaged => Err(damaged()),
            Identity::Missing => Err(Error::Mismatch(format!(
                "the volume has no repository marker but holds `{found}`: it was a repository whose marker was lost; put it back or empty the volume"
            ))),
        };
    }
    repo.put_identity(new_id)?;
    match repo.identity()? {
        Identity::Is(id) => Ok(id),
        Identity::Damaged | Identity::Missing => Err(Error::Busy(format!(
            "`{META_DIR}/{MARKER_FILE}` vanished while it was made"
        ))),
    }
}

fn check<R: Repo>(repo: &R, id: String, expected: &str) -> Result<String> {
    if expected.is_empty() || id == expected {
        return Ok(id);
    }
    Err(Error::Mismatch(format!(
        "{} is repository {id}, expected {expected}: another volume was put in its place",
        repo.label()
    )))
}

fn damaged() -> Error {
    Error::Mismatch(format!("`{META_DIR}/{MARKER_FILE}` in the repository is damaged"))
}
