//! What is remembered between two looks. Losing it, by a restart or a change of leader, costs a few requests more.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use holdfast_api::condition::Reason;
use holdfast_core::gc::purge_plan::History;
use holdfast_runtime::watch::Key;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

/// How far behind a watch may be.
const LAG: SignedDuration = SignedDuration::from_mins(1);

#[derive(Debug, Default)]
pub(crate) struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    history: History,
    /// Why retention deleted a Backup, by uid.
    retired: HashMap<String, Reason>,
    /// Uids of deleted Backups whose claim and namespace were found in order, so that their files can go.
    cleared: HashSet<String>,
    /// Uids of deleted Backups that wait for increments.
    blocked: HashSet<String>,
    /// The Job made last for a claim, until the watch shows it.
    made: HashMap<Key, Arc<Job>>,
    /// Uids of Jobs that were deleted and may still be in the watch's copy.
    removed: HashSet<String>,
    /// Uids of failed Jobs that were counted.
    counted: HashSet<String>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up in what failed before.
    pub(crate) fn history<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut self.lock().history)
    }

    /// Notes why retention deletes a Backup.
    pub(crate) fn retire(&self, uid: &str, reason: Reason) {
        self.lock().retired.insert(uid.to_owned(), reason);
    }

    /// The deletion did not happen, or not surely.
    pub(crate) fn unretire(&self, uid: &str) {
        self.lock().retired.remove(uid);
    }

    /// Why retention deleted this Backup, if it did: the watch may not show that yet.
    pub(crate) fn why_retired(&self, uid: &str) -> Option<Reason> {
        self.lock().retired.get(uid).copied()
    }

    pub(crate) fn clear(&self, uid: &str) {
        self.lock().cleared.insert(uid.to_owned());
    }

    pub(crate) fn unclear(&self, uid: &str) {
        self.lock().cleared.remove(uid);
    }

    pub(crate) fn is_cleared(&self, uid: &str) -> bool {
        self.lock().cleared.contains(uid)
    }

    pub(crate) fn forget_cleared(&self) {
        self.lock().cleared.clear();
    }

    pub(crate) fn block(&self, uid: &str, blocked: bool) {
        let mut state = self.lock();
        if blocked {
            state.blocked.insert(uid.to_owned());
        } else {
            state.blocked.remove(uid);
        }
    }

    /// How many Backups wait for increments.
    pub(crate) fn blocked(&self) -> usize {
        self.lock().blocked.len()
    }

    pub(crate) fn made(&self, volume: &Key, job: &Arc<Job>) {
        self.lock().made.insert(volume.clone(), Arc::clone(job));
    }

    /// The Job made last for this claim, if the watch does not show it yet. One that it does not show for long is gone.
    pub(crate) fn unseen(&self, volume: &Key, now: Timestamp, seen: impl Fn(&Job) -> bool) -> Option<Arc<Job>> {
        let mut state = self.lock();
        let job = Arc::clone(state.made.get(volume)?);
        let age = job.creation_timestamp().map(|time| now.duration_since(time.0));
        if seen(&job) || age.is_none_or(|age| age > LAG) {
            state.made.remove(volume);
            return None;
        }
        Some(job)
    }

    pub(crate) fn remove_job(&self, uid: &str) {
        let mut state = self.lock();
        state.removed.insert(uid.to_owned());
        state.made.retain(|_, job| job.metadata.uid.as_deref() != Some(uid));
    }

    pub(crate) fn is_removed(&self, uid: &str) -> bool {
        self.lock().removed.contains(uid)
    }

    /// Whether this failed Job is counted for the first time.
    pub(crate) fn count(&self, uid: &str) -> bool {
        self.lock().counted.insert(uid.to_owned())
    }

    /// Forgets a Backup that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let mut state = self.lock();
        state.history.forget(uid);
        state.retired.remove(uid);
        state.cleared.remove(uid);
        state.blocked.remove(uid);
    }

    /// Forgets a Job that is gone.
    pub(crate) fn forget_job(&self, uid: &str) {
        let mut state = self.lock();
        state.removed.remove(uid);
        state.counted.remove(uid);
        state.made.retain(|_, job| job.metadata.uid.as_deref() != Some(uid));
    }
}
