//! A claimed directory: from the claim to the seal.

use crate::claim::{Claim, Claimant};
use crate::folder::Folder;
use crate::lock::{LOCK_FILE, Lock};
use crate::path::{BackupPath, META_DIR, valid_uid};
use crate::repository::Repository;
use crate::seal::{SEAL_FILE, Seal};
use crate::{CLAIM_FILE, Error, Result, tomb};
use jiff::Timestamp;
use std::fs::File;
use std::time::Duration;

/// Name of the tool's log, beside the claim.
pub const TOOL_LOG: &str = "tool.log";
/// What the seal is called while it is written aside.
const SEAL_ASIDE: &str = "seal";
/// The one run whose failed attempts are wiped; later runs add to what earlier ones sealed.
const FIRST_RUN: i32 = 1;

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed {
    /// This run is sealed already: report it again, run nothing.
    Sealed(Box<Seal>),
    /// The directory is ours and made.
    Work(Box<Work>),
}

/// A claimed directory.
#[derive(Debug)]
pub struct Work {
    root: Folder,
    parent: Folder,
    desk: Folder,
    name: String,
    claim: Claim,
    _lock: Lock,
}

impl Repository {
    /// Claims the directory of a backup for a pod: writes the claim, then makes the directory. What an earlier
    /// attempt of the same first run left is removed. Waits up to `wait` for another live pod to end.
    ///
    /// # Errors
    /// [`Error::Tombed`], [`Error::Occupied`], [`Error::Newer`], [`Error::Busy`], or errors of the volume.
    pub fn claim(
        &self,
        path: &BackupPath,
        claimant: &Claimant,
        now: Timestamp,
        wait: Duration,
        stop: &dyn Fn() -> bool,
    ) -> Result<Claimed> {
        if !valid_uid(&claimant.uid) || !valid_uid(&claimant.pod_uid) {
            let text = "the uid of the backup or of its pod is not a uid".to_owned();
            return Err(Error::Occupied(text));
        }
        self.refuse_tombed(&claimant.uid)?;
        let parent = self.make_parents(path)?;
        let desk = parent.make_dir(META_DIR)?.make_dir(path.name())?;
        let lock = Lock::exclusive(&desk, LOCK_FILE, wait, stop)?;
        if let Some(seal) = admit(path, &parent, &desk, claimant)? {
            return Ok(Claimed::Sealed(seal));
        }
        let claim = Claim::new(claimant, now);
        claim.write(&desk)?;
        // A purge writes its tomb before it reads claims: one of us two sees the other.
        self.refuse_tombed(&claimant.uid)?;
        // What earlier attempts died over; with the claim, none of them can seal any more.
        desk.remove_set_aside("")?;
        if claimant.run == FIRST_RUN {
            parent.remove_tree(path.name(), &mut 0)?;
        }
        parent.make_dir(path.name())?;
        parent.sync()?;
        Ok(Claimed::Work(Box::new(Work {
            root: self.root().again()?,
            parent,
            desk,
            name: path.name().to_owned(),
            claim,
            _lock: lock,
        })))
    }

    fn refuse_tombed(&self, uid: &str) -> Result<()> {
        if tomb::exists(self.root(), uid)? {
            return Err(Error::Tombed(uid.to_owned()));
        }
        Ok(())
    }

    fn make_parents(&self, path: &BackupPath) -> Result<Folder> {
        let mut folder = self.root().again()?;
        for part in path.parents() {
            let below = folder.make_dir(part)?;
            refuse_nested(path, &folder, &below, part)?;
            folder = below;
        }
        Ok(folder)
    }
}

/// A backup may not lie inside another: the other would count its files, and wipe them.
fn refuse_nested(path: &BackupPath, folder: &Folder, below: &Folder, part: &str) -> Result<()> {
    let desk = match folder.open_dir(META_DIR)? {
        Some(meta) => meta.open_dir(part)?,
        None => None,
    };
    let claimed = match desk {
        Some(desk) => desk.kind(CLAIM_FILE)?.is_some(),
        None => false,
    };
    if claimed || below.kind(SEAL_FILE)?.is_some() {
        let text = format!(
            "`{path}` would lie inside another backup, `{}`; choose another path prefix",
            below.label()
        );
        return Err(Error::Occupied(text));
    }
    Ok(())
}

/// Whether the claimant may have the directory; its own seal if the run is done already.
fn admit(path: &BackupPath, parent: &Folder, desk: &Folder, claimant: &Claimant) -> Result<Option<Box<Seal>>> {
    let occupied = |why: String| Err(Error::Occupied(format!("`{path}` in the repository {why}")));
    let claim = Claim::read(desk)?;
    if let Some(claim) = &claim {
        if claim.uid != claimant.uid {
            return occupied(format!("is claimed by backup {}", claim.uid));
        }
        if claim.run > claimant.run {
            return occupied(format!("is claimed by a later run ({})", claim.run));
        }
    }
    let Some(dir) = parent.open_dir(path.name())? else {
        return Ok(None);
    };
    match Seal::read(&dir)? {
        Some(seal) if seal.uid != claimant.uid => {
            return occupied(format!("holds the sealed backup {}", seal.uid));
        }
        Some(seal) if seal.run > claimant.run => {
            return occupied(format!("holds the seal of a later run ({})", seal.run));
        }
        Some(seal) if seal.run == claimant.run => return Ok(Some(Box::new(seal))),
        Some(_) => return Ok(None),
        None => {}
    }
    if claim.is_none() && !dir.is_empty()? {
        return occupied("holds files that no backup claims".to_owned());
    }
    if dir.kind(META_DIR)?.is_some() {
        return occupied("holds other backups; choose another path prefix".to_owned());
    }
    Ok(None)
}

impl Work {
    /// The backup's directory, opened anew since tools remove and make it again. None if the tool left none.
    pub fn folder(&self) -> Result<Option<Folder>> {
        self.parent.open_dir(&self.name)
    }

    /// The backup's directory, made again if the tool left none.
    pub fn make_folder(&self) -> Result<Folder> {
        self.parent.make_dir(&self.name)
    }

    /// The directory beside it: claim and log.
    pub fn desk(&self) -> &Folder {
        &self.desk
    }

    /// Whether the claim still names us and nobody purged the backup.
    ///
    /// # Errors
    /// [`Error::Tombed`] or [`Error::Occupied`] if not, [`Error::Busy`] if another attempt of the same backup has it.
    pub fn still_ours(&self) -> Result<()> {
        if tomb::exists(&self.root, &self.claim.uid)? {
            return Err(Error::Tombed(self.claim.uid.clone()));
        }
        match Claim::read(&self.desk)? {
            Some(claim) if claim.is_of(&self.claim) => Ok(()),
            // Another attempt of the same backup took over: the next one finds what it sealed, or begins anew.
            Some(claim) if claim.uid == self.claim.uid => Err(Error::Busy(format!(
                "the claim now names pod {} of the same backup; nothing was sealed",
                claim.pod_uid
            ))),
            Some(claim) => Err(Error::Occupied(format!(
                "the claim now names pod {} of backup {}; nothing was sealed",
                claim.pod_uid, claim.uid
            ))),
            None => Err(Error::Occupied(
                "the claim was removed while the tool ran; nothing was sealed".to_owned(),
            )),
        }
    }

    /// Seals the directory: writes the seal aside, looks at the claim once more, puts it in place.
    pub fn seal(&self, seal: &Seal) -> Result<()> {
        let dir = self
            .folder()?
            .ok_or_else(|| Error::Occupied("the backup's directory is gone; nothing was sealed".to_owned()))?;
        let write = |file: &File| seal.write_synced(file, SEAL_FILE);
        let aside = self.desk.set_aside(SEAL_ASIDE, &self.claim.pod_uid, write)?;
        self.still_ours()?;
        aside.put(&dir, SEAL_FILE)
    }
}
