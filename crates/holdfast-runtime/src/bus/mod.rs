//! Event messages between services, over NATS JetStream. They only make things sooner: losing one, or the whole bus, or
//! getting one twice costs latency and never a backup, so nothing here fails or blocks a caller.

mod envelope;
mod link;
mod outbox;
pub mod permissions;
mod stream;
mod tasks;
mod wake;

use std::time::Duration;

use holdfast_api::{event::BusEvent, metric};
use prometheus::{GaugeVec, IntCounterVec};

use crate::{CommonArgs, metrics::Meter};
use link::Link;
use outbox::Outbox;
pub(crate) use outbox::Sender;

/// Name of the stream that keeps the messages for a day.
pub const STREAM: &str = "HOLDFAST_NEWS";
/// How long an answer of the server may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The bus as one service sees it. Clones are the same bus. Without an address it swallows what it is given.
#[derive(Clone, Debug)]
pub struct Bus {
    link: Option<Link>,
    outbox: Outbox,
    metrics: BusMetrics,
}

/// What is counted about the bus.
#[derive(Clone, Debug)]
struct BusMetrics {
    connected: GaugeVec,
    published: IntCounterVec,
    dropped: IntCounterVec,
    woken: IntCounterVec,
    consumer_errors: IntCounterVec,
}

impl Bus {
    /// Connects in the background and for ever again; answers the bus and what sends its messages.
    pub(crate) fn connect(
        service: &'static str,
        args: &CommonArgs,
        meter: &Meter,
    ) -> anyhow::Result<(Self, Option<Sender>)> {
        let metrics = BusMetrics {
            connected: meter.gauge(&metric::BUS_CONNECTED)?,
            published: meter.counter(&metric::BUS_PUBLISHED)?,
            dropped: meter.counter(&metric::BUS_DROPPED)?,
            woken: meter.counter(&metric::BUS_WOKEN)?,
            consumer_errors: meter.counter(&metric::BUS_CONSUMER_ERRORS)?,
        };
        metrics.connected.with_label_values::<&str>(&[]).set(0.0);
        let outbox = Outbox::default();
        let link = Link::connect(service, args, metrics.connected.with_label_values::<&str>(&[]));
        let sender = link
            .clone()
            .map(|link| Sender::new(service, link, outbox.clone(), metrics.clone()));
        Ok((Self { link, outbox, metrics }, sender))
    }

    /// Whether an address was given.
    pub fn enabled(&self) -> bool {
        self.link.is_some()
    }

    /// Hands over a message. Returns at once; while the bus is away the newest 1024 are kept, older ones dropped and
    /// counted.
    pub fn publish(&self, event: BusEvent) {
        if self.enabled() && self.outbox.push(event) {
            self.metrics.dropped.with_label_values(&["crowded"]).inc();
        }
    }
}

/// Shared by parts of the bus that try again.
fn back_off() -> impl Iterator<Item = Duration> {
    use backon::BackoffBuilder as _;
    backon::ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(15))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// What the parts need of a service's name, kept in one place: its inboxes, which nobody else may read.
fn inbox(service: &str) -> String {
    format!("_INBOX.{service}")
}
