//! Kubernetes Events: what users see in `kubectl describe`. Losing one is never an error of the caller.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use holdfast_api::text::printable;
use holdfast_kube::{WriteError, create, patch};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, Resource};
use prometheus::IntCounterVec;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Limit of the API for a note, in bytes.
const NOTE: usize = 1024;
/// Limit of the API for reason, action and reporting instance, in bytes.
const WORD: usize = 128;
/// Limit of the API for the name of an event.
const NAME: usize = 253;
/// Events that wait to be sent; more are dropped and counted.
const WAITING: usize = 256;
/// How long a caller may be held up when the API server is slow.
const PATIENCE: Duration = Duration::from_millis(500);
/// Equal events within this time become one with a count, as `kubectl` shows it.
const SERIES: SignedDuration = SignedDuration::from_mins(6);
/// How many different events are remembered to be counted.
const REMEMBERED: usize = 4096;

/// Reports what happened to an object.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Report>,
    lost: IntCounterVec,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct What {
    uid: String,
    name: String,
    warning: bool,
    reason: String,
    note: String,
}

#[derive(Debug)]
struct Report {
    what: What,
    about: ObjectReference,
    /// One event for this version of the object, whoever reports it first.
    once: bool,
    time: Timestamp,
}

impl Events {
    /// Events that nobody sends, for tests of code that reports.
    pub fn disconnected(lost: IntCounterVec) -> Self {
        Self {
            sender: mpsc::channel(1).0,
            lost,
        }
    }

    /// Events and the sender that posts them.
    pub(crate) fn new(client: Client, reporter: Reporter, lost: IntCounterVec) -> (Self, Sender) {
        let (sender, reports) = mpsc::channel(WAITING);
        let events = Self {
            sender,
            lost: lost.clone(),
        };
        (
            events,
            Sender {
                client,
                reporter,
                reports,
                lost,
                series: HashMap::new(),
            },
        )
    }

    /// Reports `reason` (one word in CamelCase) and `note` (cut at 1024 bytes) about an object. Equal reports within six
    /// minutes are counted in one event.
    pub async fn publish<K>(&self, about: &K, warning: bool, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.report(about.object_ref(&()), false, warning, reason, note).await;
    }

    /// Warns about this version of an object, one time for all services and replicas that notice it.
    pub(crate) async fn publish_once(&self, about: ObjectReference, reason: &str, note: &str) {
        self.report(about, true, true, reason, note).await;
    }

    async fn report(&self, about: ObjectReference, once: bool, warning: bool, reason: &str, note: &str) {
        let what = What {
            uid: about.uid.clone().unwrap_or_default(),
            name: about.name.clone().unwrap_or_default(),
            warning,
            reason: cut(reason, WORD),
            note: cut(&printable(note), NOTE),
        };
        tracing::info!(
            reason = what.reason,
            note = what.note,
            warning,
            kind = about.kind.as_deref().unwrap_or(""),
            namespace = about.namespace.as_deref().unwrap_or(""),
            name = what.name,
            "event"
        );
        let report = Report {
            what,
            about,
            once,
            time: clock::now(),
        };
        if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, self.sender.send(report)).await {
            return;
        }
        self.lost.with_label_values(&["crowded"]).inc();
    }
}

/// Who reports.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    pub(crate) controller: String,
    pub(crate) instance: String,
}

/// Posts reports, one after the other.
pub(crate) struct Sender {
    client: Client,
    reporter: Reporter,
    reports: mpsc::Receiver<Report>,
    lost: IntCounterVec,
    series: HashMap<What, Series>,
}

#[derive(Debug)]
struct Series {
    /// The event as it was written last, which guards the next count.
    written: ObjectMeta,
    count: i32,
    last: Timestamp,
}

impl Series {
    /// Counts one more in the event.
    async fn count(&mut self, api: &Api<Event>, time: Timestamp) -> Result<(), WriteError> {
        self.count = self.count.saturating_add(1);
        self.last = time;
        let series = EventSeries {
            count: self.count,
            last_observed_time: MicroTime(time),
        };
        let before = Event {
            metadata: self.written.clone(),
            ..Event::default()
        };
        self.written = guard_of(patch(api, &before, json!({ "series": series })).await?);
        Ok(())
    }
}

/// What guards a write onto an event, and no more: thousands are remembered.
fn guard_of(event: Event) -> ObjectMeta {
    ObjectMeta {
        name: event.metadata.name,
        uid: event.metadata.uid,
        resource_version: event.metadata.resource_version,
        ..ObjectMeta::default()
    }
}

impl Sender {
    /// Sends until `stop`, then what still waits.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let report = tokio::select! {
                biased;
                report = self.reports.recv() => report,
                () = stop.cancelled() => break,
            };
            let Some(report) = report else { break };
            self.send(report).await;
        }
        while let Ok(report) = self.reports.try_recv() {
            self.send(report).await;
        }
    }

    async fn send(&mut self, report: Report) {
        let namespace = report.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        self.series
            .retain(|_, series| report.time.duration_since(series.last) < SERIES);
        if self.series.len() >= REMEMBERED {
            self.series.clear();
        }
        let sent = match self.series.entry(report.what.clone()) {
            Entry::Occupied(mut known) => {
                let counted = known.get_mut().count(&api, report.time).await;
                if counted.is_err() {
                    // The event may have expired: the next one begins anew.
                    known.remove();
                }
                counted
            }
            Entry::Vacant(new) => match create(&api, &event(&self.reporter, &report, &namespace)).await {
                Ok(event) => {
                    new.insert(Series {
                        written: guard_of(event),
                        count: 1,
                        last: report.time,
                    });
                    Ok(())
                }
                // Another service was faster, and what it wrote is its own to count.
                Err(WriteError::Exists) if report.once => Ok(()),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = sent {
            self.lost.with_label_values(&["refused"]).inc();
            tracing::warn!(%error, namespace, reason = report.what.reason, "event was not recorded");
        }
    }
}

fn event(reporter: &Reporter, report: &Report, namespace: &str) -> Event {
    let version = report.about.resource_version.as_deref().unwrap_or_default();
    let suffix = if report.once {
        format!("v{version}")
    } else {
        format!("{:x}", report.time.as_nanosecond())
    };
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(&report.what.name, &suffix)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some(report.what.reason.clone()),
        event_time: Some(MicroTime(report.time)),
        note: Some(report.what.note.clone()),
        reason: Some(report.what.reason.clone()),
        regarding: Some(report.about.clone()),
        reporting_controller: Some(reporter.controller.clone()),
        reporting_instance: Some(cut(&reporter.instance, WORD)),
        type_: Some(if report.what.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

/// `<object>.<suffix>`, with the object's name cut where both would be longer than a name may be.
fn event_name(object: &str, suffix: &str) -> String {
    let mut object = object;
    if let Some((cut, _)) = object.char_indices().nth(NAME - suffix.len() - 1) {
        object = object.get(..cut).unwrap_or(object).trim_end_matches(['.', '-']);
    }
    format!("{object}.{suffix}")
}

/// At most `limit` bytes of `text`, marked where it was cut.
fn cut(text: &str, limit: usize) -> String {
    const MARK: &str = "...";
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit - MARK.len());
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        let note = cut(&"ü".repeat(600), NOTE);
        assert!(note.len() <= NOTE && note.ends_with("ü..."), "{}", note.len());
        assert_eq!(cut("short", NOTE), "short");
    }

    #[test]
    fn event_names_fit_however_long_the_object_is_called() {
        let time = "18fae27693b40000";
        let name = event_name(&format!("{}.{}", "a".repeat(236), "b".repeat(16)), time);
        assert!(name.len() <= NAME && !name.contains(".."), "{name}");
        assert!(event_name("short", time).starts_with("short."));
    }
}
