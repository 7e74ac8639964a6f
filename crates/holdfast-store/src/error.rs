//! What can go wrong in a repository, in words that say what to do, and the condition reason of each.

use holdfast_api::condition::Reason;
use nix::errno::Errno;
use std::io;

/// An error of the repository. Messages name the object, never a credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The volume answered with an error.
    #[error("{}", describe(.what, .source))]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A path that could lead out of the repository or into its own bookkeeping.
    #[error("path `{0}` is refused: {1}")]
    Path(String, &'static str),
    /// A symbolic link or something else where a directory or file of ours should be.
    #[error("`{0}` in the repository is not a plain {1}; it is not followed")]
    NotPlain(String, &'static str),
    /// The directory belongs to somebody else, or holds what we may not touch.
    #[error("{0}")]
    Occupied(String),
    /// Another live process works in the directory.
    #[error("{0}")]
    Busy(String),
    /// The backup was purged; a late pod of it must not bring it back.
    #[error("backup {0} was deleted: its tombstone is in the repository")]
    AlreadyDeleted(String),
    /// Not the repository that was expected.
    #[error("{0}")]
    Mismatch(String),
    /// Written by a newer version of Holdfast.
    #[error("{what} has format version {found}, this version of Holdfast reads up to {known}; upgrade Holdfast")]
    Newer {
        /// Which file.
        what: String,
        /// Its version.
        found: u64,
        /// The newest that we read.
        known: u64,
    },
    /// There is no seal, or it is damaged.
    #[error("{0}")]
    SealInvalid(String),
    /// The data is not what the seal says.
    #[error("{0}")]
    Digest(String),
    /// The work was told to stop.
    #[error("stopped by a signal")]
    Stopped,
}

impl Error {
    /// Wraps an error of the system with what was tried.
    pub fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            what: what.into(),
            source: source.into(),
        }
    }

    /// The reason to show in a condition; none for errors of the volume, which may pass.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Io { .. } | Self::Stopped | Self::Busy(_) => None,
            Self::Path(..) => Some(Reason::BadConfiguration),
            Self::NotPlain(..) | Self::Occupied(_) => Some(Reason::PathOccupied),
            Self::AlreadyDeleted(_) => Some(Reason::AlreadyDeleted),
            Self::Mismatch(_) => Some(Reason::RepositoryMismatch),
            Self::Newer { .. } => Some(Reason::NewerFormat),
            Self::SealInvalid(_) => Some(Reason::SealInvalid),
            Self::Digest(_) => Some(Reason::DigestMismatch),
        }
    }
}

/// Errors of a volume that a user can do something about are said in plain words.
fn describe(what: &str, source: &io::Error) -> String {
    let plain = match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => "repository volume is full",
        Some(Errno::EIO) => "repository volume has an input/output error",
        Some(Errno::EROFS) => "repository volume is read-only",
        Some(Errno::ESTALE) => "repository volume went away (stale handle)",
        _ => return format!("{what}: {source}"),
    };
    format!("{plain} ({what})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_volume_is_called_full() {
        for errno in [Errno::ENOSPC, Errno::EDQUOT] {
            let error = Error::io("write seal", errno);
            assert!(error.to_string().starts_with("repository volume is full"));
            assert!(error.reason().is_none());
        }
    }

    #[test]
    fn other_errors_keep_the_systems_words() {
        let text = Error::io("open x", Errno::EACCES).to_string();
        assert!(text.starts_with("open x: Permission denied"), "{text}");
    }
}
