//! How a verdict becomes the one decision: the status with its conditions, and what is told about it.

use holdfast_api::condition::{ConditionType, Conditions, Reason, message};
use holdfast_api::event::{BusEvent, BusEventKind};
use holdfast_api::text::printable;
use holdfast_api::{
    Backup, BackupLogStatus, BackupPhase, BackupPlan, BackupStatus, BackupToolManifestsStatus, Stop, Unknown, Waiting,
    agent::{AgentResult, LinksOut},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::finish::{self, volume_name};
use super::observed::{Decision, Observed, Write};
use super::size;
use super::verdict::{Surroundings, Verdict};
use crate::decision::Event;
use crate::ttl;

/// What a Backup is told that names a parent; a manifest written for the original API, which ignores the name, works.
const NO_INCREMENT: &str =
    "spec.parentBackupName has no effect: this version makes no incremental backups, and this is a full one";

/// A status about to be written.
struct Draft<'a> {
    backup: &'a Backup,
    status: BackupStatus,
    now: Timestamp,
}

/// Renders a verdict.
pub(super) fn render(observed: &Observed, verdict: Verdict, now: Timestamp) -> Decision {
    let draft = || Draft::of(&observed.backup, now);
    match verdict {
        Verdict::Rest(None) => Decision::wait(),
        Verdict::Rest(Some(wait)) => Decision::after(wait),
        Verdict::Read(read) => Decision::read(read),
        Verdict::Write(write) => Decision::write(write),
        Verdict::Begin(plan, surroundings) => draft().begin(*plan, surroundings),
        Verdict::Wait(reason, text, again) => draft().wait(reason, &text, false, again),
        Verdict::Quote(reason, text, again) => draft().wait(reason, &text, true, again),
        Verdict::Runs(text, again) => draft().runs(&text, again),
        Verdict::Attempt(count, reason, text) => draft().attempt(count, reason, &text),
        Verdict::Stop(reason, text) => draft().stop(reason, text),
        Verdict::Complete(result) => draft().complete(observed, &result),
        Verdict::Fail(reason, text) => draft().fail(observed, reason, &text),
    }
}

/// How long the Backup is kept once it has ended: as planned, or else as the policy says.
fn ttl_of(observed: &Observed) -> Option<&str> {
    match observed.plan() {
        Some(plan) => plan.ttl.as_deref(),
        None => observed.policy.get()?.spec.retention.as_ref()?.ttl.as_deref(),
    }
}

/// How many links lead out of a backup, and the first of them.
fn links_text(links: &LinksOut) -> String {
    let more = links.count.saturating_sub(links.first.len() as u64);
    let mut named = links.first.clone();
    if more > 0 && !named.is_empty() {
        named.push(format!("{more} more"));
    }
    let named = if named.is_empty() {
        String::new()
    } else {
        format!(": {}", named.join(", "))
    };
    format!("{} symbolic links lead out of the backup{named}", links.count)
}

impl<'a> Draft<'a> {
    fn of(backup: &'a Backup, now: Timestamp) -> Self {
        let mut status = backup.status.clone().unwrap_or_default();
        status.phase = Some(backup.phase());
        status.observed_generation = backup.metadata.generation;
        Self { backup, status, now }
    }

    /// Changes the conditions by their one writer.
    fn say(&mut self, with: impl FnOnce(&mut Conditions)) {
        let list = std::mem::take(&mut self.status.conditions);
        let mut conditions = Conditions::of(list, self.backup.metadata.generation, self.now);
        with(&mut conditions);
        self.status.conditions = conditions.into_list();
    }

    fn written(self) -> Decision {
        Decision::write(Write::Status(Box::new(self.status)))
    }

    fn begin(mut self, plan: BackupPlan, surroundings: Surroundings) -> Decision {
        let first = self.backup.phase() == BackupPhase::New;
        let status = &mut self.status;
        status.phase = Some(BackupPhase::InProgress);
        if first {
            status.start_timestamp = Some(Time(self.now));
            status.completion_timestamp = None;
            status.failure_reason = None;
            status.source_cluster = surroundings.source_cluster;
        }
        status.waiting = None;
        self.place(&plan);
        let manifests = self.status.manifests.get_or_insert_default();
        manifests.backup_tool = Some(BackupToolManifestsStatus {
            file_path: Some(plan.location.path.clone()),
            volume_name: surroundings.volume_name,
            ..BackupToolManifestsStatus::default()
        });
        let tool = plan.work.job().map(|work| work.tool.name.clone()).unwrap_or_default();
        let text = format!("backing up pod {} with backupTool {tool}", plan.source.pod_name);
        self.status.plan = Some(plan);
        let ignored = self.backup.spec.parent_backup_name.as_ref().map(|_| NO_INCREMENT);
        self.say(|conditions| {
            conditions.reconciling(Reason::InProgress, &text);
            if let Some(ignored) = ignored {
                conditions.set(ConditionType::FieldsIgnored, true, Reason::Unsupported, ignored);
            }
        });
        let event = self.bus(BusEventKind::BackupStarted);
        let decision = self.written();
        match (first, ignored) {
            (true, Some(ignored)) => decision.with(event).with(Event::warning(Reason::Unsupported, ignored)),
            (true, None) => decision.with(event),
            (false, _) => decision,
        }
    }

    /// The members of the original that repeat the plan.
    fn place(&mut self, plan: &BackupPlan) {
        let claim = plan.location.access.claim().map(str::to_owned).ok();
        self.status.persistent_volume_claim_name = claim;
        self.status.backup_tool_name = plan.work.job().map(|work| work.tool.name.clone()).ok();
    }

    /// Writes what is waited for if the status does not say so yet.
    ///
    /// A text that changes under one reason is not written again, unless it holds the cluster's own words for the first
    /// time: these alternate (an image is pulled, then backed off), and the first ones say more.
    fn wait(mut self, reason: Reason, text: &str, quoted: bool, again: SignedDuration) -> Decision {
        let told = |waiting: &Waiting| waiting.is_for(reason) && (waiting.quoted || !quoted);
        if self.status.waiting.as_ref().is_some_and(told) {
            return Decision::after(again);
        }
        let since = self
            .status
            .waiting
            .take()
            .map_or(Time(self.now), |waiting| waiting.since);
        self.status.waiting = Some(Waiting {
            reason: reason.as_str().to_owned(),
            since,
            quoted,
            unknown: Unknown::new(),
        });
        self.say(|conditions| {
            conditions.reconciling(reason, text);
        });
        self.written()
    }

    fn runs(mut self, text: &str, again: SignedDuration) -> Decision {
        if self.status.waiting.take().is_none() {
            return Decision::after(again);
        }
        self.say(|conditions| {
            conditions.reconciling(Reason::JobRunning, text);
        });
        self.written()
    }

    fn attempt(mut self, count: i32, reason: Reason, text: &str) -> Decision {
        let plan = self.status.plan.as_mut();
        if let Some(work) = plan.and_then(|plan| plan.work.job.as_mut()) {
            work.failed_attempts = count;
        }
        self.status.waiting = None;
        self.say(|conditions| {
            conditions.reconciling(reason, text);
        });
        self.written()
    }

    fn stop(mut self, reason: Reason, text: String) -> Decision {
        self.say(|conditions| {
            conditions.stalled(reason, &text);
        });
        if let Some(plan) = &mut self.status.plan {
            plan.stop = Some(Stop {
                reason: reason.as_str().to_owned(),
                text,
                since: Time(self.now),
                unknown: Unknown::new(),
            });
        }
        self.written()
    }

    fn complete(mut self, observed: &Observed, result: &AgentResult) -> Decision {
        let ttl = ttl_of(observed);
        self.end(BackupPhase::Completed, ttl);
        self.status.failure_reason = None;
        self.status.total_size = result.bytes.map(size::bytes);
        if let Some(plan) = observed.plan() {
            self.place(plan);
        }
        if let Some(plan) = &mut self.status.plan {
            let told = result.repository.clone().filter(|id| !id.is_empty());
            plan.location.identity = told.or(plan.location.identity.take());
        }
        self.manifests(observed, result);
        let size = self.status.total_size.as_deref().unwrap_or("unknown size");
        let took = self.status.duration.as_deref().unwrap_or("unknown time");
        let text = format!("sealed {size} in {} files in {took}", result.files.unwrap_or_default());
        let links = result.links_out.as_ref().map(links_text);
        self.say(|conditions| {
            conditions.ready(Reason::Completed, &text);
            if let Some(text) = links {
                let (kind, reason) = (ConditionType::LinksLeadOut, Reason::LinksLeadOut);
                conditions.set(kind, true, reason, &message(reason, &text));
            }
        });
        let event = Event::normal(Reason::CreatedBackup, "Completed backup.");
        let bus = self.bus(BusEventKind::BackupCompleted);
        self.written().with(event).with(bus).then_await_change()
    }

    fn manifests(&mut self, observed: &Observed, result: &AgentResult) {
        let (start, stop) = (
            self.status.start_timestamp.clone(),
            self.status.completion_timestamp.clone(),
        );
        let path = observed.plan().map(|plan| plan.location.path.clone());
        let manifests = self.status.manifests.get_or_insert_default();
        let planned = manifests.backup_tool.take().unwrap_or_default();
        let digest = result.digest.as_deref();
        manifests.backup_tool = Some(BackupToolManifestsStatus {
            file_path: path,
            // A volume that was bound only when the pod came is known by now.
            volume_name: observed.claim.get().and_then(volume_name).or(planned.volume_name),
            upload_total_size: result.upload_total_size.clone(),
            checksum: digest.map(|digest| digest.strip_prefix("sha256:").unwrap_or(digest).to_owned()),
            checkpoint: result.checkpoint.clone(),
            log_file_path: planned.log_file_path,
        });
        let log = result.backup_log.clone().unwrap_or_default();
        manifests.backup_log = Some(BackupLogStatus {
            start_time: log.start_time.or(start),
            stop_time: log.stop_time.or(stop),
        });
        manifests.user_context = (!result.user_context.is_empty()).then(|| result.user_context.clone());
    }

    /// Ends the Backup as Failed. `text` is the original's `failureReason` where it has one.
    fn fail(mut self, observed: &Observed, reason: Reason, text: &str) -> Decision {
        self.end(BackupPhase::Failed, ttl_of(observed));
        self.status.total_size = finish::written(observed).map(size::bytes);
        self.status.failure_reason = Some(printable(text).into_owned());
        self.say(|conditions| {
            conditions.stalled(reason, text);
        });
        let bus = BusEvent {
            data: json!({ "reason": reason.as_str() }),
            ..self.bus(BusEventKind::BackupFailed)
        };
        let event = Event::warning(reason, text);
        self.written().with(event).with(bus).then_await_change()
    }

    /// What every end has in common: the phase, the times, and when it expires: counted from its end.
    fn end(&mut self, phase: BackupPhase, ttl: Option<&str>) {
        let (status, now) = (&mut self.status, self.now);
        status.phase = Some(phase);
        status.waiting = None;
        status.completion_timestamp = Some(Time(now));
        let started = status.start_timestamp.as_ref().map(|time| time.0);
        status.duration = started.map(|started| size::duration(now.duration_since(started)));
        let kept = ttl.and_then(|ttl| ttl::parse(ttl).ok());
        status.expiration = kept.and_then(|kept| now.checked_add(kept).ok()).map(Time);
    }

    /// The message about the transition that the status makes.
    fn bus(&self, kind: BusEventKind) -> BusEvent {
        let start = self.status.start_timestamp.as_ref().map_or(self.now, |time| time.0);
        BusEvent {
            from: self.backup.phase().as_str(),
            start: Some(start),
            ..BusEvent::of(kind, self.backup)
        }
    }
}
