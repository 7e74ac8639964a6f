//! What the API server answered lately, until the caches have caught up.
//!
//! Nothing here is needed: without it a decision would be made on an older copy, and refused by its guard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdfast_api::Backup;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

/// How long an answer is remembered.
const KEPT: Duration = Duration::from_mins(2);
/// How long a created Job may be missing from the cache.
const LAG: Duration = Duration::from_secs(15);
/// How long a refusal stands before the same is asked for again.
const REFUSAL: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Entry {
    backup: Option<Arc<Backup>>,
    jobs: HashMap<String, (Arc<Job>, Instant)>,
    refused: Option<(String, Instant)>,
    touched: Option<Instant>,
}

/// Answers by the Backup's uid.
#[derive(Default)]
pub(crate) struct WriteBackCache {
    entries: Mutex<HashMap<String, Entry>>,
}

impl WriteBackCache {
    /// Remembers the newest copy of a Backup.
    pub(crate) fn backup(&self, backup: &Arc<Backup>) {
        self.with(backup, |entry| entry.backup = Some(Arc::clone(backup)));
    }

    /// The newer of a cached copy and the one remembered.
    pub(crate) fn latest(&self, cached: Arc<Backup>) -> Arc<Backup> {
        let entries = self.lock();
        let known = entries
            .get(&cached.uid().unwrap_or_default())
            .and_then(|entry| entry.backup.clone());
        match known {
            Some(known) if version(&known) > version(&cached) => known,
            _ => cached,
        }
    }

    /// Whether a Backup of that uid is known to have ended.
    pub(crate) fn is_over(&self, uid: &str) -> bool {
        let entries = self.lock();
        entries
            .get(uid)
            .and_then(|entry| entry.backup.as_ref())
            .is_some_and(|backup| backup.phase().is_terminal())
    }

    /// Remembers a Job that was just created.
    pub(crate) fn job(&self, backup: &Backup, job: &Arc<Job>) {
        self.with(backup, |entry| {
            entry.refused = None;
            entry.jobs.insert(job.name_any(), (Arc::clone(job), Instant::now()));
        });
    }

    /// A Job that was created so lately that the cache may not have it yet.
    pub(crate) fn created(&self, backup: &Backup, name: &str) -> Option<Arc<Job>> {
        let entries = self.lock();
        let (job, since) = entries.get(&backup.uid()?)?.jobs.get(name)?;
        (since.elapsed() < LAG).then(|| Arc::clone(job))
    }

    /// Forgets a Job that was deleted.
    pub(crate) fn deleted(&self, backup_uid: &str, name: &str) {
        if let Some(entry) = self.lock().get_mut(backup_uid) {
            entry.jobs.remove(name);
        }
    }

    /// Remembers why a Job was refused.
    pub(crate) fn refusal(&self, backup: &Backup, text: String) {
        self.with(backup, |entry| entry.refused = Some((text, Instant::now())));
    }

    /// Why a Job was refused, as long as asking again would be too soon.
    pub(crate) fn refused(&self, backup: &Backup) -> Option<String> {
        let entries = self.lock();
        let (text, since) = entries.get(&backup.uid()?)?.refused.as_ref()?;
        (since.elapsed() < REFUSAL).then(|| text.clone())
    }

    fn with(&self, backup: &Backup, change: impl FnOnce(&mut Entry)) {
        let now = Instant::now();
        let mut entries = self.lock();
        entries.retain(|_, entry| entry.touched.is_some_and(|touched| now.duration_since(touched) < KEPT));
        let entry = entries.entry(backup.uid().unwrap_or_default()).or_default();
        entry.touched = Some(now);
        change(entry);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Versions of one object grow with etcd's revision; a wrong guess costs a conflict.
fn version(backup: &Backup) -> u64 {
    backup
        .metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}
