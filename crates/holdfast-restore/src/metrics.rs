//! What the restore service measures.

use std::sync::Arc;

use holdfast_api::{
    RestoreJob, RestoreJobPhase, RestoreJobStatus,
    condition::{self, ConditionType},
    metric,
};
use holdfast_runtime::{
    Service, clock,
    metrics::{Error, GaugeVec, HistogramVec, IntCounterVec},
};

/// The restore service's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    jobs: GaugeVec,
    ended: IntCounterVec,
    steps: HistogramVec,
}

impl Metrics {
    pub(crate) fn register(service: &Service) -> Result<Self, Error> {
        Ok(Self {
            jobs: service.meter().gauge(&metric::RESTORE_JOBS)?,
            ended: service.meter().counter(&metric::RESTORE_ENDED)?,
            steps: service.meter().histogram(&metric::RESTORE_STEPS)?,
        })
    }

    /// Counts by phase.
    pub(crate) fn phases(&self, all: &[Arc<RestoreJob>]) {
        for phase in [
            RestoreJobPhase::New,
            RestoreJobPhase::InProgressPhy,
            RestoreJobPhase::Completed,
            RestoreJobPhase::Failed,
        ] {
            let count = all.iter().filter(|one| one.phase() == phase).count();
            self.jobs
                .with_label_values(&[phase.as_str()])
                .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
    }

    /// Notes that a restore went on: how long the step took that is over, and how it ended if it did.
    pub(crate) fn moved(&self, before: &RestoreJob, after: &RestoreJobStatus) {
        let reason = |status: &RestoreJobStatus| status.waiting.as_ref().map(|waiting| waiting.reason.clone());
        let was = before.status.as_ref().and_then(reason);
        if let Some(step) = was.filter(|was| reason(after).is_none_or(|now| now != *was)) {
            let since = before
                .status
                .as_ref()
                .and_then(|status| status.start_timestamp.as_ref())
                .map(|time| time.0);
            if let Some(since) = since {
                self.steps
                    .with_label_values(&[&step])
                    .observe(clock::now().duration_since(since).as_secs_f64().max(0.0));
            }
        }
        let outcome = match after.phase {
            Some(RestoreJobPhase::Completed) => "completed",
            Some(RestoreJobPhase::Failed) => "failed",
            Some(RestoreJobPhase::New | RestoreJobPhase::InProgressPhy | RestoreJobPhase::InProgressLogic) | None => {
                return;
            }
        };
        let ready = condition::find(&after.conditions, ConditionType::Ready);
        let word = ready.map_or("", |condition| condition.reason.as_str());
        self.ended.with_label_values(&[outcome, word]).inc();
    }
}
