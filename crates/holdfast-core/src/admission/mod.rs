//! Whether a new Backup may start: everything that it names is looked up, and one metadata write lets it in.
//!
//! What is named and does not exist is waited for 30 s, since policy and Backup are often applied together, and
//! then ends the Backup. What exists and is not ready is waited for longer. Both count from when the wait was first
//! written down, so that a time without a scheduler ends nothing. A Backup ends only by what the API server itself
//! said just now, never by what a cache shows.

mod claim;
mod find;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use holdfast_api::{
    Backup, BackupPhase, BackupPolicy, BackupRepo, BackupStatus, BackupTool, BackupType, ObjectMetaExt as _, Unknown,
    Waiting,
    condition::{Conditions, Reason},
    event::{BusEvent, BusEventKind},
    names::{
        ANNOTATION_ADMITTED, ANNOTATION_POLICY_UID, ANNOTATION_TARGET_POD_NAME, ANNOTATION_TRACEPARENT, FINALIZER,
        LABEL_BACKUP_POLICY, LABEL_BACKUP_REPO_NAME, LABEL_BACKUP_TYPE, LABEL_COMPONENT_NAME, LABEL_INSTANCE,
        LABEL_MANAGED_BY, LABEL_MAX, MANAGED_BY_KUBEBLOCKS, child_name,
    },
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

pub use find::find;

use crate::{
    backup::CANCELLED,
    decision::{self, Event, Seen, without_finalizer},
    repo::label_value,
    ttl,
};

/// How long a name that does not exist is waited for.
pub const GRACE: SignedDuration = SignedDuration::from_secs(30);
/// How often something that is waited for is looked at again: often while it may come any moment, then less and less.
/// Each look may ask the API server for pods.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);
const LOOK_SELDOM: SignedDuration = SignedDuration::from_secs(30);

/// Everything that admission rests on.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The Backup.
    pub backup: Arc<Backup>,
    /// The policy that it names.
    pub policy: Seen<BackupPolicy>,
    /// The tool that the policy names.
    pub tool: Seen<BackupTool>,
    /// All repositories.
    pub repos: Vec<Arc<BackupRepo>>,
    /// Whether the API server listed them just now.
    pub repos_live: bool,
    /// The repository that the Backup or its policy names.
    pub repo: Seen<BackupRepo>,
    /// The claim that the policy names instead of a repository.
    pub claim: Seen<PersistentVolumeClaim>,
    /// Why the API server refused that claim, if it did in this pass.
    pub claim_refused: Option<String>,
    /// The pods that the policy's selector matches, if they were listed.
    pub pods: Option<Vec<Pod>>,
    /// How long something that exists and is not ready is waited for.
    pub not_ready_timeout: SignedDuration,
    /// W3C trace context for the run.
    pub traceparent: String,
}

/// What must be read from the API server before the decision can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Read {
    /// The policy.
    Policy,
    /// The tool.
    Tool,
    /// The named repository.
    Repo,
    /// All repositories.
    Repos,
    /// The claim that the policy names.
    Claim,
    /// The pods.
    Pods,
}

/// What follows from an observation.
pub type Decision = decision::Decision<BackupStatus, Read>;
/// What shall be written.
pub type Write = decision::Write<BackupStatus>;
/// Why a Backup cannot be let in now.
pub type Problem = decision::Problem<BackupStatus, Read>;

/// Whether the Backup is new and not admitted yet.
pub fn concerns(backup: &Backup) -> bool {
    backup.phase() == BackupPhase::New
        && (backup.is_terminating() || !backup.annotations().contains_key(ANNOTATION_ADMITTED))
}

/// Decides about a new Backup.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    if !concerns(backup) {
        return Decision::wait();
    }
    if backup.is_terminating() {
        return released(backup);
    }
    if backup.spec.cancel == Some(true) {
        return failed(observed, Reason::Cancelled, CANCELLED, now);
    }
    match admit(observed, now) {
        Ok(metadata) => {
            let event = bus(backup, BusEventKind::BackupAdmitted, Reason::Admitted);
            Decision::write(Write::Metadata(metadata))
                .with(event)
                .then_await_change()
        }
        Err(problem) => settle(observed, problem, now),
    }
}

/// The metadata that lets a Backup in: finalizer, labels, the pod that it is made of, its trace.
pub fn admit(observed: &Observed, now: Timestamp) -> Result<Value, Problem> {
    let found = find(observed)?;
    let backup = &*observed.backup;
    let policy = found.policy;
    let mut labels = Map::new();
    let mut label = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| value.len() <= LABEL_MAX) {
            labels.insert(key.to_owned(), value.into());
        }
    };
    label(LABEL_MANAGED_BY, Some(MANAGED_BY_KUBEBLOCKS.to_owned()));
    label(LABEL_BACKUP_TYPE, Some(backup.spec.backup_type.as_str().to_owned()));
    label(
        LABEL_BACKUP_POLICY,
        Some(child_name(
            &policy.name_any(),
            &policy.uid().unwrap_or_default(),
            LABEL_MAX,
        )),
    );
    label(
        LABEL_INSTANCE,
        Some(found.pod.labels().get(LABEL_INSTANCE).cloned().unwrap_or_default()),
    );
    label(
        LABEL_COMPONENT_NAME,
        Some(
            found
                .pod
                .labels()
                .get(LABEL_COMPONENT_NAME)
                .cloned()
                .unwrap_or_default(),
        ),
    );
    if let Some(repo) = found.repo {
        label(LABEL_BACKUP_REPO_NAME, Some(label_value(repo)));
    }
    let mut annotations = Map::new();
    annotations.insert(ANNOTATION_ADMITTED.to_owned(), now.to_string().into());
    annotations.insert(
        ANNOTATION_POLICY_UID.to_owned(),
        policy.uid().unwrap_or_default().into(),
    );
    annotations.insert(ANNOTATION_TARGET_POD_NAME.to_owned(), found.pod.name_any().into());
    if !backup.annotations().contains_key(ANNOTATION_TRACEPARENT) && !observed.traceparent.is_empty() {
        annotations.insert(ANNOTATION_TRACEPARENT.to_owned(), observed.traceparent.clone().into());
    }
    let mut finalizers: Vec<String> = backup.finalizers().to_vec();
    if !finalizers.iter().any(|name| name == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    Ok(json!({ "labels": labels, "annotations": annotations, "finalizers": finalizers }))
}

/// The message about how admission went, with the reason for metrics.
pub fn bus(backup: &Backup, kind: BusEventKind, reason: Reason) -> BusEvent {
    BusEvent {
        from: BackupPhase::New.as_str(),
        data: json!({ "reason": reason.as_str() }),
        ..BusEvent::of(kind, backup)
    }
}

/// A Backup that is deleted before it started holds nothing: it is let go.
fn released(backup: &Backup) -> Decision {
    match without_finalizer(&backup.metadata, FINALIZER) {
        Some(release) => Decision::write(Write::Metadata(release)).then_await_change(),
        None => Decision::wait(),
    }
}

fn settle(observed: &Observed, problem: Problem, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    let (since, known) = waits(backup);
    let waited = since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
    let (reason, text, limit) = match problem {
        Problem::Read(read) => return Decision::read(read),
        Problem::Write(write) => return Decision::write(*write),
        Problem::Fail(reason, text) => (reason, text, SignedDuration::ZERO),
        // Something else was waited for until now: what is missing gets at least another look.
        Problem::Missing(reason, text) if known != Some(reason.as_str()) => (reason, text, observed.not_ready_timeout),
        Problem::Missing(reason, text) => (reason, text, GRACE.min(observed.not_ready_timeout)),
        Problem::Wait(reason, text) if waited >= observed.not_ready_timeout => (
            reason,
            format!("{text}; waited {} s", waited.as_secs()),
            observed.not_ready_timeout,
        ),
        Problem::Wait(reason, text) => (reason, text, observed.not_ready_timeout),
    };
    if waited < limit {
        return waiting(backup, reason, &text, limit - waited, now);
    }
    match doubt(observed) {
        Some(read) => Decision::read(read),
        None => failed(observed, reason, &text, now),
    }
}

/// Since when a Backup waits, and for what it waited last.
fn waits(backup: &Backup) -> (Option<Timestamp>, Option<&str>) {
    let waiting = backup.status.as_ref().and_then(|status| status.waiting.as_ref());
    (
        waiting.map(|waiting| waiting.since.0),
        waiting.map(|waiting| waiting.reason.as_str()),
    )
}

/// What a failure may rest on and was only seen in a cache. Pods and claims are always read.
fn doubt(observed: &Observed) -> Option<Read> {
    if observed.backup.spec.backup_type == BackupType::Snapshot {
        return None;
    }
    if !observed.policy.live {
        return Some(Read::Policy);
    }
    let section = observed.policy.get().and_then(crate::backup::section);
    let named = section.and_then(|section| section.backup_tool_name.as_deref());
    if observed.backup.spec.backup_type == BackupType::Logfile || named.is_none_or(str::is_empty) {
        return None;
    }
    if !observed.tool.live {
        return Some(Read::Tool);
    }
    (!observed.repos_live).then_some(Read::Repos)
}

/// A status about to be written.
fn draft(backup: &Backup, phase: BackupPhase, now: Timestamp, say: impl FnOnce(&mut Conditions)) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    status.phase = Some(phase);
    status.observed_generation = backup.metadata.generation;
    let list = std::mem::take(&mut status.conditions);
    let mut conditions = Conditions::of(list, backup.metadata.generation, now);
    say(&mut conditions);
    status.conditions = conditions.into_list();
    status
}

/// Says what is waited for, where the status does not say just that.
fn waiting(backup: &Backup, reason: Reason, text: &str, left: SignedDuration, now: Timestamp) -> Decision {
    let mut status = draft(backup, BackupPhase::New, now, |conditions| {
        conditions.reconciling(reason, text);
    });
    let since = waits(backup).0.map_or(Time(now), Time);
    status.waiting = Some(Waiting {
        reason: reason.as_str().to_owned(),
        since: since.clone(),
        quoted: false,
        unknown: Unknown::new(),
    });
    if backup.status.as_ref() == Some(&status) {
        let pause = (now.duration_since(since.0) / 4).clamp(LOOK_AGAIN, LOOK_SELDOM);
        return Decision::after(left.min(pause));
    }
    Decision::write(Write::Status(Box::new(status)))
}

fn failed(observed: &Observed, reason: Reason, text: &str, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    let mut status = draft(backup, BackupPhase::Failed, now, |conditions| {
        conditions.stalled(reason, text);
    });
    status.waiting = None;
    status.failure_reason = Some(text.to_owned());
    status.completion_timestamp = Some(Time(now));
    let kept = observed
        .policy
        .get()
        .and_then(|policy| policy.spec.retention.as_ref()?.ttl.as_deref());
    status.expiration = kept
        .and_then(|text| ttl::parse(text).ok())
        .and_then(|kept| now.checked_add(kept).ok())
        .map(Time);
    Decision::write(Write::Status(Box::new(status)))
        .with(Event::warning(reason, text))
        .with(bus(backup, BusEventKind::BackupFailed, reason))
        .then_await_change()
}
