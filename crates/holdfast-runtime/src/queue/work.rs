//! Runs a handler for the keys of a queue.

use std::{fmt::Display, future::Future, time::Duration};

use tokio::{task::JoinSet, time::Instant};
use tracing::Instrument as _;

use super::{Next, Queue};
use crate::{Category, Retry, Service, metrics::RuntimeMetrics, watch::Key};

/// How often the depth of the queue is measured while all workers are busy.
const MEASURE: Duration = Duration::from_secs(5);

/// Runs `handler` for the keys of `queue`, at most `concurrency` at a time and never one key twice at once, until the
/// service stops and what runs has ended. Errors back off per key as their [`Retry`] says, a panic like a transient one.
pub async fn work<F, Fut, E>(service: &Service, queue: Queue, concurrency: usize, handler: F)
where
    F: Fn(Key) -> Fut,
    Fut: Future<Output = Result<Next, E>> + Send + 'static,
    E: Category + Send + 'static,
{
    let metrics = service.runtime_metrics().clone();
    let waiting = metrics.queue_depth.with_label_values(&[queue.name]);
    let measure = || waiting.set(depth(queue.depth()));
    let mut runs: JoinSet<()> = JoinSet::new();
    loop {
        while runs.len() >= concurrency.max(1) {
            tokio::select! {
                _ = runs.join_next() => {}
                () = tokio::time::sleep(MEASURE) => measure(),
            }
        }
        measure();
        let (key, waited) = tokio::select! {
            biased;
            () = service.shutdown.cancelled() => break,
            taken = queue.take() => taken,
            Some(_) = runs.join_next(), if !runs.is_empty() => continue,
        };
        metrics
            .queue_wait
            .with_label_values(&[queue.name])
            .observe(waited.as_secs_f64());
        let run = Run {
            queue: queue.clone(),
            key: key.clone(),
            metrics: metrics.clone(),
            began: Instant::now(),
            ended: false,
        };
        metrics.queue_running.with_label_values(&[queue.name]).inc();
        let span = tracing::info_span!(
            "reconcile",
            queue = queue.name,
            namespace = key.namespace,
            name = key.name
        );
        // Built here, so that the handler itself need not outlive this call.
        let work = handler(key);
        runs.spawn(async move { run.end(work.await) }.instrument(span));
    }
    while runs.join_next().await.is_some() {}
}

/// One run. Dropped without an end (a panic), it counts as a failure that may pass.
struct Run {
    queue: Queue,
    key: Key,
    metrics: RuntimeMetrics,
    began: Instant,
    ended: bool,
}

impl Run {
    fn end<E: Category>(mut self, result: Result<Next, E>) {
        self.ended = true;
        match result {
            Ok(next) => {
                self.count(None);
                self.queue.finish(&self.key, next, None);
            }
            Err(error) => self.fail(error.category(), error.retry(), &error),
        }
    }

    fn fail(&self, category: &'static str, retry: Retry, error: &dyn Display) {
        // A conflict is the ordinary way to learn that somebody else wrote first.
        if retry == Retry::Conflict {
            tracing::debug!(category, %error, "run failed");
        } else {
            tracing::warn!(category, %error, "run failed");
        }
        self.count(Some(category));
        self.queue.finish(&self.key, Next::AwaitChange, Some(retry));
    }

    fn count(&self, failed: Option<&str>) {
        let name = self.queue.name;
        self.metrics.queue_running.with_label_values(&[name]).dec();
        self.metrics.runs.with_label_values(&[name]).inc();
        self.metrics
            .run_seconds
            .with_label_values(&[name])
            .observe(self.began.elapsed().as_secs_f64());
        if let Some(category) = failed {
            self.metrics.failures.with_label_values(&[name, category]).inc();
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.ended {
            self.ended = true;
            self.fail("panic", Retry::Transient, &"the run panicked or was dropped");
        }
    }
}

fn depth(keys: usize) -> f64 {
    u32::try_from(keys).unwrap_or(u32::MAX).into()
}
