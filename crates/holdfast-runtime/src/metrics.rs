//! Metrics named `holdfast_<service>_<noun>_<unit>` in the registry of the service.
//!
//! All are declared in [`holdfast_api::metric`]; here they become counters, gauges and histograms.

use std::collections::HashMap;

use holdfast_api::metric::{self, Metric, MetricType};
pub use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};
use prometheus::{
    HistogramOpts, Opts,
    core::{Collector, MetricVec, MetricVecBuilder},
    proto::MetricFamily,
};

/// Takes away every series that has these labels: what it was about is gone.
pub fn forget<B: MetricVecBuilder>(series: &MetricVec<B>, labels: &[(&str, &str)]) {
    let families = series.collect();
    for metric in families.iter().flat_map(MetricFamily::get_metric) {
        let pairs = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
        let all: HashMap<&str, &str> = pairs.collect();
        if labels.iter().all(|(name, value)| all.get(name) == Some(value)) {
            // Somebody else may have taken it away meanwhile.
            let _ = series.remove(&all);
        }
    }
}

/// Makes metrics of one service.
#[derive(Clone, Debug)]
pub struct Meter {
    registry: Registry,
    service: String,
}

impl Meter {
    /// Metrics of the service `name` (such as `repo-manager`) in `registry`.
    pub fn new(name: &str, registry: Registry) -> Self {
        Self {
            registry,
            service: name.to_owned(),
        }
    }

    /// Registers a counter of the service.
    ///
    /// # Errors
    /// If it is not a counter, not the service's, or registered already.
    pub fn counter(&self, metric: &Metric) -> Result<IntCounterVec, Error> {
        let options = self.options(metric, metric.kind == MetricType::Counter)?;
        self.register(IntCounterVec::new(options, metric.labels)?)
    }

    /// As [`Meter::counter`], for a gauge.
    ///
    /// # Errors
    /// As for [`Meter::counter`].
    pub fn gauge(&self, metric: &Metric) -> Result<GaugeVec, Error> {
        let options = self.options(metric, metric.kind == MetricType::Gauge)?;
        self.register(GaugeVec::new(options, metric.labels)?)
    }

    /// As [`Meter::counter`], for a histogram.
    ///
    /// # Errors
    /// As for [`Meter::counter`].
    pub fn histogram(&self, metric: &Metric) -> Result<HistogramVec, Error> {
        let (bounds, fits) = match metric.kind {
            MetricType::Histogram(bounds) => (bounds.seconds(), true),
            MetricType::Counter | MetricType::Gauge => (&[][..], false),
        };
        let options = HistogramOpts::from(self.options(metric, fits)?).buckets(bounds.to_vec());
        self.register(HistogramVec::new(options, metric.labels)?)
    }

    fn options(&self, metric: &Metric, fits: bool) -> Result<Opts, Error> {
        let name = metric.name;
        if !fits {
            return Err(Error::Msg(format!("{name} is a {}", metric.kind.as_str())));
        }
        if !metric.services.iter().any(|service| service.as_str() == self.service) {
            return Err(Error::Msg(format!("{name} is no metric of {}", self.service)));
        }
        let prefix = self.service.replace('-', "_");
        Ok(Opts::new(format!("holdfast_{prefix}_{name}"), metric.help))
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
            watch_objects: meter.gauge(&metric::WATCH_OBJECTS)?,
            watch_events: meter.counter(&metric::WATCH_EVENTS)?,
            watch_errors: meter.counter(&metric::WATCH_ERRORS)?,
            watch_malformed: meter.counter(&metric::WATCH_MALFORMED)?,
            queue_depth: meter.gauge(&metric::QUEUE_DEPTH)?,
            queue_running: meter.gauge(&metric::QUEUE_RUNNING)?,
            queue_wait: meter.histogram(&metric::QUEUE_WAIT)?,
            runs: meter.counter(&metric::RUNS)?,
            failures: meter.counter(&metric::FAILURES)?,
            run_seconds: meter.histogram(&metric::RUN_DURATION)?,
            leading: meter.gauge(&metric::LEADING)?,
        })
    }
}
