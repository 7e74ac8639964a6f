//! How a verdict becomes the one decision: the status with its conditions, and what is told about it.

use holdfast_api::{
    RestoreJob, RestoreJobPhase, RestoreJobStatus, RestorePlan, Unknown, Waiting,
    condition::{ConditionType, Conditions, Reason},
    event::{BusEvent, BusEventKind},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::observed::{Decision, Observed, Write};
use super::start;
use super::verdict::Verdict;
use crate::decision::Event;

/// How often something that is waited for is looked at again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);
/// How often while a pod of ours is at work: Jobs, their pods and the held workload are watched.
const WHILE_WATCHED: SignedDuration = SignedDuration::from_secs(15);

/// A status about to be written.
struct Draft<'a> {
    restore: &'a RestoreJob,
    status: RestoreJobStatus,
    now: Timestamp,
}

/// Renders a verdict.
pub(super) fn render(observed: &Observed, verdict: Verdict, now: Timestamp) -> Decision {
    let draft = Draft::of(&observed.restore, now);
    match verdict {
        Verdict::Rest => Decision::wait(),
        Verdict::Write(write, event) => told(Decision::write(write), event),
        Verdict::Begin(plan, text) => draft.begin(*plan, text),
        Verdict::Note(plan, event) => told(draft.note(*plan), event),
        Verdict::Wait(reason, text) => draft.wait(reason, &text, look_again(observed, reason)),
        Verdict::Complete(text) => ends(observed, draft.complete(text)),
        Verdict::Fail(reason, text) => ends(observed, draft.fail(reason, text)),
    }
}

/// Its pods go next, if any of them is kept.
fn ends(observed: &Observed, decision: Decision) -> Decision {
    match start::release_all(observed) {
        Some(_) => decision,
        None => decision.then_await_change(),
    }
}

/// Pods of the workload and events are not watched.
fn look_again(observed: &Observed, reason: Reason) -> SignedDuration {
    let works = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let at_work = observed.verify_pods.iter().chain(&observed.write_pods).any(works);
    match reason {
        Reason::Verifying | Reason::Restoring if at_work => WHILE_WATCHED,
        _ => LOOK_AGAIN,
    }
}

fn told(decision: Decision, event: Option<Event>) -> Decision {
    match event {
        Some(event) => decision.with(event),
        None => decision,
    }
}

impl<'a> Draft<'a> {
    fn of(restore: &'a RestoreJob, now: Timestamp) -> Self {
        let mut status = restore.status.clone().unwrap_or_default();
        status.phase = Some(restore.phase());
        status.observed_generation = restore.metadata.generation;
        Self { restore, status, now }
    }

    /// Changes the conditions by their one writer.
    fn say(&mut self, with: impl FnOnce(&mut Conditions)) {
        let list = std::mem::take(&mut self.status.conditions);
        let mut conditions = Conditions::of(list, self.restore.metadata.generation, self.now);
        with(&mut conditions);
        self.status.conditions = conditions.into_list();
    }

    /// The conditions beside the three of every object: they follow from what the plan remembers.
    fn remembered(&mut self) {
        let Some(plan) = self.status.plan.clone() else { return };
        let ended = self.status.phase.is_some_and(RestoreJobPhase::is_terminal);
        self.say(|conditions| match (&plan.writing, &plan.stop) {
            (Some(writing), _) => {
                let (reason, text) = if ended {
                    (Reason::Completed, "the volumes are written no more")
                } else if let Some(who) = &writing.second_writer {
                    (Reason::TargetDirty, who.as_str())
                } else if writing.attempt > 1 {
                    (
                        Reason::TargetDirty,
                        "an earlier restore Job is gone, and may have written",
                    )
                } else {
                    (Reason::Restoring, "the volumes are given to the tool")
                };
                let verified = "every byte of the backup is as it was sealed";
                conditions
                    .set(ConditionType::Verified, true, Reason::Verifying, verified)
                    .set(ConditionType::Writing, !ended, reason, text);
            }
            (None, Some(stop)) => {
                let reason = stop.reason_or(Reason::PodPending);
                if conditions.has(ConditionType::Writing) {
                    conditions.set(ConditionType::Writing, false, reason, &stop.text);
                } else if reason != Reason::TargetInUse {
                    conditions.set(ConditionType::Verified, false, reason, &stop.text);
                }
            }
            (None, None) => {}
        });
    }

    fn written(mut self) -> Decision {
        self.remembered();
        Decision::write(Write::Status(Box::new(self.status)))
    }

    fn begin(mut self, plan: RestorePlan, text: String) -> Decision {
        self.status.phase = Some(RestoreJobPhase::InProgressPhy);
        self.status.start_timestamp = Some(Time(self.now));
        self.status.plan = Some(plan);
        self.now_for(Reason::Verifying, &text);
        let bus = self.bus(BusEventKind::RestoreStarted);
        let event = Event::normal(Reason::Verifying, text);
        self.written().with(event).with(bus)
    }

    fn note(mut self, plan: RestorePlan) -> Decision {
        self.status.plan = Some(plan);
        self.written()
    }

    /// Remembers and says what is being done or waited for.
    fn now_for(&mut self, reason: Reason, text: &str) {
        let since = self
            .status
            .waiting
            .take()
            .map_or(Time(self.now), |waiting| waiting.since);
        self.status.waiting = Some(Waiting {
            reason: reason.as_str().to_owned(),
            since,
            quoted: false,
            unknown: Unknown::new(),
        });
        self.say(|conditions| {
            conditions.reconciling(reason, text);
        });
    }

    /// Writes what is being done if the status does not say so yet, else looks again soon.
    fn wait(mut self, reason: Reason, text: &str, again: SignedDuration) -> Decision {
        if self
            .status
            .waiting
            .as_ref()
            .is_some_and(|waiting| waiting.is_for(reason))
        {
            return Decision::after(again);
        }
        self.now_for(reason, text);
        self.written()
    }

    fn complete(mut self, text: String) -> Decision {
        self.end(RestoreJobPhase::Completed);
        self.status.failure_reason = None;
        self.say(|conditions| {
            conditions.ready(Reason::Completed, &text);
        });
        let bus = self.bus(BusEventKind::RestoreCompleted);
        let event = Event::normal(Reason::Completed, text);
        self.written().with(event).with(bus)
    }

    fn fail(mut self, reason: Reason, text: String) -> Decision {
        self.end(RestoreJobPhase::Failed);
        self.status.failure_reason = Some(text.clone());
        self.say(|conditions| {
            conditions.stalled(reason, &text);
        });
        let bus = BusEvent {
            data: json!({ "reason": reason.as_str() }),
            ..self.bus(BusEventKind::RestoreFailed)
        };
        let event = Event::warning(reason, text);
        self.written().with(event).with(bus)
    }

    fn end(&mut self, phase: RestoreJobPhase) {
        self.status.phase = Some(phase);
        self.status.waiting = None;
        self.status.completion_timestamp = Some(Time(self.now));
    }

    /// The message about the transition that the status makes.
    fn bus(&self, kind: BusEventKind) -> BusEvent {
        BusEvent {
            from: self.restore.phase().as_str(),
            start: self.status.start_timestamp.as_ref().map(|time| time.0),
            ..BusEvent::of(kind, self.restore)
        }
    }
}
