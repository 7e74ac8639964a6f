//! What the bus does for a service in tasks of that service: declaring the stream, and waking queues.

use holdfast_api::event::BusEventKind;

use super::{Bus, stream, wake};
use crate::{Leader, Queue, Service};

impl Bus {
    /// Declares the stream at each connection, creating it or changing it in place. Only the scheduler may.
    pub fn declare(&self, service: &Service) {
        if let Some(link) = self.link.clone() {
            let shutdown = service.shutdown.clone();
            service.spawn("bus stream", async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = stream::keep_declared(link) => {}
                }
            });
        }
    }

    /// Pushes onto `queue` the key of each object that messages of these kinds name, through the durable consumer of
    /// this name (the service's own).
    pub fn wake(&self, service: &Service, consumer: &'static str, kinds: &[BusEventKind], queue: &Queue) {
        self.wake_if(service, consumer, kinds, queue, None);
    }

    /// [`Bus::wake`], but only while this process leads: a durable consumer shares its messages among all who take from it,
    /// and a follower would take what the leader should hear.
    pub fn wake_leader(
        &self,
        service: &Service,
        consumer: &'static str,
        kinds: &[BusEventKind],
        queue: &Queue,
        leader: &Leader,
    ) {
        self.wake_if(service, consumer, kinds, queue, Some(leader.clone()));
    }

    fn wake_if(
        &self,
        service: &Service,
        consumer: &'static str,
        kinds: &[BusEventKind],
        queue: &Queue,
        leader: Option<Leader>,
    ) {
        let Some(link) = self.link.clone() else { return };
        let waker = wake::Waker {
            link,
            consumer,
            filters: kinds.iter().map(|kind| kind.filter()).collect(),
            queue: queue.clone(),
            leader,
            metrics: self.metrics.clone(),
        };
        let shutdown = service.shutdown.clone();
        service.spawn("bus consumer", async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = waker.run() => {}
            }
        });
    }
}
