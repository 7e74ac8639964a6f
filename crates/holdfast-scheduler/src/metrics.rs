//! What the scheduler measures.

use holdfast_api::{BackupPolicy, BackupPolicyPhase, BackupPolicyStatus, condition::Reason, metric};
use holdfast_runtime::{
    Service,
    metrics::{self, Error, GaugeVec, IntCounterVec},
};
use jiff::Timestamp;
use kube::ResourceExt as _;

/// The scheduler's own metrics; ages are `time()` less a timestamp.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    last_success: GaugeVec,
    last_slot: GaugeVec,
    next_slot: GaugeVec,
    available: GaugeVec,
    admissions: IntCounterVec,
    slots: IntCounterVec,
    failures: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(service: &Service) -> Result<Self, Error> {
        Ok(Self {
            last_success: service.meter().gauge(&metric::SCHEDULER_LAST_SUCCESS)?,
            last_slot: service.meter().gauge(&metric::SCHEDULER_LAST_SLOT)?,
            next_slot: service.meter().gauge(&metric::SCHEDULER_NEXT_SLOT)?,
            available: service.meter().gauge(&metric::SCHEDULER_POLICY_AVAILABLE)?,
            admissions: service.meter().counter(&metric::SCHEDULER_ADMISSIONS)?,
            slots: service.meter().counter(&metric::SCHEDULER_SLOTS)?,
            failures: service.meter().counter(&metric::BACKUP_FAILURES)?,
        })
    }

    pub(crate) fn policy(&self, policy: &BackupPolicy, status: &BackupPolicyStatus) {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        let labels = &[namespace.as_str(), name.as_str()];
        let available = status.phase == Some(BackupPolicyPhase::Available);
        self.available
            .with_label_values(labels)
            .set(f64::from(u8::from(available)));
        if let Some(time) = &status.last_successful_time {
            self.last_success.with_label_values(labels).set(seconds(time.0));
        }
        if let Some(time) = &status.last_schedule_time {
            self.last_slot.with_label_values(labels).set(seconds(time.0));
        }
    }

    pub(crate) fn next_slot(&self, policy: &BackupPolicy, next: Option<Timestamp>) {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        match next {
            Some(next) => self
                .next_slot
                .with_label_values(&[&namespace, &name])
                .set(seconds(next)),
            // One that was never set cannot be removed.
            None => drop(self.next_slot.remove_label_values(&[&namespace, &name])),
        }
    }

    pub(crate) fn slots(&self, policy: &BackupPolicy, outcome: &str, count: u32) {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        self.slots
            .with_label_values(&[namespace.as_str(), name.as_str(), outcome])
            .inc_by(count.into());
    }

    pub(crate) fn admission(&self, reason: Reason) {
        self.admissions.with_label_values(&[reason.as_str()]).inc();
    }

    /// A Backup that was turned away; `policy` is empty where there is none of its name.
    pub(crate) fn failure(&self, namespace: &str, policy: &str, reason: Reason) {
        self.failures
            .with_label_values(&[namespace, policy, reason.as_str()])
            .inc();
    }

    /// A policy that is gone is no longer measured.
    pub(crate) fn forget(&self, policy: &BackupPolicy) {
        let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
        let labels = [("namespace", namespace.as_str()), ("policy", name.as_str())];
        for gauge in [&self.last_success, &self.last_slot, &self.next_slot, &self.available] {
            metrics::forget(gauge, &labels);
        }
        metrics::forget(&self.slots, &labels);
        metrics::forget(&self.failures, &labels);
    }
}

/// Timestamps in metrics are seconds; whole ones are exact in a float until the year 285 million.
#[allow(clippy::cast_precision_loss)]
fn seconds(time: Timestamp) -> f64 {
    time.as_second() as f64
}
