//! The purge of one volume, step by step.
//!
//! Backups whose files wait to be removed go in batches, one Job at work at a time. A batch that fails is halved until
//! the Backup that keeps the others from going stands alone: it is told why and tried again after a while, and the
//! others go on meanwhile.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use holdfast_api::condition::Reason;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, Pod},
};
use kube::ResourceExt as _;

use super::{BATCH_MAX, BackupSummary, Batch, Entry, Outcome, freed, outcome};
use crate::pod::{self, JobState, Trouble, finished_at, is_silent, job_state, kept_off, node_of, not_ready};

/// How often a Job at work is looked at when nothing changes.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// How often one that has no pod yet: what keeps it from one is told soon.
const PODLESS: SignedDuration = SignedDuration::from_secs(4);
/// How soon a Job that is being deleted is looked for again.
const GOING: SignedDuration = SignedDuration::from_secs(2);
/// The longest wait before a failed purge is tried again, as a multiple of the first.
const PATIENCE: u32 = 12;

/// A purge Job of this volume.
#[derive(Clone, Debug)]
pub struct Purge {
    /// The Job.
    pub job: Arc<Job>,
    /// What it removes.
    pub batch: Batch,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
}

impl Purge {
    /// The nodes that have to be looked at: those of pods of which nobody tells any more, and those that the Job is kept
    /// off.
    pub fn nodes(&self, now: Timestamp) -> Vec<&str> {
        if job_state(&self.job) != JobState::Running {
            return Vec::new();
        }
        let silent = self.pods.iter().filter(|pod| is_silent(pod, now));
        silent
            .filter_map(|pod| node_of(pod))
            .chain(kept_off(&self.job))
            .collect()
    }
}

/// Everything that a step rests on.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Namespace of the claim.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The Jobs of ours on it.
    pub purges: Vec<Purge>,
    /// The Backups in it that are deleted and wait for their files to go.
    pub waiting: Vec<Arc<BackupSummary>>,
    /// How long after a failure the first new try begins.
    pub retry: SignedDuration,
    /// The nodes that [`Purge::nodes`] names, as far as they exist.
    pub nodes: Vec<Arc<Node>>,
}

/// What failed before. Losing it costs time, nothing else.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By uid: with how many a Backup may share a Job, after it was in a batch that failed.
    limits: HashMap<String, usize>,
    /// By uid: how often it failed alone.
    failures: HashMap<String, u32>,
    /// By uid: the nodes on which a Job for it was lost.
    lost_on: HashMap<String, BTreeSet<String>>,
}

impl History {
    /// Notes a batch that failed.
    pub fn failed(&mut self, batch: &Batch) {
        match batch.entries.as_slice() {
            [alone] => *self.failures.entry(alone.uid.clone()).or_default() += 1,
            several => {
                let half = (several.len() / 2).max(1);
                self.limits
                    .extend(several.iter().map(|entry| (entry.uid.clone(), half)));
            }
        }
    }

    /// Notes a Job that is given up because its node is lost: the next one is kept off it.
    pub fn lost(&mut self, purge: &Purge) {
        let on = purge.pods.iter().filter_map(|pod| node_of(pod));
        let nodes: BTreeSet<&str> = on.chain(kept_off(&purge.job)).collect();
        for entry in &purge.batch.entries {
            let known = self.lost_on.entry(entry.uid.clone()).or_default();
            known.extend(nodes.iter().copied().map(str::to_owned));
        }
    }

    /// Notes that the nodes which a batch was kept off are back.
    pub fn returned(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            self.lost_on.remove(&entry.uid);
        }
    }

    /// The nodes that a Job for this batch is kept off.
    pub(super) fn keep_off(&self, batch: &Batch) -> BTreeSet<String> {
        let entries = batch.entries.iter();
        entries
            .filter_map(|entry| self.lost_on.get(&entry.uid))
            .flatten()
            .cloned()
            .collect()
    }

    /// Forgets a Backup that is gone.
    pub fn forget(&mut self, uid: &str) {
        self.limits.remove(uid);
        self.failures.remove(uid);
        self.lost_on.remove(uid);
    }

    fn wait(&self, uid: &str, first: SignedDuration) -> SignedDuration {
        let failed = self.failures.get(uid).copied().unwrap_or_default();
        first.saturating_mul(i32::try_from(2_u32.saturating_pow(failed).min(PATIENCE)).unwrap_or(1))
    }
}

/// Why a Job is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It removed everything.
    Purged,
    /// It failed and is followed by smaller ones.
    Split,
    /// It failed a while ago and is tried again.
    Retry,
    /// Nothing that it should remove waits any more.
    Needless,
    /// The node of its pod is lost, and the Job would wait for it.
    Lost,
    /// It has no node, and one that it was kept off is back.
    Returned,
}

/// The next step: at most one write.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Create the Job for this batch.
    Create(Batch),
    /// Let this Backup go: its files are gone.
    Release(Arc<BackupSummary>),
    /// Say on this Backup why its files are still there.
    Tell {
        /// The Backup.
        backup: Arc<BackupSummary>,
        /// Name of the Job.
        job: String,
        /// The reason.
        reason: Reason,
        /// The same in words.
        why: String,
    },
    /// Say on this Backup that its trouble has passed.
    Untell(Arc<BackupSummary>),
    /// Delete this very Job.
    Remove {
        /// The Job.
        job: Arc<Job>,
        /// What it was made for.
        batch: Batch,
        /// Why it goes.
        over: Over,
        /// How many bytes it freed, as far as its agents told.
        freed: u64,
    },
    /// Nothing now; look again after this time, if one is given, or when something changes.
    Rest(Option<SignedDuration>),
}

/// Decides the next step. Each step changes what is observed, so that steps come to an end.
pub fn decide(volume: &Volume, history: &History, now: Timestamp) -> Step {
    let mut rest: Option<SignedDuration> = None;
    let mut at_work = false;
    for purge in &volume.purges {
        let seen = if purge.job.metadata.deletion_timestamp.is_some() {
            Seen::Wait(GOING)
        } else {
            look(volume, purge, history, now)
        };
        let wait = match seen {
            Seen::Do(step) => return step,
            Seen::Work => {
                at_work = true;
                if purge.pods.is_empty() { PODLESS } else { LOOK_AGAIN }
            }
            Seen::Wait(wait) => wait,
        };
        rest = Some(rest.map_or(wait, |known| known.min(wait)));
    }
    let batch = if at_work { None } else { next(volume, history) };
    batch.map_or(Step::Rest(rest), Step::Create)
}

enum Seen {
    Do(Step),
    /// It is at work.
    Work,
    /// It has failed, or is going, and stays for this long.
    Wait(SignedDuration),
}

fn look(volume: &Volume, purge: &Purge, history: &History, now: Timestamp) -> Seen {
    let uids: HashSet<&str> = purge.batch.entries.iter().map(|entry| entry.uid.as_str()).collect();
    let present = volume
        .waiting
        .iter()
        .filter(|backup| uids.contains(uid(backup)))
        .collect::<Vec<_>>();
    let outcome = outcome(&purge.job, &purge.batch, &purge.pods, now);
    let Some(first) = present.first() else {
        let over = match outcome {
            Outcome::Purged => Over::Purged,
            Outcome::Working(_) | Outcome::Failed(..) => Over::Needless,
        };
        return remove(purge, over);
    };
    match outcome {
        Outcome::Purged => Seen::Do(Step::Release(Arc::clone(first))),
        Outcome::Working(trouble) => match lost(volume, purge, now) {
            Some(why) => given_up(purge, &present, why),
            None if may_return(volume, purge) => remove(purge, Over::Returned),
            None => working(purge, &present, trouble),
        },
        Outcome::Failed(..) if purge.batch.entries.len() > 1 => remove(purge, Over::Split),
        Outcome::Failed(reason, why) => failed(volume, purge, first, (reason, why), history, now),
    }
}

/// Why the node of a purge's pod is not Ready, if nobody tells of the pod any more.
fn lost(volume: &Volume, purge: &Purge, now: Timestamp) -> Option<String> {
    purge.pods.iter().find_map(|pod| {
        let why = pod::lost(pod, volume.nodes.iter().map(Arc::as_ref), now)?;
        Some(format!("pod `{}`: {why}", pod.name_any()))
    })
}

/// Whether no node takes a purge that was kept off one which is Ready again.
fn may_return(volume: &Volume, purge: &Purge) -> bool {
    let without = purge.pods.iter().all(|pod| node_of(pod).is_none());
    let back = |name: &str| {
        let node = volume
            .nodes
            .iter()
            .find(|node| node.metadata.name.as_deref() == Some(name));
        node.is_some_and(|node| not_ready(node).is_none())
    };
    without && kept_off(&purge.job).into_iter().any(back)
}

/// A purge on a lost node is told of and then begun elsewhere. Whatever goes on there does no harm: each of them removes
/// only what bears the uid.
fn given_up(purge: &Purge, present: &[&Arc<BackupSummary>], why: String) -> Seen {
    let reason = Reason::NodeNotReady;
    match working(purge, present, Some(Trouble { reason, message: why })) {
        Seen::Work => remove(purge, Over::Lost),
        told => told,
    }
}

fn working(purge: &Purge, present: &[&Arc<BackupSummary>], trouble: Option<Trouble>) -> Seen {
    // Who was told that a purge failed is told no less by the next one, until that succeeds.
    let told = |backup: &BackupSummary| backup.status.trouble.clone();
    let final_word = Some(Reason::PurgeFailed.as_str());
    let mut open = present
        .iter()
        .filter(|backup| backup.status.trouble.as_deref() != final_word);
    let step = match trouble {
        Some(trouble) => open
            .find(|backup| told(backup).as_deref() != Some(trouble.reason.as_str()))
            .map(|backup| tell(purge, backup, trouble.reason, trouble.message)),
        None => open
            .find(|backup| told(backup).is_some())
            .map(|backup| Step::Untell(Arc::clone(backup))),
    };
    step.map_or(Seen::Work, Seen::Do)
}

/// One Backup alone could not be removed.
fn failed(
    volume: &Volume,
    purge: &Purge,
    backup: &Arc<BackupSummary>,
    (reason, why): (Reason, String),
    history: &History,
    now: Timestamp,
) -> Seen {
    let stalled = backup.status.trouble.as_deref();
    // The directory is another's, and this Backup was never sealed: nothing in it can be its own.
    if reason == Reason::PathOccupied && !backup.status.sealed {
        return Seen::Do(if stalled == Some(Reason::DataLeftBehind.as_str()) {
            Step::Release(Arc::clone(backup))
        } else {
            tell(purge, backup, Reason::DataLeftBehind, why)
        });
    }
    if stalled != Some(Reason::PurgeFailed.as_str()) {
        return Seen::Do(tell(purge, backup, Reason::PurgeFailed, why));
    }
    let since = finished_at(&purge.job).unwrap_or(now);
    let left = history.wait(uid(backup), volume.retry) - now.duration_since(since);
    if left <= SignedDuration::ZERO {
        return remove(purge, Over::Retry);
    }
    Seen::Wait(left)
}

fn tell(purge: &Purge, backup: &Arc<BackupSummary>, reason: Reason, why: String) -> Step {
    Step::Tell {
        backup: Arc::clone(backup),
        job: purge.job.name_any(),
        reason,
        why,
    }
}

fn remove(purge: &Purge, over: Over) -> Seen {
    Seen::Do(Step::Remove {
        job: Arc::clone(&purge.job),
        batch: purge.batch.clone(),
        over,
        freed: freed(&purge.pods),
    })
}

/// The Backups to remove next: what is left of a batch that failed before, then as many others as one Job takes.
fn next(volume: &Volume, history: &History) -> Option<Batch> {
    let in_jobs = volume.purges.iter().flat_map(|purge| &purge.batch.entries);
    let busy: HashSet<&str> = in_jobs.map(|entry| entry.uid.as_str()).collect();
    let free = volume
        .waiting
        .iter()
        .filter(|backup| !busy.contains(uid(backup)))
        .collect::<Vec<_>>();
    let limit = |backup: &BackupSummary| history.limits.get(uid(backup)).copied();
    let most = free.iter().filter_map(|backup| limit(backup)).max();
    let chosen: Vec<_> = free.iter().filter(|backup| limit(backup) == most).collect();
    // One Job is for one repository: a claim may have had another volume before.
    let first = chosen.iter().find_map(|backup| backup.identity());
    let together = chosen
        .iter()
        .filter(|backup| backup.identity().is_none_or(|identity| Some(identity) == first));
    let entries: Vec<Entry> = together.filter_map(|backup| Entry::of(backup)).collect();
    (!entries.is_empty()).then(|| Batch::fill(&volume.namespace, &volume.claim, entries, most.unwrap_or(BATCH_MAX)))
}

fn uid(backup: &BackupSummary) -> &str {
    backup.seal_uid().unwrap_or_default()
}
