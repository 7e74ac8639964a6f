//! Metrics named `holdfast_<service>_<noun>_<unit>` in the registry of the service.
//!
//! Labels never carry object names except those of policies, repositories and namespaces.

pub use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};
use prometheus::{HistogramOpts, Opts, core::Collector};

use crate::Service;

/// Bounds for durations of reconciling and requests, in seconds.
pub const FAST_SECONDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0];
/// Bounds for durations of backups and restores, in seconds.
pub const SLOW_SECONDS: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

/// Registers a counter `holdfast_<service>_<name>`; the name ends in `_total`.
///
/// # Errors
///
/// A metric of this name is registered already, or the name or a label is not one that Prometheus takes.
pub fn counter(service: &Service, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
    service.meter().counter(name, help, labels)
}

/// Registers a gauge `holdfast_<service>_<name>`; the name ends in its unit.
///
/// # Errors
///
/// A metric of this name is registered already, or the name or a label is not one that Prometheus takes.
pub fn gauge(service: &Service, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, Error> {
    service.meter().gauge(name, help, labels)
}

/// Registers a histogram `holdfast_<service>_<name>`; the name ends in its unit, and so do the bounds.
///
/// # Errors
///
/// A metric of this name is registered already, or the name or a label is not one that Prometheus takes.
pub fn histogram(
    service: &Service,
    name: &str,
    help: &str,
    labels: &[&str],
    bounds: &[f64],
) -> Result<HistogramVec, Error> {
    service.meter().histogram(name, help, labels, bounds)
}

/// Makes metrics of one service.
#[derive(Clone, Debug)]
pub struct Meter {
    registry: Registry,
    prefix: String,
}

impl Meter {
    /// Metrics of the service `name` (such as `repo-manager`) in `registry`.
    pub fn new(name: &str, registry: Registry) -> Self {
        Self {
            registry,
            prefix: format!("holdfast_{}", name.replace('-', "_")),
        }
    }

    /// See [`counter`].
    ///
    /// # Errors
    ///
    /// As [`counter`].
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.register(IntCounterVec::new(Opts::new(self.name(name), help), labels)?)
    }

    /// See [`gauge`].
    ///
    /// # Errors
    ///
    /// As [`gauge`].
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, Error> {
        self.register(GaugeVec::new(Opts::new(self.name(name), help), labels)?)
    }

    /// See [`histogram`].
    ///
    /// # Errors
    ///
    /// As [`histogram`].
    pub fn histogram(&self, name: &str, help: &str, labels: &[&str], bounds: &[f64]) -> Result<HistogramVec, Error> {
        let options = HistogramOpts::new(self.name(name), help).buckets(bounds.to_vec());
        self.register(HistogramVec::new(options, labels)?)
    }

    fn name(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    fn register<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, Error> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// What the runtime itself measures.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeMetrics {
    pub(crate) watch_objects: GaugeVec,
    pub(crate) watch_events: IntCounterVec,
    pub(crate) watch_errors: IntCounterVec,
    pub(crate) watch_malformed: IntCounterVec,
    pub(crate) queue_depth: GaugeVec,
    pub(crate) queue_running: GaugeVec,
    pub(crate) queue_wait: HistogramVec,
    pub(crate) runs: IntCounterVec,
    pub(crate) failures: IntCounterVec,
    pub(crate) run_seconds: HistogramVec,
    pub(crate) leading: GaugeVec,
}

impl RuntimeMetrics {
    pub(crate) fn new(meter: &Meter) -> Result<Self, Error> {
        Ok(Self {
            watch_objects: meter.gauge("watch_objects", "Objects held by a watch.", &["watch"])?,
            watch_events: meter.counter("watch_events_total", "Changes seen by a watch.", &["watch"])?,
            watch_errors: meter.counter(
                "watch_errors_total",
                "Times that a watch broke and began anew.",
                &["watch"],
            )?,
            watch_malformed: meter.counter(
                "watch_malformed_total",
                "Objects left out because they could not be read.",
                &["watch"],
            )?,
            queue_depth: meter.gauge("queue_depth_objects", "Objects that wait for a run.", &["queue"])?,
            queue_running: meter.gauge("queue_running_objects", "Objects that are being run.", &["queue"])?,
            queue_wait: meter.histogram(
                "queue_wait_seconds",
                "Time from being due to being run.",
                &["queue"],
                FAST_SECONDS,
            )?,
            runs: meter.counter("runs_total", "Runs that finished.", &["queue"])?,
            failures: meter.counter(
                "failures_total",
                "Runs that failed, by category.",
                &["queue", "category"],
            )?,
            run_seconds: meter.histogram("run_seconds", "Duration of runs.", &["queue"], FAST_SECONDS)?,
            leading: meter.gauge("leading_leases", "1 while this process holds the lease.", &["lease"])?,
        })
    }
}
