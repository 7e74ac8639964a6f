//! What gc measures.

use holdfast_runtime::{
    Service,
    metrics::{self, Error, GaugeVec, HistogramVec, IntCounterVec, SLOW_SECONDS},
};

/// gc's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    deleted: IntCounterVec,
    purged: IntCounterVec,
    freed: IntCounterVec,
    purge_failures: IntCounterVec,
    purge_seconds: HistogramVec,
    blocked: GaugeVec,
}

const NONE: &[&str] = &[];

impl Metrics {
    pub(crate) fn register(service: &Service) -> Result<Self, Error> {
        Ok(Self {
            deleted: metrics::counter(
                service,
                "deleted_total",
                "Backups that were let go, by what deleted them: expired, history-limit or user.",
                &["reason"],
            )?,
            purged: metrics::counter(service, "purged_total", "Backups whose files were removed.", NONE)?,
            freed: metrics::counter(
                service,
                "freed_bytes_total",
                "Sizes of the files that purge jobs removed, also those that failed, as their agents told.",
                NONE,
            )?,
            purge_failures: metrics::counter(service, "purge_failures_total", "Purge jobs that failed.", NONE)?,
            purge_seconds: metrics::histogram(
                service,
                "purge_seconds",
                "Duration of purge jobs that removed everything.",
                NONE,
                SLOW_SECONDS,
            )?,
            blocked: metrics::gauge(
                service,
                "blocked_backups",
                "Deleted Backups that wait for increments that stay.",
                NONE,
            )?,
        })
    }

    pub(crate) fn deleted(&self, reason: &str) {
        self.deleted.with_label_values(&[reason]).inc();
    }

    pub(crate) fn purged(&self, count: usize, seconds: Option<f64>) {
        self.purged
            .with_label_values(NONE)
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        if let Some(seconds) = seconds {
            self.purge_seconds.with_label_values(NONE).observe(seconds.max(0.0));
        }
    }

    pub(crate) fn freed(&self, bytes: u64) {
        self.freed.with_label_values(NONE).inc_by(bytes);
    }

    pub(crate) fn purge_failed(&self) {
        self.purge_failures.with_label_values(NONE).inc();
    }

    pub(crate) fn blocked(&self, count: usize) {
        self.blocked
            .with_label_values(NONE)
            .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
}
