//! A repository on a volume: the root, its identity, and who writes to it.

use crate::Result;
use crate::folder::Folder;
use crate::identity::{establish, identify};
use std::path::Path;

/// A repository on a volume, open.
#[derive(Debug)]
pub struct Repository {
    root: Folder,
    id: String,
    /// Uid of the pod that writes, empty if it is not known.
    writer: String,
}

impl Repository {
    /// Opens a repository that should be there. `expected` is the identity it must have; empty means any.
    /// A volume that never was a repository opens with an empty identity, if any is allowed.
    ///
    /// # Errors
    /// As [`identify`].
    pub fn open(root: &Path, expected: &str) -> Result<Self> {
        let mut repository = Self::unidentified(root, "")?;
        repository.id = identify(&repository, expected)?;
        Ok(repository)
    }

    /// Opens a repository for a pod that writes to it, `writer` being the pod's uid, or empty. A volume that never
    /// was a repository gets the identity `new_id`, but only if `expected` is empty and the volume holds no backup:
    /// one that lost its marker, or whose marker is damaged, is reported, not made new.
    ///
    /// # Errors
    /// As [`establish`].
    pub fn open_or_create(root: &Path, expected: &str, new_id: &str, writer: &str) -> Result<Self> {
        let mut repository = Self::unidentified(root, writer)?;
        repository.id = establish(&repository, expected, new_id)?;
        Ok(repository)
    }

    fn unidentified(root: &Path, writer: &str) -> Result<Self> {
        Ok(Self {
            root: Folder::open_root(root)?,
            id: String::new(),
            writer: writer.to_owned(),
        })
    }

    /// Its identity; empty for a volume that is no repository.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A second handle of the same repository.
    pub(crate) fn again(&self) -> Result<Self> {
        Ok(Self {
            root: self.root.again()?,
            id: self.id.clone(),
            writer: self.writer.clone(),
        })
    }

    pub(crate) fn root(&self) -> &Folder {
        &self.root
    }

    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }
}
