//! What an operator wants to know of backups: how many run, how long each step takes, what fails and why.

use std::sync::Arc;

use holdfast_api::condition::{self, ConditionType};
use holdfast_api::names::ANNOTATION_ADMITTED;
use holdfast_api::{Backup, BackupPhase, BackupPolicy, metric};
use holdfast_runtime::metrics::{self, Error, GaugeVec, HistogramVec, IntCounterVec};
use holdfast_runtime::{Service, clock};
use jiff::Timestamp;
use kube::ResourceExt;

/// Metrics of one executor.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    active: GaugeVec,
    steps: HistogramVec,
    failures: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(service: &Service) -> Result<Self, Error> {
        Ok(Self {
            active: service.meter().gauge(&metric::EXECUTOR_ACTIVE)?,
            steps: service.meter().histogram(&metric::EXECUTOR_STEPS)?,
            failures: service.meter().counter(&metric::BACKUP_FAILURES)?,
        })
    }

    /// Counts the Backups that are not over.
    pub(crate) fn active(&self, backups: &[Arc<Backup>]) {
        for phase in [
            BackupPhase::New,
            BackupPhase::InProgress,
            BackupPhase::Running,
            BackupPhase::Deleting,
        ] {
            let count = backups.iter().filter(|backup| backup.phase() == phase).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.active.with_label_values(&[phase.as_str()]).set(count.into());
        }
    }

    /// A policy that is gone is no longer measured.
    pub(crate) fn forget(&self, policy: &BackupPolicy) {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        let labels = [("namespace", namespace.as_str()), ("policy", name.as_str())];
        metrics::forget(&self.failures, &labels);
    }

    /// Notes what a write has brought about; `created` if it was the tool's Job. `policy` is that of the Backup, if it
    /// still exists.
    pub(crate) fn wrote(&self, before: &Backup, after: &Backup, created: bool, policy: Option<&BackupPolicy>) {
        let now = clock::now();
        let started = after
            .status
            .as_ref()
            .and_then(|status| Some(status.start_timestamp.as_ref()?.0));
        if created {
            self.step("started_to_job", started, now);
        }
        let (from, to) = (before.phase(), after.phase());
        if from == to {
            return;
        }
        let namespace = after.namespace().unwrap_or_default();
        let policy = policy.map(ResourceExt::name_any).unwrap_or_default();
        match to {
            BackupPhase::InProgress => {
                let admitted = after
                    .annotations()
                    .get(ANNOTATION_ADMITTED)
                    .and_then(|time| time.parse().ok());
                self.step("admitted_to_started", admitted, now);
            }
            BackupPhase::Completed => {
                self.step("started_to_completed", started, now);
            }
            BackupPhase::Failed => {
                let conditions = after
                    .status
                    .as_ref()
                    .map(|status| status.conditions.as_slice())
                    .unwrap_or_default();
                let ready = condition::find(conditions, ConditionType::Ready);
                let reason = ready.map_or("Unknown", |condition| condition.reason.as_str());
                self.failures
                    .with_label_values(&[namespace.as_str(), policy.as_str(), reason])
                    .inc();
            }
            BackupPhase::New | BackupPhase::Running | BackupPhase::Deleting => {}
        }
    }

    fn step(&self, step: &str, from: Option<Timestamp>, to: Timestamp) {
        if let Some(from) = from {
            self.steps
                .with_label_values(&[step])
                .observe(to.duration_since(from).as_secs_f64().max(0.0));
        }
    }
}
