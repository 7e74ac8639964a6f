//! The purge of one volume: its next step as the one decision that brings it about.

use std::sync::Arc;

use holdfast_api::{Backup, BackupStatus, condition::Reason, names::ANNOTATION_REPOSITORY, names::FINALIZER};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event as KubeEvent, PersistentVolumeClaim};
use kube::ResourceExt as _;
use serde_json::json;

use super::{
    BackupSummary, Batch,
    purge::{identity, pull_secrets, purge_job, security},
    purge_plan::{self, History, Step, Volume},
    release::{tell, untell},
};
use crate::{
    decision::{self, Child, Event, Kind, Seen, Target, without_finalizer},
    pod::{AgentJob, Demands, JobState, are_told_by_events, job_state, keep_off_nodes, words},
    settings::DataPods,
};

/// What must be read from the API server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The claim, and what its namespace demands of pods.
    Claim,
    /// The events about a Job that does not get on, or its pods.
    Events,
    /// The Backup that the step is about ([`Plan::subject`]), whole.
    Backup,
}

/// What follows from an observation.
pub type Decision = decision::Decision<BackupStatus, Read>;
/// What shall be written.
pub type Write = decision::Write<BackupStatus>;

/// Why the Job of a batch cannot be created now.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    /// The batch.
    pub batch: Batch,
    /// What its Backups are to be told, if anything.
    pub trouble: Option<(Reason, String)>,
    /// The name that the Job should have.
    pub job: String,
    /// When to try again.
    pub again: SignedDuration,
}

/// Everything that a decision about one volume rests on.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Image of the agent.
    pub agent_image: String,
    /// Pull policy of its images; none leaves it to Kubernetes.
    pub pull_policy: Option<String>,
    /// What pods that hold the agent carry.
    pub data_pods: DataPods,
    /// What the namespace demands of its pods, read with the claim.
    pub demands: Demands,
    /// The volume, its Jobs, and what waits.
    pub volume: Volume,
    /// The claim.
    pub claim: Seen<PersistentVolumeClaim>,
    /// The Backup that was read last.
    pub whole: Option<Backup>,
    /// Why the Job that was asked for in this pass is not there.
    pub obstacle: Option<Obstacle>,
    /// The events about [`Observed::in_trouble`], if they were listed in this pass.
    pub events: Option<Vec<KubeEvent>>,
}

/// A step, and what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What follows.
    pub decision: Decision,
    /// The step that it is for.
    pub step: Step,
    /// Whether claim or namespace of this batch may be gone: each of its Backups has to be looked at afresh.
    pub look_closer: Option<Batch>,
}

impl Plan {
    fn of(step: Step, decision: Decision) -> Self {
        Self {
            decision,
            step,
            look_closer: None,
        }
    }

    /// The Backup that the step is about.
    pub fn subject(&self) -> Option<&Arc<BackupSummary>> {
        match &self.step {
            Step::Release(backup) | Step::Tell { backup, .. } | Step::Untell(backup) => Some(backup),
            Step::Create(_) | Step::Remove { .. } | Step::Rest(_) => None,
        }
    }
}

impl Observed {
    /// The uids of what events tell about: pods of Jobs that have not ended, or the Jobs where they have none.
    pub fn in_trouble(&self) -> Vec<String> {
        let at_work = self
            .volume
            .purges
            .iter()
            .filter(|purge| job_state(&purge.job) == JobState::Running);
        let uids = at_work.flat_map(|purge| match purge.pods.as_slice() {
            [] => vec![purge.job.metadata.uid.clone()],
            pods => pods.iter().map(|pod| pod.metadata.uid.clone()).collect(),
        });
        uids.flatten().collect()
    }

    /// Takes over a Backup that was read or written just now: the next step rests on it, and not on what the watch has not
    /// shown yet. `None`: it is gone.
    pub fn know(&mut self, uid: Option<&str>, whole: Option<Backup>) {
        let waiting = &mut self.volume.waiting;
        match &whole {
            None => waiting.retain(|one| one.metadata.uid.as_deref() != uid),
            Some(backup) => {
                let deletion = backup.status.as_ref().and_then(|status| status.deletion.as_ref());
                let trouble = deletion.and_then(|deletion| deletion.trouble.clone());
                let same = |one: &&mut Arc<BackupSummary>| one.metadata.uid == backup.metadata.uid;
                if let Some(one) = waiting.iter_mut().find(same) {
                    let one = Arc::make_mut(one);
                    one.status.trouble = trouble.filter(|trouble| !trouble.is_empty());
                    one.metadata
                        .resource_version
                        .clone_from(&backup.metadata.resource_version);
                }
            }
        }
        self.whole = whole;
    }
}

/// Decides about one volume: at most one write, and when to look again.
pub fn decide(observed: &Observed, history: &History, now: Timestamp) -> Plan {
    let step = purge_plan::decide(&observed.volume, history, now);
    let decision = match &step {
        Step::Rest(None) => Decision::wait(),
        Step::Rest(Some(wait)) => Decision::after(*wait),
        Step::Create(batch) => return create(observed, batch.clone(), history, now),
        Step::Release(backup) => release(backup),
        Step::Tell {
            backup,
            job,
            reason,
            why,
        } => match explained(observed, *reason, why) {
            Some(why) => say(observed, backup, |whole| {
                tell(whole, job, *reason, &why, now).map(|(status, event)| (status, Some(event)))
            }),
            None => Decision::read(Read::Events),
        },
        Step::Untell(backup) => say(observed, backup, |whole| Some((untell(whole, now)?, None))),
        Step::Remove { job, .. } => Decision::write(Write::Delete(Target::any_state(Kind::Job, &**job))),
    };
    Plan::of(step, decision)
}

/// What is told, with the cluster's own words where events may have some; none where they have to be read first.
fn explained(observed: &Observed, reason: Reason, why: &str) -> Option<String> {
    if !are_told_by_events(reason) {
        return Some(why.to_owned());
    }
    let words = words(observed.events.as_deref()?);
    Some(words.map_or_else(|| why.to_owned(), |words| format!("{why}: {words}")))
}

fn release(backup: &Arc<BackupSummary>) -> Decision {
    match without_finalizer(&backup.metadata, FINALIZER) {
        Some(metadata) => {
            let target = Target::exactly(Kind::Backup, &**backup);
            Decision::write(Write::Patch(target, json!({ "metadata": metadata })))
        }
        None => Decision::wait(),
    }
}

/// Writes the status that `status` makes of the whole Backup, if it makes one.
fn say(
    observed: &Observed,
    backup: &BackupSummary,
    status: impl FnOnce(&Backup) -> Option<(BackupStatus, Option<Event>)>,
) -> Decision {
    let whole = observed.whole.as_ref();
    let Some(whole) = whole.filter(|whole| whole.metadata.uid == backup.metadata.uid) else {
        return Decision::read(Read::Backup);
    };
    match status(whole) {
        Some((status, event)) => {
            let decision = Decision::write(Write::Status(Box::new(status)));
            match event {
                Some(event) => decision.with(event),
                None => decision,
            }
        }
        // The watch will show what the API server said.
        None => Decision::wait(),
    }
}

fn create(observed: &Observed, batch: Batch, history: &History, now: Timestamp) -> Plan {
    if let Some(obstacle) = observed.obstacle.as_ref().filter(|obstacle| obstacle.batch == batch) {
        return hindered(observed, obstacle, now);
    }
    if !observed.claim.live {
        return Plan::of(Step::Create(batch), Decision::read(Read::Claim));
    }
    let Some(claim) = observed.claim.get() else {
        return Plan {
            look_closer: Some(batch.clone()),
            ..Plan::of(Step::Create(batch), Decision::wait())
        };
    };
    let waiting = &observed.volume.waiting;
    let noted = || claim.annotations().get(ANNOTATION_REPOSITORY).cloned();
    let job = purge_job(
        &observed.agent_image,
        observed.pull_policy.as_deref(),
        &batch,
        identity(&batch, waiting).or_else(noted),
        AgentJob {
            image_pull_secrets: pull_secrets(&batch, waiting),
            security: security(&batch, waiting),
            affinity: keep_off_nodes(history.keep_off(&batch)),
            data_pods: observed.data_pods.clone(),
            demands: observed.demands,
            ..AgentJob::default()
        },
    );
    let decision = match job {
        Ok(job) => Decision::write(Write::Create(Child::from(job))),
        // Whoever knows this way of access removes them.
        Err(_) => Decision::wait(),
    };
    Plan::of(Step::Create(batch), decision)
}

/// Lets each Backup of the batch know, and tries again after a while.
fn hindered(observed: &Observed, obstacle: &Obstacle, now: Timestamp) -> Plan {
    let rest = || Plan::of(Step::Rest(Some(obstacle.again)), Decision::after(obstacle.again));
    let Some((reason, why)) = &obstacle.trouble else {
        return rest();
    };
    let entries = &obstacle.batch.entries;
    let untold = observed.volume.waiting.iter().find(|backup| {
        let is_in = entries
            .iter()
            .any(|entry| Some(entry.uid.as_str()) == backup.seal_uid());
        is_in && backup.status.trouble.as_deref() != Some(reason.as_str())
    });
    let Some(backup) = untold else { return rest() };
    let step = Step::Tell {
        backup: Arc::clone(backup),
        job: obstacle.job.clone(),
        reason: *reason,
        why: why.clone(),
    };
    let decision = say(observed, backup, |whole| {
        let (status, event) = tell(whole, &obstacle.job, *reason, why, now)?;
        Some((status, Some(event)))
    });
    Plan::of(step, decision)
}
