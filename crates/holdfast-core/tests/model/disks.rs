//! A repository and the database's volume, and how the agent works on them: claim, seal, tomb, mark.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_api::{
    Backup,
    agent::{AgentResult, Outcome, exit_code},
    condition::Reason,
    names::{ROLE_BACKUP, ROLE_PURGE, ROLE_REPORT, ROLE_RESTORE, ROLE_VERIFY},
};
use kube::ResourceExt as _;

use crate::{cluster::Process, net::Net};

/// A backup's directory.
#[derive(Clone, Debug)]
struct Directory {
    /// Whose it is: the Backup's uid.
    uid: String,
    /// The pod that claimed it last.
    pod: String,
    sealed: bool,
}

/// The repository, and the database's volume.
#[derive(Default)]
pub(crate) struct Disks {
    directories: BTreeMap<String, Directory>,
    tombs: BTreeSet<String>,
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

    /// The uids of the Backups whose directories are there.
    pub(crate) fn present(&self) -> impl Iterator<Item = &str> {
        self.directories.values().map(|directory| directory.uid.as_str())
    }

    pub(crate) fn is_sealed(&self, path: &str, uid: &str) -> bool {
        self.directories
            .get(path)
            .is_some_and(|directory| directory.sealed && directory.uid == uid)
    }

    /// What the agent does next; its exit code and result when it is through.
    /// `busy` says that another process that lives has the lock of the directory.
    pub(crate) fn step(&mut self, process: &Process, busy: bool, net: &mut Net) -> Option<(i32, AgentResult)> {
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
        // Before the claim, after it, and before the seal.
        if self.tombs.contains(uid) {
            return Some(failed(Reason::Tombed));
        }
        match process.step {
            1 => {
                match self.directories.get(path) {
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
                self.directories.insert(path.clone(), directory);
                None
            }
            2 | 3 => None,
            _ => {
                let directory = match self.directories.get_mut(path) {
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
        let Some(entry) = entries.get(index) else {
            let mut result = AgentResult::new(Outcome::Purged);
            result.purged = u32::try_from(entries.len()).ok();
            return Some((0, result));
        };
        if process.step % 2 == 1 {
            if self.keeps_tombs {
                self.tombs.insert(entry.uid.clone());
            }
            return None;
        }
        if self
            .directories
            .get(&entry.path)
            .is_some_and(|directory| directory.uid == entry.uid)
        {
            let backup = net
                .api
                .get::<Backup>(&entry.name)
                .filter(|backup| backup.uid().as_ref() == Some(&entry.uid));
            if backup.is_some_and(|backup| backup.metadata.deletion_timestamp.is_none()) {
                self.break_rule(format!("files of {}, which nobody deleted, are removed", entry.name));
            }
            self.directories.remove(&entry.path);
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
