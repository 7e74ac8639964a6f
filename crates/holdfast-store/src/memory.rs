//! A repository in memory, for tests of the protocol and models of the whole: no file, no clock, and nothing comes
//! between the beginning and the end of an operation.

use crate::claim::Claim;
use crate::path::BackupPath;
use crate::repo::{Access, Data, Identity, Repo, Waiting};
use crate::seal::Seal;
use crate::tombstone::Tombstone;
use crate::{Error, Result};
use nix::errno::Errno;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

/// A repository in memory.
#[derive(Debug, Default)]
pub struct MemoryRepo(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    identity: Identity,
    tombstones: BTreeMap<String, Tombstone>,
    forgetful: bool,
    slots: BTreeMap<String, Slot>,
    /// How many slots and directories were made so far: the number tells one from another in its place.
    made: u64,
}

/// What there is at a path.
#[derive(Debug, Default)]
struct Slot {
    number: u64,
    claim: Option<Claim>,
    dir: Option<Dir>,
    writer: Weak<()>,
    readers: Weak<()>,
}

#[derive(Debug, Default)]
struct Dir {
    number: u64,
    /// Sizes, by name.
    files: BTreeMap<String, u64>,
    seal: Option<Seal>,
}

/// A place in a [`MemoryRepo`].
#[derive(Debug)]
pub struct MemoryPlace {
    path: String,
    number: u64,
    /// The directory that was there when this was opened.
    before: Option<u64>,
    /// Held for as long as this lives; none if somebody else holds it.
    lock: Option<Rc<()>>,
}

/// A seal that waits for its place in a [`MemoryRepo`].
#[derive(Debug)]
pub struct MemorySeal {
    seal: Seal,
    dir: u64,
}

impl MemoryRepo {
    /// One that loses every tombstone at once, to show what they are for.
    pub fn without_tombstones() -> Self {
        let repo = Self::default();
        repo.0.borrow_mut().forgetful = true;
        repo
    }

    /// Sets the identity; also to none, or a damaged one.
    pub fn set_identity(&self, identity: Identity) {
        self.0.borrow_mut().identity = identity;
    }

    /// What a tool does: writes a file of that many bytes to a backup's directory, if there is one.
    pub fn write(&self, path: &BackupPath, file: &str, bytes: u64) {
        if let Some(dir) = self.0.borrow_mut().dir(&path.to_string()) {
            dir.files.insert(file.to_owned(), bytes);
        }
    }

    /// The sizes of a backup's files, by name; none without a directory.
    pub fn files(&self, path: &BackupPath) -> Option<BTreeMap<String, u64>> {
        self.0.borrow_mut().dir(&path.to_string()).map(|dir| dir.files.clone())
    }

    /// The paths where anything is, and the uid that claim or seal name.
    pub fn backups(&self) -> Vec<(String, Option<String>)> {
        let state = self.0.borrow();
        let slots = state.slots.iter();
        slots.map(|(path, slot)| (path.clone(), slot.uid().cloned())).collect()
    }

    /// What happens when the node of a holder is lost: others get in, and the holder, if it lives on, knows nothing.
    pub fn break_locks(&self, path: &BackupPath) {
        if let Some(slot) = self.0.borrow_mut().slots.get_mut(&path.to_string()) {
            (slot.writer, slot.readers) = (Weak::new(), Weak::new());
        }
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn dir(&mut self, path: &str) -> Option<&mut Dir> {
        self.slots.get_mut(path)?.dir.as_mut()
    }

    /// The place's slot, unless that was removed meanwhile.
    fn slot(&mut self, place: &MemoryPlace) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(&place.path)?;
        (slot.number == place.number).then_some(slot)
    }
}

impl Dir {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.seal.is_none()
    }
}

impl Slot {
    /// The lock for writing, kept out by every other holder; or the one that readers share.
    fn lock(&mut self, write: bool) -> Option<Rc<()>> {
        if self.writer.strong_count() > 0 || (write && self.readers.strong_count() > 0) {
            return None;
        }
        let lock = self.readers.upgrade().unwrap_or_default();
        *(if write { &mut self.writer } else { &mut self.readers }) = Rc::downgrade(&lock);
        Some(lock)
    }

    /// Whose it is, by claim or seal.
    fn uid(&self) -> Option<&String> {
        let seal = self.dir.as_ref().and_then(|dir| dir.seal.as_ref());
        let claim = self.claim.as_ref().map(|claim| &claim.uid);
        claim.or(seal.map(|seal| &seal.uid))
    }

    fn open(&mut self, path: String, write: bool) -> Result<MemoryPlace> {
        let lock = self.lock(write);
        if write && lock.is_none() {
            return Err(busy(&path));
        }
        Ok(MemoryPlace {
            path,
            number: self.number,
            before: self.dir.as_ref().map(|dir| dir.number),
            lock,
        })
    }

    /// Removes the directory of that number, and another one if it is empty. Answers how many bytes went with it.
    fn remove_dir(&mut self, number: Option<u64>) -> u64 {
        let goes = |dir: &mut Dir| Some(dir.number) == number || dir.is_empty();
        self.dir.take_if(goes).map_or(0, |dir| dir.files.values().sum())
    }

    fn data(&self) -> Data {
        match &self.dir {
            Some(dir) if !dir.is_empty() => Data::Files,
            _ => Data::None,
        }
    }
}

fn busy(path: &str) -> Error {
    Error::Busy(format!("another live pod works in {path}"))
}

fn gone(place: &MemoryPlace) -> Error {
    Error::io(format!("write to {}", place.path), Errno::ENOENT)
}

impl Repo for MemoryRepo {
    type Place = MemoryPlace;
    type Staged = MemorySeal;

    fn label(&self) -> String {
        "the repository in memory".to_owned()
    }

    fn identity(&self) -> Result<Identity> {
        Ok(self.0.borrow().identity.clone())
    }

    fn put_identity(&self, id: &str) -> Result<()> {
        let identity = &mut self.0.borrow_mut().identity;
        if !matches!(identity, Identity::Is(_)) {
            *identity = Identity::Is(id.to_owned());
        }
        Ok(())
    }

    fn first_trace(&self) -> Result<Option<String>> {
        let state = self.0.borrow();
        let tombstone = state.tombstones.keys().next().cloned();
        Ok(state.slots.keys().next().cloned().or(tombstone))
    }

    fn has_tombstone(&self, uid: &str) -> Result<bool> {
        Ok(self.0.borrow().tombstones.contains_key(uid))
    }

    fn put_tombstone(&self, tombstone: &Tombstone) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        if !state.forgetful {
            let kept = state.tombstones.entry(tombstone.uid.clone());
            kept.or_insert_with(|| tombstone.clone());
        }
        Ok(())
    }

    fn remove_tombstones(&self, expired: &dyn Fn(&Tombstone) -> bool) -> Result<u32> {
        let tombstones = &mut self.0.borrow_mut().tombstones;
        let before = tombstones.len();
        tombstones.retain(|_, tombstone| !expired(tombstone));
        Ok(u32::try_from(before - tombstones.len()).unwrap_or(u32::MAX))
    }

    fn enclosing(&self, path: &BackupPath) -> Result<Option<String>> {
        let (state, path) = (self.0.borrow(), path.to_string());
        let encloses =
            |(other, slot): &(&String, &Slot)| slot.uid().is_some() && path.starts_with(&format!("{other}/"));
        Ok(state.slots.iter().find(encloses).map(|(other, _)| other.clone()))
    }

    fn make_place(&self, path: &BackupPath, _: &Waiting<'_>) -> Result<MemoryPlace> {
        let (state, path) = (&mut *self.0.borrow_mut(), path.to_string());
        let number = state.next();
        let slot = state.slots.entry(path.clone()).or_insert_with(|| Slot {
            number,
            ..Slot::default()
        });
        slot.open(path, true)
    }

    fn open_place(&self, path: &BackupPath, access: Access) -> Result<Option<MemoryPlace>> {
        let (state, path) = (&mut *self.0.borrow_mut(), path.to_string());
        let slot = state.slots.get_mut(&path);
        slot.map(|slot| slot.open(path, access == Access::Remove)).transpose()
    }

    fn hold(&self, place: MemoryPlace) -> Result<MemoryPlace> {
        if place.lock.is_none() {
            return Err(busy(&place.path));
        }
        Ok(place)
    }

    fn read_claim(&self, place: &MemoryPlace) -> Result<Option<Claim>> {
        Ok(self.0.borrow_mut().slot(place).and_then(|slot| slot.claim.clone()))
    }

    fn put_claim(&self, place: &MemoryPlace, claim: &Claim) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.slot(place).ok_or_else(|| gone(place))?.claim = Some(claim.clone());
        Ok(())
    }

    fn read_seal(&self, place: &MemoryPlace) -> Result<Option<Seal>> {
        let state = &mut *self.0.borrow_mut();
        let dir = state.slot(place).and_then(|slot| slot.dir.as_ref());
        Ok(dir.and_then(|dir| dir.seal.clone()))
    }

    fn data(&self, place: &MemoryPlace) -> Result<Data> {
        let (state, below) = (&mut *self.0.borrow_mut(), format!("{}/", place.path));
        if state.slots.keys().any(|path| path.starts_with(&below)) {
            return Ok(Data::Backups);
        }
        Ok(state.slot(place).map_or(Data::None, |slot| slot.data()))
    }

    fn make_data(&self, place: &MemoryPlace, wipe: bool) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let number = state.next();
        let slot = state.slot(place).filter(|slot| slot.claim.is_some());
        let slot = slot.ok_or_else(|| gone(place))?;
        if wipe {
            slot.remove_dir(place.before);
            if slot.dir.is_some() {
                return Err(Error::io("remove directory", Errno::ENOTEMPTY));
            }
        }
        slot.dir.get_or_insert_with(|| Dir {
            number,
            ..Dir::default()
        });
        Ok(())
    }

    fn stage(&self, place: &MemoryPlace, seal: &Seal) -> Result<Option<MemorySeal>> {
        let state = &mut *self.0.borrow_mut();
        let dir = state.slot(place).and_then(|slot| slot.dir.as_ref());
        Ok(dir.map(|dir| MemorySeal {
            seal: seal.clone(),
            dir: dir.number,
        }))
    }

    fn put_seal(&self, place: &MemoryPlace, staged: MemorySeal) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let dir = state.dir(&place.path).filter(|dir| dir.number == staged.dir);
        dir.ok_or_else(|| gone(place))?.seal = Some(staged.seal);
        Ok(())
    }

    fn look_again(&self, mut place: MemoryPlace) -> Result<MemoryPlace> {
        let state = &mut *self.0.borrow_mut();
        let dir = state.slot(&place).and_then(|slot| slot.dir.as_ref());
        place.before = dir.map(|dir| dir.number);
        Ok(place)
    }

    fn clear_data(&self, place: &MemoryPlace, freed: &mut u64) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let dir = state.slot(place).and_then(|slot| slot.dir.as_mut());
        if let Some(dir) = dir.filter(|dir| Some(dir.number) == place.before) {
            *freed += std::mem::take(&mut dir.files).values().sum::<u64>();
            dir.seal = None;
        }
        Ok(())
    }

    fn remove_data(&self, place: &MemoryPlace, freed: &mut u64) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        if let Some(slot) = state.slot(place).filter(|_| place.before.is_some()) {
            *freed += slot.remove_dir(place.before);
        }
        Ok(())
    }

    fn remove_place(&self, place: MemoryPlace, _: &mut u64) -> Result<()> {
        let state = &mut *self.0.borrow_mut();
        let number = state.next();
        match state.slot(&place) {
            Some(slot) if slot.data() != Data::None => (slot.claim, slot.number) = (None, number),
            Some(_) => drop(state.slots.remove(&place.path)),
            None => {}
        }
        Ok(())
    }

    fn prune(&self, _: &BackupPath) -> Result<()> {
        Ok(())
    }
}
