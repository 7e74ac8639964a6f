//! What lies between a service and the API server: answers that are lost, writes that come late or twice, leads that move.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_api::{Backup, BackupPhase};
use kube::ResourceExt as _;
use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};
use serde_json::Value;

use crate::{
    api::{Api, Refused, Request, text},
    process::Service,
};

/// Chance, from a seed.
pub(crate) struct Chance(TestRng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.next_u64()).unwrap_or_default() % limit.max(1)
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A rule that is taken away, to show that the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// What decides is read from the API server itself, not from a cache.
    LiveRead,
    /// Writes are guarded by resourceVersions.
    Guard,
    /// Who works in a directory of the repository has claimed it.
    Claim,
    /// A purge leaves a tombstone.
    Tombstone,
    /// A restore waits until the workload that it holds is down.
    Hold,
    /// A restore pod that is deleted stays until what it says was read.
    LastWord,
    /// A Job is asked for by a fresh copy of its Backup only.
    Freshness,
    /// Retention leaves the newest good Backup.
    LastGood,
    /// Who does not lead does not write.
    Lead,
}

/// Why a service got no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Refused(Refused),
    /// The write may have happened, or may still happen.
    Lost,
}

pub(crate) struct Net {
    pub(crate) api: Api,
    pub(crate) chance: Chance,
    /// Whether anything goes wrong at all.
    pub(crate) faults: bool,
    /// The rule that is taken away.
    pub(crate) without: Option<Rule>,
    /// Writes of processes that froze, to be delivered when they wake up.
    pub(crate) late: Vec<(Service, Request)>,
    /// Which process of a service leads, if any.
    pub(crate) leads: BTreeMap<Service, usize>,
    /// Backups that retention has removed, and those that users have.
    pub(crate) retired: BTreeSet<String>,
    pub(crate) deleted: BTreeSet<String>,
    /// What happened, to be read when a run fails.
    pub(crate) trace: Vec<String>,
    /// What this history came to.
    pub(crate) reached: BTreeSet<&'static str>,
    /// The first rule that was broken.
    pub(crate) broken: Option<String>,
}

impl Net {
    pub(crate) fn without(&self, rule: Rule) -> bool {
        self.without == Some(rule)
    }

    pub(crate) fn reach(&mut self, what: &'static str) {
        self.reached.insert(what);
    }

    /// Something that must never be.
    pub(crate) fn breaks(&mut self, what: impl Into<String>) {
        self.broken.get_or_insert_with(|| what.into());
    }

    pub(crate) fn note(&mut self, line: &str) {
        self.trace.push(format!("{} {line}", self.api.now));
    }

    /// A lease is lost; another process takes it, at once or after a while.
    pub(crate) fn elect(&mut self) {
        let free = Service::ALL
            .into_iter()
            .find(|service| !self.leads.contains_key(service));
        let service = free.unwrap_or(Service::ALL[self.chance.below(Service::ALL.len())]);
        let former = self.leads.remove(&service);
        self.note(&format!("{service:?}: {former:?} loses the lead"));
        if former.is_none() || self.chance.one_in(2) {
            let next = self.chance.below(2);
            self.leads.insert(service, next);
            self.note(&format!("{service:?}: {next} leads"));
        }
    }

    /// Sends a write for a service.
    pub(crate) fn send(&mut self, who: Service, request: &Request) -> Result<Value, Failure> {
        let fate = if self.faults { self.chance.below(16) } else { 15 };
        let (word, answer) = match fate {
            0 => ("lost before", Err(Failure::Lost)),
            1 | 2 => {
                let _ = self.arrives(who, request);
                ("lost after", Err(Failure::Lost))
            }
            3 | 4 => {
                self.late.push((who, request.clone()));
                ("frozen", Err(Failure::Lost))
            }
            5 => {
                let answer = self.arrives(who, request);
                let _ = self.arrives(who, request);
                ("twice", answer)
            }
            _ => ("", self.arrives(who, request)),
        };
        self.note(&format!("{who:?}: {} {word} -> {}", brief(request), outcome(&answer)));
        answer
    }

    /// A process wakes up and sends what it was about to send.
    pub(crate) fn deliver(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let which = self.chance.below(self.late.len());
        let (who, request) = self.late.swap_remove(which);
        let answer = self.arrives(who, &request);
        self.note(&format!("late: {} -> {}", brief(&request), outcome(&answer)));
    }

    fn arrives(&mut self, who: Service, request: &Request) -> Result<Value, Failure> {
        let before = match request {
            Request::Delete { of } if of.kind == "Backup" => self.api.get::<Backup>(&of.name),
            _ => None,
        };
        let answer = self.api.send(request).map_err(Failure::Refused)?;
        if let Request::Status(status) = request
            && text(status, "/status/phase") == "Failed"
            && ["PolicyNotFound", "ToolNotFound"]
                .iter()
                .any(|reason| reasons(status).contains(reason))
        {
            self.breaks(format!(
                "{} fails for the lack of what is there",
                text(status, "/metadata/name")
            ));
        }
        let before = before.filter(|backup| backup.metadata.deletion_timestamp.is_none());
        if let Some(backup) = before.filter(|_| who == Service::Gc) {
            self.retired.insert(backup.uid().unwrap_or_default());
            self.a_newer_copy_stays(&backup, "retention deletes");
        }
        Ok(answer)
    }

    /// A good Backup that retention removes has a newer good one of its series, unless a user has deleted that.
    pub(crate) fn a_newer_copy_stays(&mut self, gone: &Backup, what: &str) {
        let ended = |backup: &Backup| backup.status.clone().unwrap_or_default().completion_timestamp;
        let good = |backup: &&Backup| {
            let kept = backup.metadata.deletion_timestamp.is_none() && backup.phase() == BackupPhase::Completed;
            let by_user = self
                .deleted
                .contains(backup.metadata.uid.as_deref().unwrap_or_default());
            let newer = (ended(backup), backup.name_any()) > (ended(gone), gone.name_any());
            newer && (kept || by_user)
        };
        let was_good = checksum(gone).is_some();
        let forgotten = self.deleted.iter().any(|uid| !self.is_there(uid));
        if was_good && !forgotten && !self.api.list::<Backup>().iter().any(|one| good(&one)) {
            self.breaks(format!("{what} {}, the last good copy", gone.name_any()));
        }
    }

    fn is_there(&self, uid: &str) -> bool {
        self.api
            .all("Backup")
            .iter()
            .any(|one| text(one, "/metadata/uid") == uid)
    }
}

/// The checksum of a Backup's sealed copy, if it came to one.
pub(crate) fn checksum(backup: &Backup) -> Option<&str> {
    let status = backup.status.as_ref()?;
    let tool = status.manifests.as_ref()?.backup_tool.as_ref()?;
    tool.checksum.as_deref()
}

fn outcome(answer: &Result<Value, Failure>) -> String {
    match answer {
        Ok(object) => format!("ok {}", object["metadata"]["resourceVersion"]),
        Err(failure) => format!("{failure:?}"),
    }
}

fn brief(request: &Request) -> String {
    match request {
        Request::Create(object) => format!("create {} {}", text(object, "/kind"), text(object, "/metadata/name")),
        Request::Status(object) => format!(
            "status {} {} {} ({})",
            text(object, "/kind"),
            text(object, "/metadata/name"),
            text(object, "/status/phase"),
            reasons(object),
        ),
        Request::Patch { of, change } => format!("patch {} {} {change}", of.kind, of.name),
        Request::Delete { of } => format!("delete {} {} {}", of.kind, of.name, of.uid),
    }
}

/// The reasons of all conditions.
fn reasons(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let reasons: Vec<String> = conditions.iter().map(|one| text(one, "/reason")).collect();
    reasons.join(" ")
}
