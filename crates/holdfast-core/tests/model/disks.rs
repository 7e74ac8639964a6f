//! The volumes of repositories and of the database, and what may never become of what is on them.

use std::collections::BTreeMap;

use holdfast_api::{Backup, BackupPhase, ObjectMetaExt as _};
use holdfast_store::{Access, BackupPath, Repo as _, Seal, memory::MemoryRepo};
use kube::ResourceExt as _;

use crate::{
    agent::files_of,
    net::{Net, Rule, checksum},
};

/// The sealed copy that a pod has told of.
struct Told {
    volume: String,
    pod: String,
    path: BackupPath,
}

/// The volumes of repositories, and the database's.
#[derive(Default)]
pub(crate) struct Disks {
    repositories: BTreeMap<String, MemoryRepo>,
    /// By the uid that sealed.
    told: BTreeMap<String, Told>,
    /// Whether the database's volume is half written.
    pub(crate) dirty: bool,
    /// How often anything may have changed.
    pub(crate) changes: u64,
}

impl Disks {
    /// A volume is made, empty.
    pub(crate) fn format(&mut self, volume: &str, net: &Net) {
        let repository = if net.without(Rule::Tombstone) {
            MemoryRepo::without_tombstones()
        } else {
            MemoryRepo::default()
        };
        self.repositories.insert(volume.to_owned(), repository);
    }

    /// A volume is removed with all that is on it.
    pub(crate) fn erase(&mut self, volume: &str, net: &mut Net) {
        self.repositories.remove(volume);
        self.watch(net);
    }

    pub(crate) fn repository(&self, volume: &str) -> Option<&MemoryRepo> {
        self.repositories.get(volume)
    }

    /// The uids of the Backups of which anything is there.
    pub(crate) fn present(&self) -> impl Iterator<Item = String> {
        let backups = self.repositories.values().flat_map(MemoryRepo::backups);
        backups.filter_map(|(_, uid)| uid)
    }

    /// The seal of a Backup's copy, wherever it lies.
    fn seal(&self, path: &BackupPath, uid: &str) -> Option<(&MemoryRepo, Seal)> {
        self.repositories.values().find_map(|repository| {
            let place = repository.open_place(path, Access::Read).ok()??;
            let seal = repository.read_seal(&place).ok()??;
            (seal.uid == uid).then_some((repository, seal))
        })
    }

    /// Whether a Backup has its sealed copy, whole, and just the one that it tells of.
    pub(crate) fn has_copy(&self, backup: &Backup) -> bool {
        let uid = backup.uid().unwrap_or_default();
        let location = backup.status.as_ref().and_then(|status| status.location(&uid));
        let path = location.and_then(|location| BackupPath::parse(&location.path).ok());
        let found = path.and_then(|path| Some((self.seal(&path, &uid)?, path)));
        found.is_some_and(|((repository, seal), path)| {
            checksum(backup) == Some(&seal.checksum) && files_of(repository, &path) == seal.files
        })
    }

    /// A pod has told that it sealed a copy.
    pub(crate) fn tell(&mut self, uid: &str, pod: &str, (volume, path): (&str, &str), net: &mut Net) {
        let Some(path) = BackupPath::parse(path).ok() else {
            return;
        };
        let told = Told {
            volume: volume.to_owned(),
            pod: pod.to_owned(),
            path,
        };
        if self.told.get(uid).is_some_and(|known| known.pod != told.pod) {
            net.breaks(format!("{uid} was sealed twice"));
        }
        self.told.insert(uid.to_owned(), told);
    }

    /// Looks whether a copy is gone, and whether it may be.
    pub(crate) fn watch(&mut self, net: &mut Net) {
        self.changes += 1;
        let is_gone = |(uid, told): &(&String, &Told)| self.seal(&told.path, uid).is_none();
        let gone: Vec<String> = self.told.iter().filter(is_gone).map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            let told = self.told.remove(&uid).expect("just found");
            let backups = net.api.list::<Backup>();
            let Some(backup) = backups.iter().find(|backup| backup.metadata.uid.as_ref() == Some(&uid)) else {
                continue;
            };
            if !backup.is_terminating() && backup.phase() != BackupPhase::Failed {
                net.breaks(format!(
                    "the sealed copy of {}, which nobody deleted, is gone from {}",
                    backup.name_any(),
                    told.volume
                ));
            }
            if net.retired.contains(&uid) {
                net.a_newer_copy_stays(backup, "the bytes are removed of");
            }
        }
    }
}
