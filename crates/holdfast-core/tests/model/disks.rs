//! The volumes of repositories and of the database, and how the agent works on them: claim, seal, tomb, mark.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_api::{
    Backup, BackupPhase,
    agent::{AgentResult, Outcome, exit_code},
    condition::Reason,
    names::{ROLE_BACKUP, ROLE_PURGE, ROLE_REPORT, ROLE_RESTORE, ROLE_VERIFY},
};
use kube::ResourceExt as _;

use crate::{cluster::Process, net::Net, world::phase};

/// A backup's directory.
#[derive(Clone, Debug)]
struct Directory {
    /// Whose it is: the Backup's uid.
    uid: String,
    /// The pod that claimed it last.
    pod: String,
    sealed: bool,
}

/// What is on a repository's volume.
#[derive(Default)]
struct Repository {
    directories: BTreeMap<String, Directory>,
    tombs: BTreeSet<String>,
}

/// The volumes of repositories, and the database's.
#[derive(Default)]
pub(crate) struct Disks {
    repositories: BTreeMap<String, Repository>,
    /// Whether tombs are kept at all.
    pub(crate) keeps_tombs: bool,
    /// How often a uid was sealed.
    seals: BTreeMap<String, u32>,
    /// Whether the database's volume is half written.
    pub(crate) dirty: bool,
    /// A rule that was broken.
    pub(crate) broken: Option<String>,
}

impl Disks {
    pub(crate) fn break_rule(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// A volume is made, empty.
    pub(crate) fn format(&mut self, volume: &str) {
        self.repositories.insert(volume.to_owned(), Repository::default());
    }

    /// A volume is removed with all that is on it.
    pub(crate) fn erase(&mut self, volume: &str, net: &Net) {
        let Some(gone) = self.repositories.remove(volume) else {
            return;
        };
        for backup in net.api.list::<Backup>() {
            let kept = backup.metadata.deletion_timestamp.is_none() && phase(&backup) != Some(BackupPhase::Failed);
            let of_backup = |directory: &Directory| directory.sealed && backup.uid().as_ref() == Some(&directory.uid);
            if kept && gone.directories.values().any(of_backup) {
                self.break_rule(format!(
                    "{volume} is removed with the sealed copy of {}",
                    backup.name_any()
                ));
            }
        }
    }

    /// The uids of the Backups whose directories are there.
    pub(crate) fn present(&self) -> impl Iterator<Item = &str> {
        let directories = self
            .repositories
            .values()
            .flat_map(|repository| repository.directories.values());
        directories.map(|directory| directory.uid.as_str())
    }

    pub(crate) fn is_sealed(&self, path: &str, uid: &str) -> bool {
        let mut directories = self.repositories.values().filter_map(|one| one.directories.get(path));
        directories.any(|directory| directory.sealed && directory.uid == uid)
    }

    /// What the agent does next; its exit code and result when it is through.
    /// `busy` says that another process that lives has the lock of the directory.
    pub(crate) fn step(&mut self, process: &Process, busy: bool, net: &mut Net) -> Option<(i32, AgentResult)> {
        if !self.repositories.contains_key(&process.volume) {
            return Some(failed(Reason::ToolFailed));
        }
        match process.role.as_str() {
            ROLE_BACKUP => self.back_up(process, busy),
            ROLE_REPORT => Some(self.report(process)),
            ROLE_PURGE => self.purge(process, net),
            ROLE_VERIFY if self.sealed(process) => Some((0, AgentResult::new(Outcome::Verified))),
            ROLE_VERIFY => Some(failed(Reason::SealInvalid)),
            ROLE_RESTORE => self.restore(process, net),
            role => panic!("a pod with role {role:?}"),
        }
    }

    fn back_up(&mut self, process: &Process, busy: bool) -> Option<(i32, AgentResult)> {
        let (uid, path) = (
            &process.environment["HOLDFAST_BACKUP_UID"],
            &process.environment["HOLDFAST_PATH"],
        );
        let repository = self.repositories.entry(process.volume.clone()).or_default();
        // Before the claim, after it, and before the seal.
        if repository.tombs.contains(uid) {
            return Some(failed(Reason::AlreadyDeleted));
        }
        match process.step {
            1 => {
                match repository.directories.get(path) {
                    Some(known) if known.uid != *uid => return Some(failed(Reason::PathOccupied)),
                    Some(known) if known.sealed => return Some((0, sealed())),
                    Some(_) if busy => return Some(failed(Reason::ToolFailed)),
                    Some(_) | None => {}
                }
                let directory = Directory {
                    uid: uid.clone(),
                    pod: process.uid.clone(),
                    sealed: false,
                };
                repository.directories.insert(path.clone(), directory);
                None
            }
            2 | 3 => None,
            _ => {
                let directory = match repository.directories.get_mut(path) {
                    Some(known) if known.uid == *uid && known.pod == process.uid => known,
                    Some(known) if known.uid != *uid => return Some(failed(Reason::PathOccupied)),
                    // Another attempt took the claim over, or it is gone.
                    Some(_) | None => return Some(failed(Reason::ToolFailed)),
                };
                directory.sealed = true;
                let seals = self.seals.entry(uid.clone()).or_default();
                *seals += 1;
                if *seals > 1 {
                    self.break_rule(format!("{uid} was sealed twice"));
                }
                Some((0, sealed()))
            }
        }
    }

    fn sealed(&self, process: &Process) -> bool {
        self.is_sealed(
            &process.environment["HOLDFAST_PATH"],
            &process.environment["HOLDFAST_BACKUP_UID"],
        )
    }

    fn report(&self, process: &Process) -> (i32, AgentResult) {
        if self.sealed(process) {
            (0, sealed())
        } else {
            failed(Reason::SealInvalid)
        }
    }

    /// Step by step, one directory each: first the tomb.
    fn purge(&mut self, process: &Process, net: &mut Net) -> Option<(i32, AgentResult)> {
        let entries = &process.batch.as_ref().expect("a batch").entries;
        let index = usize::try_from(process.step - 1).unwrap_or_default() / 2;
        let repository = self.repositories.entry(process.volume.clone()).or_default();
        let Some(entry) = entries.get(index) else {
            let mut result = AgentResult::new(Outcome::Purged);
            result.purged = u32::try_from(entries.len()).ok();
            return Some((0, result));
        };
        if process.step % 2 == 1 {
            if self.keeps_tombs {
                repository.tombs.insert(entry.uid.clone());
            }
            return None;
        }
        let found = repository.directories.get(&entry.path);
        if found.is_some_and(|directory| directory.uid == entry.uid) {
            repository.directories.remove(&entry.path);
            let backup = net
                .api
                .get::<Backup>(&entry.name)
                .filter(|backup| backup.uid().as_ref() == Some(&entry.uid));
            if backup.is_some_and(|backup| backup.metadata.deletion_timestamp.is_none()) {
                self.break_rule(format!("files of {}, which nobody deleted, are removed", entry.name));
            }
        }
        None
    }

    fn restore(&mut self, process: &Process, net: &mut Net) -> Option<(i32, AgentResult)> {
        match process.step {
            1 if net.faults && net.chance.one_in(6) => Some(failed(Reason::TargetHasData)),
            1 => {
                self.dirty = true;
                None
            }
            2 if net.faults && net.chance.one_in(2) => {
                let (code, mut result) = failed(Reason::ToolFailed);
                result.dirty = true;
                Some((code, result))
            }
            2 => None,
            _ => {
                self.dirty = false;
                Some((0, AgentResult::new(Outcome::Restored)))
            }
        }
    }
}

fn sealed() -> AgentResult {
    AgentResult {
        bytes: Some(1000),
        files: Some(2),
        digest: Some(format!("sha256:{}", "ab".repeat(32))),
        repository: Some("repository-1".to_owned()),
        ..AgentResult::new(Outcome::Sealed)
    }
}

fn failed(reason: Reason) -> (i32, AgentResult) {
    (exit_code(reason), AgentResult::failed(reason, "no"))
}
