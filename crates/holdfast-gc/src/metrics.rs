//! What gc measures.

use holdfast_api::condition::Reason;
use holdfast_runtime::{
    Service,
    metrics::{self, Error, HistogramVec, IntCounterVec, SLOW_SECONDS},
};

/// gc's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    retired: IntCounterVec,
    released: IntCounterVec,
    purged: IntCounterVec,
    purge_failures: IntCounterVec,
    purge_seconds: HistogramVec,
}

const NONE: &[&str] = &[];

impl Metrics {
    pub(crate) fn register(service: &Service) -> Result<Self, Error> {
        Ok(Self {
            retired: metrics::counter(
                service,
                "retired_total",
                "Backups that retention deleted, by reason.",
                &["reason"],
            )?,
            released: metrics::counter(service, "released_total", "Deleted Backups that were let go.", NONE)?,
            purged: metrics::counter(service, "purged_total", "Backups whose files were removed.", NONE)?,
            purge_failures: metrics::counter(service, "purge_failures_total", "Removals of files that failed.", NONE)?,
            purge_seconds: metrics::histogram(service, "purge_seconds", "Duration of removals.", NONE, SLOW_SECONDS)?,
        })
    }

    pub(crate) fn retired(&self, reason: Reason) {
        self.retired.with_label_values(&[reason.as_str()]).inc();
    }

    pub(crate) fn released(&self) {
        self.released.with_label_values(NONE).inc();
    }

    pub(crate) fn purged(&self, count: usize, seconds: Option<f64>) {
        self.purged
            .with_label_values(NONE)
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        if let Some(seconds) = seconds {
            self.purge_seconds.with_label_values(NONE).observe(seconds.max(0.0));
        }
    }

    pub(crate) fn purge_failed(&self) {
        self.purge_failures.with_label_values(NONE).inc();
    }
}
