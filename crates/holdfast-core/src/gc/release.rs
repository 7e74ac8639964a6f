//! The way of a deleted Backup to its end: its files first, then the object.

use holdfast_api::{
    Backup, BackupPhase, BackupStatus,
    condition::{Conditions, Reason},
    names::FINALIZER,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt as _;

use super::{Place, concerns};
use crate::decision::{self, Event, without_finalizer};

/// How many names a message holds at the most.
const NAMED: usize = 5;
/// How often a Backup whose files cannot be removed is looked at.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// Everything that the release of one Backup rests on, read from the API server just now.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The Backup.
    pub backup: Backup,
    /// Whether its namespace is being deleted: no Job can run there any more.
    pub namespace_terminating: bool,
    /// The claim that holds its files, if it exists.
    pub claim: Option<PersistentVolumeClaim>,
    /// Names of Backups that stay and build on it.
    pub dependents: Vec<String>,
    /// The RestoreJob that is not over and restores it, if any.
    pub restoring: Option<String>,
}

/// What can be read. Deletions are looked at once, so it is everything, from the API server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All that [`Observed`] holds.
    Everything,
}

/// What follows from an observation.
pub type Decision = decision::Decision<BackupStatus, Read>;
/// The one guarded write.
pub type Write = decision::Write<BackupStatus>;

/// How the release of a Backup stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// What follows.
    pub decision: Decision,
    /// The claim whose purge now has work, if it is the files' turn.
    pub purge: Option<String>,
    /// Whether increments that stay keep it.
    pub blocked: bool,
}

impl From<Decision> for Release {
    /// Neither the files' turn nor kept by increments.
    fn from(decision: Decision) -> Self {
        Self {
            decision,
            purge: None,
            blocked: false,
        }
    }
}

/// Decides about one deleted Backup.
pub fn decide(observed: &Observed, now: Timestamp) -> Release {
    let backup = &observed.backup;
    let status = backup.status.clone().unwrap_or_default();
    if !concerns(
        status.phase,
        backup.metadata.deletion_timestamp.is_some(),
        backup.finalizers(),
    ) {
        return Decision::wait().into();
    }
    if observed.namespace_terminating {
        let note = "the namespace is being deleted: what becomes of the files follows their volume";
        return released(backup, Some(Event::normal(Reason::NamespaceTerminating, note))).into();
    }
    let deleting = status.phase == Some(BackupPhase::Deleting);
    // Once its files are going, nothing that is built on it can be helped any more.
    if !deleting && !observed.dependents.is_empty() {
        return blocked(backup, &observed.dependents, now);
    }
    if let Some(restore) = observed.restoring.as_ref().filter(|_| !deleting) {
        return restored(backup, restore, now).into();
    }
    let name = backup.name_any();
    let location = status.location(backup.metadata.uid.as_deref().unwrap_or_default());
    let (claim, path) = match Place::of(&name, location.as_ref()) {
        Place::Nowhere => return released(backup, None).into(),
        Place::Unknown(_) => return unreachable_files(backup, now).into(),
        Place::Shared { claim, path } => {
            let note =
                format!("directory {path} in claim {claim} does not bear the backup's name, so it is not removed");
            return left_behind(backup, &note, now).into();
        }
        Place::Own { claim, path } => (claim, path),
    };
    let Some(found) = observed.claim.as_ref().filter(|claim| !is_lost(claim)) else {
        let note = format!("claim {claim} or its volume is gone: files at {path}, if they still exist, stay there");
        return left_behind(backup, &note, now).into();
    };
    if !is_bound(found) {
        // A claim that was never bound never held a file; one that was bound once has been made anew.
        let Some(volume) = bound_before(&status) else {
            return released(backup, None).into();
        };
        let note = format!("claim {claim} is new and empty: files at {path} in volume {volume} stay there");
        return left_behind(backup, &note, now).into();
    }
    let purge = Some(claim.to_owned());
    let decision = match (deleting, trouble(&status)) {
        (true, None) => Decision::wait(),
        // Its claim may go meanwhile.
        (true, Some(_)) => Decision::after(LOOK_AGAIN),
        (false, _) => written(purging(backup, &format!("removing {path} from claim {claim}"), now)),
    };
    Release {
        decision,
        purge,
        blocked: false,
    }
}

/// What was written comes back through the watch.
fn written(status: BackupStatus) -> Decision {
    Decision::write(Write::Status(Box::new(status))).then_await_change()
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume.is_some_and(|volume| !volume.is_empty())
}

/// Its volume was deleted under it.
fn is_lost(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost")
}

fn bound_before(status: &BackupStatus) -> Option<&str> {
    let tool = status.manifests.as_ref()?.backup_tool.as_ref()?;
    tool.volume_name.as_deref().filter(|volume| !volume.is_empty())
}

/// Why its files are still there, as the status remembers it.
fn trouble(status: &BackupStatus) -> Option<&str> {
    status.deletion.as_ref()?.trouble.as_deref()
}

/// Where only a newer version can reach its files, the Backup waits for that.
fn unreachable_files(backup: &Backup, now: Timestamp) -> Decision {
    let note = "its files lie where this version cannot reach them";
    match tell(backup, "", Reason::NewerFormat, note, now) {
        Some((status, event)) => written(status).with(event),
        None => Decision::wait(),
    }
}

fn released(backup: &Backup, event: Option<Event>) -> Decision {
    let Some(release) = without_finalizer(&backup.metadata, FINALIZER) else {
        return Decision::wait();
    };
    let decision = Decision::write(Write::Metadata(release)).then_await_change();
    match event {
        Some(event) => decision.with(event),
        None => decision,
    }
}

fn blocked(backup: &Backup, dependents: &[String], now: Timestamp) -> Release {
    let named = dependents
        .iter()
        .take(NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let more = dependents.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let note = format!("increments build on it and stay: {named}{more}");
    let decision = match stall(backup, Reason::BlockedByChildren, &note, None, now) {
        Some(status) => written(status).with(Event::warning(Reason::BlockedByChildren, note)),
        None => Decision::wait(),
    };
    Release {
        decision,
        purge: None,
        blocked: true,
    }
}

/// Its files are kept until the restore is over.
fn restored(backup: &Backup, restore: &str, now: Timestamp) -> Decision {
    let note = format!("RestoreJob {restore} restores it and is not over");
    match stall(backup, Reason::RestoreAtWork, &note, None, now) {
        Some(status) => written(status).with(Event::warning(Reason::RestoreAtWork, note)),
        None => Decision::after(LOOK_AGAIN),
    }
}

/// Says on the object that files stay, and lets it go in the pass after that.
fn left_behind(backup: &Backup, note: &str, now: Timestamp) -> Decision {
    let said = backup.status.as_ref().and_then(trouble) == Some(Reason::DataLeftBehind.as_str());
    if said {
        return released(backup, None);
    }
    let Some((status, event)) = tell(backup, "", Reason::DataLeftBehind, note, now) else {
        return released(backup, None);
    };
    written(status).with(event)
}

/// The status of a Backup whose files are not removed, for this reason, with the Event about it; none if the status
/// says so already. `job` is the name of the Job that removes them.
pub fn tell(backup: &Backup, job: &str, reason: Reason, why: &str, now: Timestamp) -> Option<(BackupStatus, Event)> {
    if reason != Reason::PurgeFailed {
        let status = stall(backup, reason, why, None, now)?;
        return Some((status, Event::warning(reason, why)));
    }
    // The original's words, for whoever looks for them.
    let text = format!("the job \"{job}\" for backup files deletion failed, you can delete it to re-delete the files");
    let status = stall(backup, reason, why, Some(&text), now)?;
    let event = Event::warning(Reason::DeleteBackupFilesFailed, format!("{text}: {why}"));
    Some((status, event))
}

/// The status of a Backup whose removal goes on after a trouble; none if it does not speak of any.
pub fn untell(backup: &Backup, now: Timestamp) -> Option<BackupStatus> {
    trouble(backup.status.as_ref()?)?;
    Some(purging(backup, "removing its files", now))
}

/// None if the status says so already.
fn stall(backup: &Backup, reason: Reason, why: &str, failure: Option<&str>, now: Timestamp) -> Option<BackupStatus> {
    let mut status = backup.status.clone().unwrap_or_default();
    if trouble(&status) == Some(reason.as_str()) {
        return None;
    }
    if let Some(failure) = failure {
        status.failure_reason = Some(failure.to_owned());
    }
    if reason == Reason::DataLeftBehind {
        status.phase = Some(BackupPhase::Deleting);
    }
    let deletion = status.deletion.get_or_insert_default();
    deletion.trouble = Some(reason.as_str().to_owned());
    deletion.since = Some(Time(now));
    say(backup, &mut status, now, |conditions| {
        conditions.stalled(reason, why);
    });
    Some(status)
}

fn purging(backup: &Backup, text: &str, now: Timestamp) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    status.phase = Some(BackupPhase::Deleting);
    let deletion = status.deletion.get_or_insert_default();
    deletion.trouble = None;
    deletion.since = Some(Time(now));
    say(backup, &mut status, now, |conditions| {
        conditions.reconciling(Reason::Purging, text);
    });
    status
}

fn say(backup: &Backup, status: &mut BackupStatus, now: Timestamp, with: impl FnOnce(&mut Conditions)) {
    let list = std::mem::take(&mut status.conditions);
    let mut conditions = Conditions::of(list, backup.metadata.generation, now);
    with(&mut conditions);
    status.conditions = conditions.into_list();
}
