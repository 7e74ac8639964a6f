//! A repository on a volume: every operation through directory handles.

use crate::aside::Aside;
use crate::claim::{CLAIM_FILE, Claim};
use crate::folder::Folder;
use crate::lock::{LOCK_FILE, Lock};
use crate::marker;
use crate::path::{BackupPath, META_DIR, valid_uid};
use crate::repo::{Access, Data, Identity, Repo, Waiting};
use crate::repository::Repository;
use crate::seal::{SEAL_FILE, Seal};
use crate::tombstone::Tombstone;
use crate::{Error, Result};
use nix::errno::Errno;
use std::fs::File;

const TOMBSTONES: &str = "tombs";
const TOMBSTONE_MAX: u64 = 16 * 1024;
/// What the seal is called while it is written aside.
const SEAL_ASIDE: &str = "seal";

/// A backup's place on a volume: its directory, and beside it the one with claim, lock and log.
#[derive(Debug)]
pub struct Place {
    parent: Folder,
    name: String,
    /// The backup's directory that was there when the place was opened.
    before: Option<Folder>,
    /// [`META_DIR`], shared with the backups beside this one.
    meta: Option<Folder>,
    metadata: Option<Folder>,
    lock: Result<Option<Lock>>,
}

/// A seal beside its place.
#[derive(Debug)]
pub struct Staged {
    dir: Folder,
    aside: Aside,
}

impl Place {
    /// The backup's directory, opened anew since tools remove and make it again. None if there is none.
    ///
    /// # Errors
    /// [`Error::NotPlain`] if there is something else in its place, or errors of the volume.
    pub fn dir(&self) -> Result<Option<Folder>> {
        self.parent.open_dir(&self.name)
    }

    /// The backup's directory, made if there is none.
    ///
    /// # Errors
    /// As [`Place::dir`].
    pub fn make_dir(&self) -> Result<Folder> {
        self.parent.make_dir(&self.name)
    }

    /// The directory beside it, with claim, lock and the tool's log.
    ///
    /// # Errors
    /// If there is none.
    pub fn metadata(&self) -> Result<&Folder> {
        let none = || {
            self.parent
                .failed("open metadata of", self.name.as_ref(), Errno::ENOENT)
        };
        self.metadata.as_ref().ok_or_else(none)
    }
}

impl Place {
    /// Removes the directory that was there when the place was opened: through its handle, so that another one, which
    /// somebody has made in its place since, keeps what is in it. Answers whether nothing is there now.
    fn remove_before(&self, freed: &mut u64) -> Result<bool> {
        if let Some(before) = &self.before {
            before.remove_all(&self.parent, freed)?;
        }
        self.parent.remove_empty_dir(&self.name)
    }
}

impl Repository {
    fn tombstones(&self) -> Result<Option<Folder>> {
        match self.root().open_dir(META_DIR)? {
            Some(meta) => meta.open_dir(TOMBSTONES),
            None => Ok(None),
        }
    }

    /// The directory above a backup, none if it is not there.
    fn parent_of(&self, path: &BackupPath) -> Result<Option<Folder>> {
        let mut folder = self.root().again()?;
        for part in path.parents() {
            match folder.open_dir(part)? {
                Some(below) => folder = below,
                None => return Ok(None),
            }
        }
        Ok(Some(folder))
    }
}

impl Repo for Repository {
    type Place = Place;
    type Staged = Staged;

    fn label(&self) -> String {
        format!("the volume at {}", self.root().label())
    }

    fn identity(&self) -> Result<Identity> {
        marker::read(self.root())
    }

    fn put_identity(&self, id: &str) -> Result<()> {
        marker::write(self.root(), id, self.writer())
    }

    fn first_trace(&self) -> Result<Option<String>> {
        marker::first_trace(self.root())
    }

    fn has_tombstone(&self, uid: &str) -> Result<bool> {
        match self.tombstones()? {
            Some(tombstones) if valid_uid(uid) => Ok(tombstones.kind(uid)?.is_some()),
            _ => Ok(false),
        }
    }

    fn put_tombstone(&self, tombstone: &Tombstone) -> Result<()> {
        let failed = |error| Error::io("write tombstone", std::io::Error::other(error));
        let bytes = serde_json::to_vec(tombstone).map_err(failed)?;
        let tombstones = self.root().make_dir(META_DIR)?.make_dir(TOMBSTONES)?;
        tombstones.write_new(&tombstone.uid, &bytes, self.writer())?;
        Ok(())
    }

    fn remove_tombstones(&self, expired: &dyn Fn(&Tombstone) -> bool) -> Result<u32> {
        let mut removed = 0;
        let Some(tombstones) = self.tombstones()? else {
            return Ok(removed);
        };
        for name in tombstones.names()? {
            let Ok(Some(bytes)) = tombstones.read(&name, TOMBSTONE_MAX) else {
                continue;
            };
            if serde_json::from_slice(&bytes).is_ok_and(|tombstone| expired(&tombstone)) {
                tombstones.remove_file(&name)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn enclosing(&self, path: &BackupPath) -> Result<Option<String>> {
        let mut folder = self.root().again()?;
        for part in path.parents() {
            let Some(below) = folder.open_dir(part)? else {
                return Ok(None);
            };
            if is_claimed(&folder, part)? || below.kind(SEAL_FILE)?.is_some() {
                return Ok(Some(below.label().to_owned()));
            }
            folder = below;
        }
        Ok(None)
    }

    fn make_place(&self, path: &BackupPath, waiting: &Waiting<'_>) -> Result<Place> {
        let mut parent = self.root().again()?;
        for part in path.parents() {
            parent = parent.make_dir(part)?;
        }
        let meta = parent.make_dir(META_DIR)?;
        let metadata = meta.make_dir(path.name())?;
        let lock = Lock::exclusive(&metadata, LOCK_FILE, waiting.wait, waiting.stop)?;
        let before = parent.open_dir(path.name())?;
        Ok(Place {
            parent,
            name: path.name().to_owned(),
            before,
            meta: Some(meta),
            metadata: Some(metadata),
            lock: Ok(Some(lock)),
        })
    }

    fn open_place(&self, path: &BackupPath, access: Access) -> Result<Option<Place>> {
        let Some(parent) = self.parent_of(path)? else {
            return Ok(None);
        };
        let meta = parent.open_dir(META_DIR)?;
        let metadata = match &meta {
            Some(meta) => meta.open_dir(path.name())?,
            None => None,
        };
        let lock = match (&metadata, access) {
            (Some(metadata), Access::Read) => Lock::shared(metadata).map(Some),
            (Some(metadata), Access::Remove) => {
                let Waiting { wait, stop } = Waiting::NONE;
                Ok(Some(Lock::exclusive(metadata, LOCK_FILE, wait, stop)?))
            }
            (None, _) => Ok(None),
        };
        let before = parent.open_dir(path.name())?;
        if metadata.is_none() && before.is_none() {
            return Ok(None);
        }
        Ok(Some(Place {
            parent,
            name: path.name().to_owned(),
            before,
            meta,
            metadata,
            lock,
        }))
    }

    fn hold(&self, place: Place) -> Result<Place> {
        let lock = Ok(place.lock?);
        Ok(Place { lock, ..place })
    }

    fn read_claim(&self, place: &Place) -> Result<Option<Claim>> {
        place.metadata.as_ref().map_or(Ok(None), Claim::read)
    }

    fn put_claim(&self, place: &Place, claim: &Claim) -> Result<()> {
        claim.write(place.metadata()?)
    }

    fn read_seal(&self, place: &Place) -> Result<Option<Seal>> {
        place.dir()?.as_ref().map_or(Ok(None), Seal::read)
    }

    fn data(&self, place: &Place) -> Result<Data> {
        Ok(match place.dir()? {
            None => Data::None,
            Some(dir) if dir.kind(META_DIR)?.is_some() => Data::Backups,
            Some(dir) if dir.is_empty()? => Data::None,
            Some(_) => Data::Files,
        })
    }

    fn make_data(&self, place: &Place, wipe: bool) -> Result<()> {
        let metadata = place.metadata()?;
        // A purge may have been faster.
        if metadata.kind(CLAIM_FILE)?.is_none() {
            return Err(metadata.failed("look at", CLAIM_FILE.as_ref(), Errno::ENOENT));
        }
        // What earlier attempts died over; with the claim written, none of them can seal any more.
        metadata.remove_set_aside("")?;
        if wipe && !place.remove_before(&mut 0)? {
            return Err(place
                .parent
                .failed("remove directory", place.name.as_ref(), Errno::ENOTEMPTY));
        }
        place.make_dir()?;
        place.parent.sync()
    }

    fn stage(&self, place: &Place, seal: &Seal) -> Result<Option<Staged>> {
        let Some(dir) = place.dir()? else {
            return Ok(None);
        };
        let write = |file: &File| seal.write_synced(file, SEAL_FILE);
        let aside = place.metadata()?.set_aside(SEAL_ASIDE, &seal.pod_uid, write)?;
        Ok(Some(Staged { dir, aside }))
    }

    fn put_seal(&self, _: &Place, staged: Staged) -> Result<()> {
        // A directory that was removed meanwhile takes no file any more.
        staged.aside.put(&staged.dir, SEAL_FILE)
    }

    fn look_again(&self, place: Place) -> Result<Place> {
        let before = place.dir()?;
        Ok(Place { before, ..place })
    }

    fn clear_data(&self, place: &Place, freed: &mut u64) -> Result<()> {
        let Some(before) = &place.before else {
            return Ok(());
        };
        // Without its seal it is no backup any more, whatever happens to the rest.
        before.remove_tree(SEAL_FILE, freed)?;
        before.sync()?;
        before.remove_all(&place.parent, freed)
    }

    fn remove_data(&self, place: &Place, freed: &mut u64) -> Result<()> {
        if place.before.is_none() {
            return Ok(());
        }
        self.clear_data(place, freed)?;
        place.parent.remove_empty_dir(&place.name)?;
        place.parent.sync()
    }

    fn remove_place(&self, place: Place, freed: &mut u64) -> Result<()> {
        let (Some(meta), Some(metadata)) = (place.meta, place.metadata) else {
            return Ok(());
        };
        for name in metadata.names()? {
            if name != CLAIM_FILE {
                metadata.remove_tree(&name, freed)?;
            }
        }
        // What a late pod has made and not filled.
        place.parent.remove_empty_dir(&place.name)?;
        metadata.remove_tree(CLAIM_FILE, freed)?;
        meta.remove_empty_dir(&place.name)?;
        meta.sync()?;
        drop(meta);
        place.parent.remove_empty_dir(META_DIR)?;
        Ok(())
    }

    fn prune(&self, path: &BackupPath) -> Result<()> {
        // What is missing was never made for this backup, or somebody else takes it away.
        if self.parent_of(path)?.is_none() {
            return Ok(());
        }
        prune(self.root(), path.parents())
    }
}

fn is_claimed(folder: &Folder, name: &str) -> Result<bool> {
    let Some(meta) = folder.open_dir(META_DIR)? else {
        return Ok(false);
    };
    match meta.open_dir(name)? {
        Some(metadata) => Ok(metadata.kind(CLAIM_FILE)?.is_some()),
        None => Ok(false),
    }
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
