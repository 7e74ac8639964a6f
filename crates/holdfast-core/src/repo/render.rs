//! Makes of what was judged the status, the conditions, and what is told.

use std::time::Duration;

use holdfast_api::{
    BackupRepoPhase, BackupRepoStatus, RepoDeletion, RepoTrouble,
    condition::{ConditionType, Conditions, Reason, Status},
    event::{BusEvent, BusEventKind},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Decision, Observed, Write,
    check::CHECKS,
    identity,
    verdict::{Finding, Found, Standing, Verdict, is_new},
};
use crate::decision::{Event, Next};

/// How often a repository that rests is looked at although nothing changed.
const SLOW_PASS: Duration = Duration::from_mins(10);
/// How soon something refused or in the way is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// How soon to look again at what is in the way of a deletion: not everything that can be is watched.
const POLL: Duration = Duration::from_secs(10);

/// Renders a verdict.
pub(super) fn render(observed: &Observed, verdict: Verdict, now: Timestamp) -> Decision {
    match verdict {
        Verdict::Write(write, events) => events.into_iter().fold(Decision::write(write), Decision::with),
        Verdict::Stands(standing) => living(observed, *standing, now),
        Verdict::Deleting(reason, text) => deleting(observed, reason, &text, now),
        Verdict::Gone => Decision::wait(),
    }
}

fn living(observed: &Observed, standing: Standing, now: Timestamp) -> Decision {
    let before = observed.repo.status.clone().unwrap_or_default();
    let Standing {
        phase,
        problem,
        findings,
        named,
        grace,
        serve,
    } = standing;
    let mut conditions = conditions(observed, &before, now);
    let mut told = Troubles::of(&before);
    for finding in findings {
        told.find(&finding, !is_new(Some(phase)));
        set(&mut conditions, finding);
    }
    let (reason, text) = problem.unwrap_or((Reason::Ready, String::new()));
    match phase {
        BackupRepoPhase::Ready => conditions.ready(reason, &text),
        BackupRepoPhase::Failed => conditions.stalled(reason, &text),
        BackupRepoPhase::PreChecking | BackupRepoPhase::Deleting => conditions.reconciling(reason, &text),
    };
    let waits = phase == BackupRepoPhase::PreChecking;
    let status = BackupRepoStatus {
        phase: Some(phase),
        is_default: Some(observed.is_default()),
        observed_generation: observed.repo.metadata.generation,
        conditions: conditions.into_list(),
        waiting_since: waits.then(|| before.waiting_since.clone().unwrap_or(Time(now))),
        deletion: None,
        troubles: told.now,
        namespaces: identity::namespaces(observed, &before),
        ..named
    };
    if status != before {
        return stored(observed, &before, status, told.news, now);
    }
    if let Some(write) = serve {
        return Decision::write(write);
    }
    let retries = observed.refused.is_some() || !observed.waiting.is_empty();
    after(grace.unwrap_or(if retries { RETRY } else { SLOW_PASS }))
}

fn deleting(observed: &Observed, reason: Reason, text: &str, now: Timestamp) -> Decision {
    let before = observed.repo.status.clone().unwrap_or_default();
    let mut conditions = conditions(observed, &before, now);
    let mut told = Troubles::of(&before);
    if reason != Reason::DeletingCR {
        let finding = Finding::is(ConditionType::DerivedObjectsDeleted, false, reason, text);
        told.find(&finding, true);
        set(&mut conditions, finding);
    }
    conditions.reconciling(reason, text);
    let status = BackupRepoStatus {
        phase: Some(BackupRepoPhase::Deleting),
        observed_generation: observed.repo.metadata.generation,
        conditions: conditions.into_list(),
        waiting_since: None,
        deletion: Some(waits(before.deletion.as_ref(), reason, now)),
        troubles: told.now,
        ..before.clone()
    };
    if status == before {
        return after(POLL);
    }
    stored(observed, &before, status, told.news, now)
}

fn conditions(observed: &Observed, before: &BackupRepoStatus, now: Timestamp) -> Conditions {
    Conditions::of(before.conditions.clone(), observed.repo.metadata.generation, now)
}

fn set(conditions: &mut Conditions, Finding { check, found }: Finding) {
    match found {
        Found::Is(status, reason, text) => {
            conditions.set(check, status, reason, &text);
        }
        Found::Mended(reason) if conditions.has(check) => {
            conditions.set(check, true, reason, "");
        }
        Found::Mended(_) => {}
        Found::NotApplicable => {
            conditions.remove(check);
        }
    }
}

/// What is wrong, and what of it has not been told before.
struct Troubles {
    before: Vec<RepoTrouble>,
    now: Vec<RepoTrouble>,
    news: Vec<Event>,
}

impl Troubles {
    /// What was wrong stays so for a check that is not made.
    fn of(status: &BackupRepoStatus) -> Self {
        Self {
            before: status.troubles.clone(),
            now: status.troubles.clone(),
            news: Vec::new(),
        }
    }

    /// Takes up what a check found. What stands in the way of a repository that is not `judged` yet is in the condition,
    /// but no failure.
    fn find(&mut self, Finding { check, found }: &Finding, judged: bool) {
        self.now.retain(|trouble| trouble.check != check.as_str());
        let Found::Is(Status::False | Status::Unknown, reason, text) = found else {
            return;
        };
        if !judged && CHECKS.contains(check) {
            return;
        }
        let (check, word) = (check.as_str(), reason.as_str());
        let mut known = self.before.iter();
        let known = known.find(|known| known.check == check && known.reason == word);
        if known.is_none() {
            self.news.push(Event::warning(*reason, text));
        }
        let trouble = known.cloned().unwrap_or_else(|| RepoTrouble {
            check: check.to_owned(),
            reason: word.to_owned(),
            ..RepoTrouble::default()
        });
        self.now.push(trouble);
    }
}

/// The status is written, and what is new in it is told.
fn stored(
    observed: &Observed,
    before: &BackupRepoStatus,
    status: BackupRepoStatus,
    troubles: Vec<Event>,
    now: Timestamp,
) -> Decision {
    let turned = status.phase.filter(|phase| before.phase != Some(*phase));
    let name = observed.repo.metadata.name.as_deref().unwrap_or_default();
    let (event, bus) = match turned {
        Some(BackupRepoPhase::Ready) => (
            Some(Event::normal(Reason::Ready, "the repository can be used")),
            Some(BusEventKind::RepoReady),
        ),
        Some(BackupRepoPhase::Failed) => (None, Some(BusEventKind::RepoFailed)),
        Some(BackupRepoPhase::Deleting) => (
            Some(Event::normal(
                Reason::DeletingCR,
                format!("Deleting backuprepo: {name}"),
            )),
            None,
        ),
        Some(BackupRepoPhase::PreChecking) | None => (None, None),
    };
    let bus = bus.map(|kind| BusEvent {
        from: before.phase.map_or("", BackupRepoPhase::as_str),
        // Two failures of one repository are two messages.
        start: Some(now),
        ..BusEvent::of(kind, &observed.repo)
    });
    let mut decision = Decision::write(Write::Status(Box::new(status)));
    for event in event.into_iter().chain(troubles) {
        decision = decision.with(event);
    }
    bus.into_iter().fold(decision, Decision::with)
}

fn after(time: Duration) -> Decision {
    Decision {
        next: Next::After(time),
        ..Decision::wait()
    }
}

/// Since when the repository is being deleted, and since when nothing but its volumes is in the way.
fn waits(before: Option<&RepoDeletion>, reason: Reason, now: Timestamp) -> RepoDeletion {
    let RepoDeletion {
        since,
        volumes_since,
        unknown,
    } = before.cloned().unwrap_or_default();
    RepoDeletion {
        unknown,
        since: since.or(Some(Time(now))),
        volumes_since: volumes_since
            .or(Some(Time(now)))
            .filter(|_| reason == Reason::HaveResidualVolumes),
    }
}
