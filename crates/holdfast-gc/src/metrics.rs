//! What gc measures.

use holdfast_api::metric;
use holdfast_runtime::{
    Service,
    metrics::{Error, GaugeVec, HistogramVec, IntCounterVec},
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
            deleted: service.meter().counter(&metric::GC_DELETED)?,
            purged: service.meter().counter(&metric::GC_PURGED)?,
            freed: service.meter().counter(&metric::GC_FREED)?,
            purge_failures: service.meter().counter(&metric::GC_PURGE_FAILURES)?,
            purge_seconds: service.meter().histogram(&metric::GC_PURGE_DURATION)?,
            blocked: service.meter().gauge(&metric::GC_BLOCKED)?,
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
