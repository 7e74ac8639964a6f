//! Random histories: whatever happens in whatever order, no phase is skipped, nothing is stuck and nothing spins.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_api::agent::Outcome;
use holdfast_api::condition::Reason;
use holdfast_api::{BackupPhase, BackupStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::wording;
use super::world::{at, change, end_job, ended, gave_up, job_pod, ready, sealed};
use crate::backup::{Next, Observed, Pods, Read, Seen, Write, can_become, decide, report_job_name};
use crate::decision::{Child, Kind, Target};
use crate::pod::Demands;

/// What may happen between two looks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Time(u16),
    PodRuns,
    PodStuck,
    PodSeals,
    PodFails,
    PodVanishes,
    JobFails,
    JobVanishes,
    Caches,
    Look,
    Delete,
    Cancel,
    TargetMoves,
    TargetVanishes,
    ForgetAnswer,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        4 => (1_u16..900).prop_map(Time),
        8 => Just(Look),
        6 => Just(Caches),
        3 => Just(PodRuns),
        1 => Just(PodStuck),
        2 => Just(PodSeals),
        2 => Just(PodFails),
        1 => Just(PodVanishes),
        1 => Just(JobFails),
        1 => Just(JobVanishes),
        1 => Just(Delete),
        1 => Just(Cancel),
        1 => Just(TargetMoves),
        1 => Just(TargetVanishes),
        2 => Just(ForgetAnswer),
    ]
}

/// A cluster of one Backup: what is true, and what the executor has seen of it.
pub(super) struct World {
    now: Timestamp,
    seen: Observed,
    job: Option<Arc<Job>>,
    pods: Vec<Arc<Pod>>,
    report: Option<Arc<Job>>,
    report_pods: Vec<Arc<Pod>>,
    target: Option<Arc<Pod>>,
    sealed: bool,
    count: u64,
    /// How often other words in the conditions were tried.
    pub(super) reworded: usize,
    /// Every reason that the conditions have given.
    pub(super) reasons: BTreeSet<String>,
}

impl World {
    pub(super) fn new() -> Self {
        let seen = ready();
        let target = seen.target.object.clone();
        Self {
            now: at(0),
            seen,
            job: None,
            pods: Vec::new(),
            report: None,
            report_pods: Vec::new(),
            target,
            sealed: false,
            count: 0,
            reworded: 0,
            reasons: BTreeSet::new(),
        }
    }

    fn phase(&self) -> Option<BackupPhase> {
        self.seen.backup.status.as_ref().and_then(|status| status.phase)
    }

    pub(super) fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Time(seconds) => self.now += SignedDuration::from_secs(i64::from(seconds)),
            Happening::PodRuns => self.pod(&json!({"phase": "Running"})),
            Happening::PodStuck => self.pod(&json!({"phase": "Pending", "conditions": [{"type": "PodScheduled",
                "status": "False", "message": "0/1 nodes are available"}]})),
            Happening::PodSeals => self.seal(),
            Happening::PodFails => self.pod(&ended("b1", 1, &gave_up(Reason::ToolFailed, "no"))),
            Happening::PodVanishes => {
                self.pods.pop();
            }
            Happening::JobFails => self.end("Failed"),
            Happening::JobVanishes => {
                self.job = None;
                self.pods.clear();
            }
            Happening::Caches => self.caches(),
            Happening::Look => self.look(),
            Happening::Delete => {
                let time = Time(self.now);
                change(&mut self.seen, |backup| {
                    backup.metadata.deletion_timestamp.get_or_insert(time);
                });
            }
            Happening::Cancel => change(&mut self.seen, |backup| backup.spec.cancel = Some(true)),
            Happening::TargetMoves => {
                if let Some(target) = self.target.as_mut() {
                    Arc::make_mut(target).metadata.uid = Some(format!("pod-{}", self.count));
                }
            }
            Happening::TargetVanishes => self.target = None,
            Happening::ForgetAnswer => self.seen.backup_read = None,
        }
    }

    /// A pod of the Job comes to this, if there is a Job that is not over.
    fn pod(&mut self, status: &serde_json::Value) {
        let over = self.job.as_ref().is_none_or(|job| job.status.is_some());
        if over {
            return;
        }
        let second = self.now.duration_since(at(0)).as_secs();
        self.pods.pop();
        self.pods.push(job_pod("b1-x", second, status));
    }

    fn seal(&mut self) {
        if self.job.as_ref().is_some_and(|job| job.status.is_none()) {
            self.pod(&ended("b1", 0, &sealed()));
            self.sealed = true;
            self.end("Complete");
        }
    }

    fn end(&mut self, kind: &str) {
        if let Some(job) = self.job.clone().filter(|job| job.status.is_none()) {
            let mut holder = ready();
            holder.job = Seen::cached(Some(job));
            end_job(
                &mut holder,
                kind,
                "BackoffLimitExceeded",
                self.now.duration_since(at(0)).as_secs(),
            );
            self.job = holder.job.object;
        }
    }

    fn caches(&mut self) {
        self.seen.job = Seen::cached(self.job.clone());
        self.seen.pods = Pods {
            items: self.pods.clone(),
            live: false,
        };
        self.seen.report = Seen::cached(self.report.clone());
        self.seen.report_pods = Pods {
            items: self.report_pods.clone(),
            live: false,
        };
    }

    fn read(&mut self, read: Read) {
        match read {
            Read::Events => self.seen.events = Some(Vec::new()),
            Read::Demands => self.seen.demands = Some(Demands::default()),
            Read::Backup => self.seen.backup_read = Some(self.now),
            Read::Policy => self.seen.policy.live = true,
            Read::Tool => self.seen.tool.live = true,
            Read::Repo => self.seen.repo.live = true,
            Read::Claim => self.seen.claim.live = true,
            Read::Target => self.seen.target = Seen::live(self.target.clone()),
            Read::Job => self.seen.job = Seen::live(self.job.clone()),
            Read::Pods => {
                self.seen.pods = Pods {
                    items: self.pods.clone(),
                    live: true,
                }
            }
            Read::Report => self.seen.report = Seen::live(self.report.clone()),
            Read::ReportPods => {
                self.seen.report_pods = Pods {
                    items: self.report_pods.clone(),
                    live: true,
                }
            }
        }
    }

    /// One pass of the executor: decide and do, until there is nothing to do.
    fn look(&mut self) {
        self.seen.target = Seen {
            live: false,
            ..Seen::default()
        };
        self.seen.job.live = false;
        self.seen.events = None;
        self.seen.demands = None;
        self.seen.pods.live = false;
        self.seen.report.live = false;
        self.seen.report_pods.live = false;
        for _ in 0..30 {
            let decision = decide(&self.seen, self.now);
            self.reworded += usize::from(wording::changes_nothing(&self.seen, self.now, &decision));
            match (decision.write, decision.next) {
                (None, Next::Read(read)) => self.read(read),
                (None, Next::AwaitChange) => return,
                (None, Next::After(wait)) => {
                    assert!(!wait.is_zero(), "it spins");
                    return;
                }
                (None, Next::Again) => panic!("again without a write"),
                (Some(write), _) => self.apply(write),
            }
        }
        panic!("it does not come to rest: {:?}", self.seen.backup.status);
    }

    fn apply(&mut self, write: Write) {
        self.count += 1;
        match write {
            Write::Metadata(metadata) => {
                assert_eq!(metadata["annotations"].get("holdfast.io/admitted"), Some(&Value::Null));
                assert!(self.target.is_none() && self.phase().is_none_or(|phase| phase == BackupPhase::New));
                change(&mut self.seen, |backup| backup.metadata.annotations = None);
            }
            Write::Status(status) => self.put(*status),
            Write::Create(Child::Job(job)) => {
                assert_eq!(self.phase(), Some(BackupPhase::InProgress));
                let read = self.seen.backup_read.expect("a fresh answer");
                assert!(self.now.duration_since(read) <= SignedDuration::from_secs(5));
                self.create(*job);
            }
            Write::Delete(Target {
                kind: Kind::Job, uid, ..
            }) => {
                for (job, pods) in [
                    (&mut self.job, &mut self.pods),
                    (&mut self.report, &mut self.report_pods),
                ] {
                    if job
                        .as_ref()
                        .is_some_and(|job| job.metadata.uid.as_deref() == Some(&*uid))
                    {
                        *job = None;
                        pods.clear();
                    }
                }
                self.seen.job = Seen::live(self.job.clone());
                self.seen.report = Seen::live(self.report.clone());
            }
            // Its policy names a repository, which keeps the identity itself.
            other => panic!("{other:?}"),
        }
    }

    fn create(&mut self, job: Job) {
        if job.metadata.name == Some(report_job_name(&self.seen.backup)) {
            self.report = Some(self.created(job));
            self.seen.report = Seen::live(self.report.clone());
            return;
        }
        if self.job.is_none() {
            self.job = Some(self.created(job));
        }
        self.seen.job = Seen::live(self.job.clone());
    }

    fn created(&self, mut job: Job) -> Arc<Job> {
        job.metadata.uid = Some(format!("uid-{}", self.count));
        job.metadata.creation_timestamp = Some(Time(self.now));
        Arc::new(job)
    }

    fn put(&mut self, status: BackupStatus) {
        let to = status.phase.expect("every status written has a phase");
        assert!(can_become(self.phase(), to), "{:?} -> {to:?}", self.phase());
        if to == BackupPhase::Completed {
            assert!(self.sealed, "completed without a seal");
        }
        if to == BackupPhase::Failed {
            let running = self.pods.iter().any(|pod| !crate::pod::is_over(pod));
            assert!(!running, "failed while a pod may write: {:?}", status.failure_reason);
        }
        let reasons = status.conditions.iter().map(|condition| condition.reason.clone());
        self.reasons.extend(reasons);
        change(&mut self.seen, |backup| backup.status = Some(status));
        self.seen.backup_read = Some(self.now);
    }

    /// The cluster works: jobs get pods, pods seal, reports tell.
    pub(super) fn settles(&mut self) {
        for _ in 0..40 {
            if matches!(self.phase(), Some(BackupPhase::Completed | BackupPhase::Failed)) {
                return;
            }
            self.seal();
            self.report_tells();
            self.now += SignedDuration::from_mins(30);
            self.caches();
            self.look();
        }
        let metadata = &self.seen.backup.metadata;
        let with_scheduler = self.phase().is_none_or(|phase| phase == BackupPhase::New)
            && (metadata.deletion_timestamp.is_some() || metadata.annotations.is_none());
        assert!(with_scheduler, "it is stuck: {:?}", self.seen.backup.status);
    }

    fn report_tells(&mut self) {
        let Some(report) = self.report.as_mut().filter(|report| report.status.is_none()) else {
            return;
        };
        let kind = if self.sealed { "Complete" } else { "Failed" };
        let conditions = json!({"conditions": [{"type": kind, "status": "True"}]});
        Arc::make_mut(report).status = serde_json::from_value(conditions).ok();
        let result = if self.sealed {
            sealed()
        } else {
            gave_up(Reason::SealInvalid, "no seal")
        };
        let code = if result.outcome == Outcome::Sealed { 0 } else { 90 };
        self.report_pods = vec![job_pod("report-x", 1, &ended("report", code, &result))];
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_history_leads_astray(history in prop::collection::vec(happening(), 0..60)) {
        let mut world = World::new();
        for happening in history {
            world.happens(happening);
        }
        world.settles();
    }
}
