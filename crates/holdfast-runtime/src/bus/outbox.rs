//! Event messages on the way out: a bounded buffer and the task that empties it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use async_nats::{HeaderMap, jetstream};
use holdfast_api::event::BusEvent;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{ANSWER, BusMetrics, Link};
use crate::clock;

/// Messages that wait while the bus is away.
const CAPACITY: usize = 1024;
/// Attempts for one message before it is dropped, so that one that is refused does not hold up the others.
const ATTEMPTS: usize = 3;

/// Messages that wait to be sent, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    waiting: Arc<Mutex<VecDeque<BusEvent>>>,
    filled: Arc<Notify>,
}

impl Outbox {
    /// Adds a message; answers whether the oldest had to be dropped for it.
    pub(super) fn push(&self, event: BusEvent) -> bool {
        let crowded = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let crowded = waiting.len() >= CAPACITY;
            if crowded {
                waiting.pop_front();
            }
            waiting.push_back(event);
            crowded
        };
        self.filled.notify_one();
        crowded
    }

    fn pop(&self) -> Option<BusEvent> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    async fn next(&self) -> BusEvent {
        loop {
            if let Some(event) = self.pop() {
                return event;
            }
            self.filled.notified().await;
        }
    }
}

/// Sends what is in the outbox, one after the other.
#[derive(Debug)]
pub(crate) struct Sender {
    service: &'static str,
    link: Link,
    outbox: Outbox,
    metrics: BusMetrics,
}

impl Sender {
    pub(super) fn new(service: &'static str, link: Link, outbox: Outbox, metrics: BusMetrics) -> Self {
        Self {
            service,
            link,
            outbox,
            metrics,
        }
    }

    /// Sends until `stop`, then what still waits, if the bus is there.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                event = self.outbox.next() => event,
            };
            let sending = self.send(&event);
            tokio::select! {
                () = sending => {}
                // What is being sent when the service ends gets the time of one answer.
                () = async { stop.cancelled().await; tokio::time::sleep(ANSWER).await } => {}
            }
        }
        while let Some(event) = self.outbox.pop() {
            if tokio::time::timeout(ANSWER, self.send(&event)).await.is_err() {
                break;
            }
        }
    }

    async fn send(&mut self, event: &BusEvent) {
        let mut pauses = super::back_off();
        for _ in 0..ATTEMPTS {
            let (context, _) = self.link.up().await;
            match self.publish(&context, event).await {
                Ok(()) => {
                    self.metrics.published.with_label_values(&[event.kind.verb()]).inc();
                    return;
                }
                Err(error) => tracing::debug!(%error, subject = event.subject(), "event message not taken"),
            }
            if let Some(pause) = pauses.next() {
                tokio::time::sleep(pause).await;
            }
        }
        self.metrics.dropped.with_label_values(&["refused"]).inc();
        tracing::warn!(
            subject = event.subject(),
            "event message dropped: the bus does not take it"
        );
    }

    async fn publish(&self, context: &jetstream::Context, event: &BusEvent) -> Result<(), async_nats::Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", event.id().as_str());
        headers.insert("Content-Type", "application/cloudevents+json");
        if let Some(traceparent) = &event.traceparent {
            headers.insert("traceparent", traceparent.as_str());
        }
        let payload = event.payload(self.service, clock::now()).to_string();
        let taken = async {
            context
                .publish_with_headers(event.subject(), headers, payload.into())
                .await?
                .await
        };
        tokio::time::timeout(ANSWER, taken).await??;
        Ok(())
    }
}
