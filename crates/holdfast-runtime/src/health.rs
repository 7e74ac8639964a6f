//! `/livez`, `/readyz` and `/metrics`, served by a thread of their own: a process whose event loop hangs can still say so.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use prometheus::{Registry, TextEncoder};
use tokio_util::sync::CancellationToken;

/// How often the event loop shows that it turns.
const BEAT: Duration = Duration::from_secs(1);
/// How long the event loop may stand still before the process counts as hung.
const HUNG: Duration = Duration::from_secs(30);

/// What the service waits for before it is ready.
#[derive(Clone, Debug)]
pub struct Gate {
    name: String,
    health: Health,
}

impl Gate {
    /// What the gate waited for is there.
    pub fn open(&self) {
        self.health.set(&self.name, true);
    }

    /// What was there is gone again.
    pub fn close(&self) {
        self.health.set(&self.name, false);
    }
}

/// State behind the endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    gates: Mutex<BTreeMap<String, bool>>,
    started: Instant,
    /// Milliseconds from `started` to the last beat.
    beat: AtomicU64,
    registry: Registry,
    draining: CancellationToken,
}

impl Health {
    pub(crate) fn new(registry: Registry, draining: CancellationToken) -> Self {
        Self {
            inner: Arc::new(Inner {
                gates: Mutex::default(),
                started: Instant::now(),
                beat: AtomicU64::new(0),
                registry,
                draining,
            }),
        }
    }

    pub(crate) fn gate(&self, name: &str) -> Gate {
        self.set(name, false);
        Gate {
            name: name.to_owned(),
            health: self.clone(),
        }
    }

    fn set(&self, name: &str, open: bool) {
        self.inner
            .gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), open);
    }

    fn pending(&self) -> Vec<String> {
        let gates = self.inner.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pending: Vec<String> = gates
            .iter()
            .filter(|(_, open)| !**open)
            .map(|(name, _)| name.clone())
            .collect();
        if self.inner.draining.is_cancelled() {
            pending.push("draining".to_owned());
        }
        pending
    }

    /// Beats for as long as the event loop turns; runs on it.
    pub(crate) async fn beat(self) {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let elapsed = u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.inner.beat.store(elapsed, Ordering::Relaxed);
        }
    }

    fn still_for(&self) -> Duration {
        let beat = Duration::from_millis(self.inner.beat.load(Ordering::Relaxed));
        self.inner.started.elapsed().saturating_sub(beat)
    }

    /// Serves until `stop`, on a thread of its own; answers the address, of which the port may have been chosen here.
    pub(crate) fn serve(&self, address: SocketAddr, stop: CancellationToken) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let app = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self.clone());
        std::thread::Builder::new().name("health".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let served = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        axum::serve(listener, app)
                            .with_graceful_shutdown(stop.cancelled_owned())
                            .await
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    tracing::error!(%error, "health endpoints ended");
                }
            });
        })?;
        Ok(address)
    }
}

async fn livez(State(health): State<Health>) -> (StatusCode, String) {
    let still = health.still_for();
    if still < HUNG {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("event loop has not turned for {} s\n", still.as_secs()),
        )
    }
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    let pending = health.pending();
    if pending.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("pending:\n{}\n", pending.join("\n")),
        )
    }
}

async fn metrics(State(health): State<Health>) -> (StatusCode, String) {
    match TextEncoder::new().encode_to_string(&health.inner.registry.gather()) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_loop_that_stands_still_is_not_alive() {
        let health = Health::new(Registry::new(), CancellationToken::new());
        assert_eq!(livez(State(health.clone())).await.0, StatusCode::OK);
        let mut inner = Arc::into_inner(health.inner).unwrap();
        inner.started = inner.started.checked_sub(HUNG).unwrap();
        let health = Health { inner: Arc::new(inner) };
        let (status, body) = livez(State(health.clone())).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("30 s"), "{body}");
        // One beat later it is.
        let beating = tokio::spawn(health.clone().beat());
        while health.still_for() >= HUNG {
            tokio::task::yield_now().await;
        }
        assert_eq!(livez(State(health)).await.0, StatusCode::OK);
        beating.abort();
    }
}
