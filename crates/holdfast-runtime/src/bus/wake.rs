//! A durable consumer whose messages wake a queue.

use std::time::Duration;

use async_nats::jetstream::{
    AckKind, Context,
    consumer::{AckPolicy, DeliverPolicy, pull},
    message::Message,
};
use futures::StreamExt as _;

use super::{BusMetrics, Link, STREAM, envelope};
use crate::{Leader, Queue, watch::Key};

/// How long a pull waits at the server, and how often the server shows that it is there.
const PULL: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A message not acknowledged after this comes again.
const ACK: Duration = Duration::from_secs(30);
/// A consumer that nobody uses for this long is forgotten by the server.
const FORGOTTEN: Duration = Duration::from_hours(7 * 24);

pub(super) struct Waker {
    pub(super) link: Link,
    pub(super) consumer: &'static str,
    pub(super) filters: Vec<String>,
    pub(super) queue: Queue,
    pub(super) leader: Option<Leader>,
    pub(super) metrics: BusMetrics,
}

impl Waker {
    pub(super) async fn run(mut self) {
        let mut pauses = super::back_off();
        loop {
            if let Some(leader) = &mut self.leader {
                leader.elected().await;
            }
            let (context, number) = self.link.up().await;
            let mut heard = false;
            let ended = {
                let mut link = self.link.clone();
                tokio::select! {
                    result = self.consume(&context, &mut heard) => result,
                    // Waiting for missed heartbeats would take longer than to begin anew.
                    () = link.over(number) => Ok(()),
                    () = deposed(self.leader.clone()) => Ok(()),
                }
            };
            if heard {
                pauses = super::back_off();
            }
            if let Err(error) = ended {
                self.metrics.consumer_errors.with_label_values(&[self.consumer]).inc();
                tracing::warn!(consumer = self.consumer, %error, "messages interrupted, beginning anew");
                if let Some(pause) = pauses.next() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn consume(&self, context: &Context, heard: &mut bool) -> Result<(), async_nats::Error> {
        let consumer = context.create_consumer_on_stream(self.config(), STREAM).await?;
        let mut messages = consumer.stream().expires(PULL).heartbeat(HEARTBEAT).messages().await?;
        while let Some(message) = messages.next().await {
            let delivery = Delivery::new(message?);
            *heard = true;
            match delivery.key() {
                Ok(key) => {
                    self.queue.push(key);
                    self.metrics.woken.with_label_values(&[self.consumer]).inc();
                    delivery.settle(AckKind::Ack).await?;
                }
                Err(error) => {
                    tracing::warn!(
                        consumer = self.consumer,
                        error,
                        "a message that cannot be read is ignored"
                    );
                    delivery.settle(AckKind::Term).await?;
                }
            }
        }
        Ok(())
    }

    fn config(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(self.consumer.to_owned()),
            description: Some("Wakes a service of Holdfast.".to_owned()),
            // A service looks at all its objects when it starts: an older message is of no use to it.
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK,
            filter_subjects: self.filters.clone(),
            inactive_threshold: FORGOTTEN,
            ..pull::Config::default()
        }
    }
}

/// Returns when this process leads no more; never without an election.
async fn deposed(leader: Option<Leader>) {
    let Some(mut leader) = leader else {
        return std::future::pending().await;
    };
    while leader.leads() {
        leader.changed().await;
    }
}

/// A message that must be answered: dropped without an answer it goes back and comes again.
struct Delivery {
    message: Option<Message>,
}

impl Delivery {
    fn new(message: Message) -> Self {
        Self { message: Some(message) }
    }

    fn key(&self) -> Result<Key, String> {
        self.message
            .as_ref()
            .map_or_else(|| Err("settled".to_owned()), |message| envelope::key(&message.payload))
    }

    async fn settle(mut self, kind: AckKind) -> Result<(), async_nats::Error> {
        let Some(message) = &self.message else { return Ok(()) };
        message.ack_with(kind).await?;
        self.message = None;
        Ok(())
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let (Some(message), Ok(runtime)) = (self.message.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            // Unanswered it would come again as well, only later.
            if let Err(error) = message.ack_with(AckKind::Nak(Some(Duration::from_secs(1)))).await {
                tracing::debug!(%error, "message not handed back");
            }
        });
    }
}
