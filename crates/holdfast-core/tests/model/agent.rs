//! What the agent does in a pod, step by step, on repositories in memory and on the database's volume.

use std::collections::BTreeMap;

use holdfast_api::{
    agent::{AgentResult, Outcome, exit_code},
    condition::Reason,
    names::{ROLE_BACKUP, ROLE_PURGE, ROLE_REPORT, ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_core::gc::{Batch, Entry};
use holdfast_store::{
    Access, Attempt, BackupPath, Claim, Claimant, Claimed, Discard, Error, FORMAT_VERSION, FileEntry, Found, Held,
    Outcome as Purged, Purge, PurgeEntry, RelPath, Repo as _, Seal, Sealed, Sealing, Waiting, checksum, establish,
    find, identify,
    memory::{MemoryPlace, MemoryRepo, MemorySeal},
};
use jiff::Timestamp;
use serde_json::Value;

use crate::net::{Net, Rule};

/// How work fails: why, in words, and whether the database's volume is half written.
struct Failed(Reason, String, bool);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error.reason().unwrap_or(Reason::ToolFailed), error.to_string(), false)
    }
}

fn fails<T>(reason: Reason, why: &str) -> Result<T, Failed> {
    Err(Failed(reason, why.to_owned(), false))
}

/// None as long as there is another step.
type Done = Result<Option<AgentResult>, Failed>;

/// A container's settings and how far it is.
pub(crate) struct Agent {
    environment: BTreeMap<String, String>,
    pod_uid: String,
    at: At,
    /// Whether it has sealed a copy itself.
    pub(crate) sealed: bool,
}

enum At {
    Backup,
    Claiming(Box<Attempt<MemoryRepo>>),
    /// The tool writes, and has written so many files.
    Tool(Box<Held<MemoryPlace>>, u32),
    Sealing(Box<(Held<MemoryPlace>, Seal, Sealing<MemorySeal>)>),
    /// The tool failed: what it wrote is to go.
    GivingUp(Discard<MemoryPlace>),
    Report,
    Verify,
    Restore,
    /// The copy is read, and the volume written.
    Restoring(Box<Sealed<MemoryPlace>>, u32),
    Purging(Removal),
}

/// The purge of a list.
#[derive(Default)]
struct Removal {
    left: Vec<Entry>,
    /// What is removed now, and where that lies.
    now: Option<Box<Purge<MemoryRepo>>>,
    place: String,
    done: u32,
    freed: u64,
    failed: Option<Failed>,
}

/// What a step needs.
pub(crate) struct Bench<'a> {
    pub(crate) repository: &'a MemoryRepo,
    pub(crate) volume: &'a str,
    /// Whether the database's volume is half written.
    pub(crate) dirty: &'a mut bool,
    pub(crate) net: &'a mut Net,
}

impl Agent {
    pub(crate) fn new(role: &str, environment: BTreeMap<String, String>, pod_uid: &str, batch: Option<Batch>) -> Self {
        let at = match role {
            ROLE_BACKUP => At::Backup,
            ROLE_REPORT => At::Report,
            ROLE_VERIFY => At::Verify,
            ROLE_RESTORE => At::Restore,
            ROLE_PURGE => At::Purging(Removal {
                left: batch.expect("a batch").entries,
                ..Removal::default()
            }),
            role => panic!("a pod with role {role:?}"),
        };
        Self {
            environment,
            pod_uid: pod_uid.to_owned(),
            at,
            sealed: false,
        }
    }

    pub(crate) fn variable(&self, name: &str) -> &str {
        self.environment.get(name).map_or("", String::as_str)
    }

    fn path(&self) -> BackupPath {
        BackupPath::parse(self.variable("HOLDFAST_PATH")).expect("a path")
    }

    fn uid(&self) -> &str {
        self.variable("HOLDFAST_BACKUP_UID")
    }

    fn run(&self) -> i32 {
        self.variable("HOLDFAST_RUN").parse().unwrap_or(1)
    }

    /// The identity of the repository, which is made one if it may be.
    fn establish(&self, bench: &Bench<'_>) -> Result<String, Error> {
        let id = format!("repository-{}", bench.volume);
        establish(bench.repository, self.variable("HOLDFAST_REPOSITORY_ID"), &id)
    }

    /// Whether it has not come to work yet.
    pub(crate) fn begins(&self) -> bool {
        matches!(self.at, At::Backup | At::Claiming(_))
    }

    /// Whether it writes the database's volume.
    pub(crate) fn writes(&self) -> bool {
        matches!(self.at, At::Restoring(_, 1..))
    }

    /// Its node is lost: others get into the places that it holds, and it does not know.
    pub(crate) fn lose(&self, repository: &MemoryRepo) {
        let place = match &self.at {
            At::Purging(removal) => &removal.place,
            _ => self.variable("HOLDFAST_PATH"),
        };
        if let Ok(path) = BackupPath::parse(place) {
            repository.break_locks(&path);
        }
    }

    /// The next step; exit code and result, once it is through.
    pub(crate) fn step(&mut self, bench: &mut Bench<'_>) -> Option<(i32, AgentResult)> {
        let done = match std::mem::replace(&mut self.at, At::Report) {
            At::Report => self.report(bench.repository),
            At::Verify => self
                .copy(bench.repository)
                .map(|found| Some(of_seal(&found.seal, Outcome::Verified))),
            At::Restore => self.restore(bench),
            At::Restoring(copy, step) => self.write(copy, step, bench),
            At::Purging(removal) => self.purge(removal, bench),
            at => {
                self.forge(bench);
                self.back_up(at, bench)
            }
        };
        match done {
            Ok(result) => result.map(|result| (0, result)),
            Err(Failed(reason, why, dirty)) => {
                let mut result = AgentResult::failed(reason, &why);
                result.dirty = dirty;
                Some((exit_code(reason), result))
            }
        }
    }

    fn claimant(&self) -> Claimant {
        Claimant {
            uid: self.uid().to_owned(),
            name: self.variable("HOLDFAST_BACKUP_NAME").to_owned(),
            run: self.run(),
            pod_uid: self.pod_uid.clone(),
        }
    }

    /// Without claims, everybody finds their own.
    fn forge(&self, bench: &Bench<'_>) {
        let place = bench.repository.open_place(&self.path(), Access::Read);
        if let Some(place) = place.ok().flatten().filter(|_| bench.net.without(Rule::Claim)) {
            let Claimant {
                uid,
                name,
                run,
                pod_uid,
            } = self.claimant();
            let (v, time) = (FORMAT_VERSION, Timestamp::UNIX_EPOCH.to_string());
            let claim = Claim {
                v,
                uid,
                name,
                run,
                pod_uid,
                time,
            };
            let _ = bench.repository.put_claim(&place, &claim);
        }
    }

    fn back_up(&mut self, at: At, bench: &mut Bench<'_>) -> Done {
        let (repository, path) = (bench.repository, self.path());
        self.at = match at {
            At::Claiming(mut attempt) => match attempt.step(repository, &Waiting::NONE)? {
                Some(Claimed::Sealed(seal)) => return Ok(Some(of_seal(&seal, Outcome::Sealed))),
                Some(Claimed::Work(held)) => At::Tool(held, 0),
                None => At::Claiming(attempt),
            },
            At::Tool(held, written) if written < 2 => {
                // What one pod writes is told from what another does by its size. Where another attempt has taken over,
                // the directory that it was given is gone.
                let digits = self.pod_uid.bytes().rev().take(3);
                let size = digits.fold(1, |sum, byte| 10 * sum + u64::from(byte));
                if held.still_ours(repository).is_ok() {
                    repository.write(&path, &format!("file-{written}"), size);
                }
                At::Tool(held, written + 1)
            }
            At::Tool(held, _) if bench.net.faults && bench.net.chance.one_in(8) => match held.give_up(repository)? {
                Some(discard) => At::GivingUp(discard),
                None => return fails(Reason::ToolFailed, "no"),
            },
            At::GivingUp(mut discard) => match discard.step(repository, &mut 0)? {
                Some(_) => return fails(Reason::ToolFailed, "no"),
                None => At::GivingUp(discard),
            },
            At::Tool(held, _) => {
                let seal = self.seal(repository, bench.net.api.now)?;
                let sealing = held.stage(repository, &seal)?;
                At::Sealing(Box::new((*held, seal, sealing)))
            }
            At::Sealing(mut work) => {
                let (held, seal, sealing) = &mut *work;
                if sealing.step(repository, held)? {
                    self.sealed = true;
                    return Ok(Some(of_seal(seal, Outcome::Sealed)));
                }
                At::Sealing(work)
            }
            _ => {
                self.establish(bench)?;
                let attempt = Attempt::new(&path, &self.claimant(), bench.net.api.now)?;
                At::Claiming(Box::new(attempt))
            }
        };
        Ok(None)
    }

    /// The seal of what is there.
    fn seal(&self, repository: &MemoryRepo, now: Timestamp) -> Result<Seal, Failed> {
        let files = files_of(repository, &self.path());
        let Claimant {
            uid,
            name,
            run,
            pod_uid,
        } = self.claimant();
        Ok(Seal {
            v: FORMAT_VERSION,
            uid,
            name,
            run,
            pod_uid,
            path: self.path().to_string(),
            repository: identify(repository, "")?,
            sealed: now.to_string(),
            parent: None,
            bytes: files.iter().map(|file| file.size).sum(),
            checksum: checksum(files.iter().map(|file| (&file.sha256, file.path.as_bytes()))),
            info: Value::Null,
            spec: Value::Null,
            files,
            links: Vec::new(),
        })
    }

    fn report(&self, repository: &MemoryRepo) -> Done {
        identify(repository, self.variable("HOLDFAST_REPOSITORY_ID"))?;
        match find(repository, &self.path(), self.uid())? {
            Found::Sealed(found) if found.seal.run == self.run() => Ok(Some(of_seal(&found.seal, Outcome::Sealed))),
            _ => fails(Reason::SealInvalid, "this run was never sealed"),
        }
    }

    /// The copy that is to be read: it has to be there, and to be the one that was asked for.
    fn copy(&self, repository: &MemoryRepo) -> Result<Box<Sealed<MemoryPlace>>, Failed> {
        identify(repository, self.variable("HOLDFAST_REPOSITORY_ID"))?;
        let Found::Sealed(found) = find(repository, &self.path(), self.uid())? else {
            return fails(Reason::SealInvalid, "there is no sealed copy");
        };
        let asked_for = found.seal.checksum == self.variable("HOLDFAST_DIGEST");
        if !asked_for || files_of(repository, &self.path()) != found.seal.files {
            return fails(Reason::DigestMismatch, "it is another copy");
        }
        Ok(found)
    }

    fn restore(&mut self, bench: &mut Bench<'_>) -> Done {
        if bench.net.faults && bench.net.chance.one_in(6) {
            return fails(Reason::TargetHasData, "it holds data");
        }
        self.at = At::Restoring(self.copy(bench.repository)?, 0);
        Ok(None)
    }

    fn write(&mut self, copy: Box<Sealed<MemoryPlace>>, step: u32, bench: &mut Bench<'_>) -> Done {
        *bench.dirty = step < 2;
        match step {
            1 if bench.net.faults && bench.net.chance.one_in(3) => {
                return Err(Failed(Reason::ToolFailed, "no".to_owned(), true));
            }
            0 | 1 => {}
            _ => return Ok(Some(of_seal(&copy.seal, Outcome::Restored))),
        }
        self.at = At::Restoring(copy, step + 1);
        Ok(None)
    }

    fn purge(&mut self, mut removal: Removal, bench: &Bench<'_>) -> Done {
        if let Some(mut purge) = removal.now.take() {
            let step = purge.step(bench.repository, &mut removal.freed);
            match step.unwrap_or_else(|error| Some(error.into())) {
                None => removal.now = Some(purge),
                Some(Purged::Purged | Purged::Gone) => removal.done += 1,
                Some(Purged::Refused(error)) => removal.failed = Some(error.into()),
                Some(Purged::Failed(error)) => {
                    removal.failed = Some(Failed(Reason::PurgeFailed, error.to_string(), false));
                }
            }
        } else if let Some(Entry { uid, path, name }) = removal.left.pop() {
            self.establish(bench)?;
            removal.place.clone_from(&path);
            let entry = PurgeEntry { uid, path, name };
            removal.now = Some(Box::new(Purge::new(&entry, bench.net.api.now)?));
        } else if let Some(failed) = removal.failed {
            return Err(failed);
        } else {
            let mut result = AgentResult::new(Outcome::Purged);
            (result.purged, result.bytes) = (Some(removal.done), Some(removal.freed));
            return Ok(Some(result));
        }
        self.at = At::Purging(removal);
        Ok(None)
    }
}

fn of_seal(seal: &Seal, outcome: Outcome) -> AgentResult {
    AgentResult {
        bytes: Some(seal.bytes),
        files: Some(seal.files.len() as u64),
        digest: Some(format!("sha256:{}", seal.checksum)),
        repository: Some(seal.repository.clone()),
        ..AgentResult::new(outcome)
    }
}

/// What lies in a backup's directory. Files are told from each other by their sizes.
pub(crate) fn files_of(repository: &MemoryRepo, path: &BackupPath) -> Vec<FileEntry> {
    let files = repository.files(path).unwrap_or_default().into_iter();
    let entry = |(name, size): (String, u64)| {
        let mut sha256 = [0; 32];
        sha256[..8].copy_from_slice(&size.to_le_bytes());
        let path = RelPath::new(name).expect("a name");
        FileEntry { path, size, sha256 }
    };
    files.map(entry).collect()
}
