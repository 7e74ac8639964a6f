//! One way to start a service and one way to end it.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use axum::http::{HeaderValue, header::USER_AGENT};
use futures::FutureExt as _;
use holdfast_api::metric;
use kube::{Client, client::ClientBuilder};
use prometheus::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Bus, CommonArgs, Events, Gate, Leader, clock,
    events::Reporter,
    health::Health,
    leader::{Elector, Place, Stop, Terms},
    metrics::{Meter, RuntimeMetrics},
    requests::CountRequests,
    telemetry::Telemetry,
};

/// How long events and messages that still wait may take to leave, and a lease to be released.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A running service: what its parts share. Clones are the same service.
#[derive(Clone)]
pub struct Service {
    /// Name without `holdfast-`, such as `repo-manager`.
    pub name: &'static str,
    /// Client of the API server; it does not retry by itself, because a decision ages while a request is repeated.
    pub client: Client,
    /// Namespace that the service runs in.
    pub namespace: String,
    /// Pod that the service runs in.
    pub pod_name: String,
    /// Cancelled when the service shall stop: begin nothing new, finish what runs.
    pub shutdown: CancellationToken,
    /// Event messages to and from the other services.
    pub bus: Bus,
    /// Kubernetes Events.
    pub events: Events,
    /// What `/metrics` shows.
    pub metrics: Registry,
    inner: Arc<Inner>,
}

struct Inner {
    meter: Meter,
    runtime_metrics: RuntimeMetrics,
    health: Health,
    http_addr: SocketAddr,
    config: kube::Config,
    telemetry: Telemetry,
    drain: Duration,
    /// Tasks of the service.
    tasks: TaskTracker,
    /// Tasks that outlive them, to send their last events and messages.
    last_tasks: TaskTracker,
    last: CancellationToken,
    electors: Mutex<Vec<(Stop, std::thread::JoinHandle<()>)>>,
    failure: Mutex<Option<anyhow::Error>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("pod_name", &self.pod_name)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Starts a service of this name on the cluster that the environment names: inside a pod its own, else that of
    /// the kubeconfig.
    ///
    /// # Errors
    ///
    /// There is neither a cluster around this process nor a kubeconfig, or as [`Service::start_with`].
    pub async fn start(name: &'static str, args: &CommonArgs) -> anyhow::Result<Self> {
        let config = kube::Config::infer()
            .await
            .context("no cluster: neither in a pod nor a kubeconfig")?;
        Self::start_with(name, args, config)
    }

    /// Starts a service on the cluster of `config`. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// The address for health and metrics cannot be listened on, or an argument or the cluster's configuration is not usable.
    pub fn start_with(name: &'static str, args: &CommonArgs, mut config: kube::Config) -> anyhow::Result<Self> {
        let telemetry = Telemetry::init(name, args)?;
        let registry = Registry::new();
        let meter = Meter::new(name, registry.clone());
        let shutdown = CancellationToken::new();
        let last = CancellationToken::new();
        let health = Health::new(registry.clone(), shutdown.clone());
        let http_addr = health.serve(args.http_addr, last.clone())?;
        // The API server names the owner of fields by the first part of the user agent.
        let agent = format!("holdfast-{name}/{}", env!("CARGO_PKG_VERSION"));
        config.headers.push((USER_AGENT, HeaderValue::from_str(&agent)?));
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        // For what begins to arrive and never ends; a watch that is well shows a sign of life every minute or so.
        config.read_timeout = Some(Duration::from_mins(5));
        config.reset_reader_on_write = true;
        let total = meter.counter(&metric::API_REQUESTS)?;
        let client = ClientBuilder::try_from(config.clone())?
            .with_layer(&CountRequests { total })
            .build();
        let pod_name = if args.pod_name.is_empty() {
            format!("holdfast-{name}")
        } else {
            args.pod_name.clone()
        };
        let reporter = Reporter {
            controller: format!("holdfast-{name}"),
            instance: pod_name.clone(),
        };
        let events_lost = meter.counter(&metric::EVENTS_LOST)?;
        let (events, event_sender) = Events::new(client.clone(), reporter, events_lost);
        let (bus, news_sender) = Bus::connect(name, args, &meter)?;
        let last_tasks = TaskTracker::new();
        last_tasks.spawn(event_sender.run(last.clone()));
        if let Some(sender) = news_sender {
            last_tasks.spawn(sender.run(last.clone()));
        }
        let service = Self {
            name,
            client,
            namespace: args.namespace.clone(),
            pod_name,
            shutdown,
            bus,
            events,
            metrics: registry,
            inner: Arc::new(Inner {
                runtime_metrics: RuntimeMetrics::new(&meter)?,
                meter,
                health: health.clone(),
                http_addr,
                config,
                telemetry,
                drain: args.drain(),
                tasks: TaskTracker::new(),
                last_tasks,
                last: last.clone(),
                electors: Mutex::default(),
                failure: Mutex::default(),
            }),
        };
        tokio::spawn(async move {
            tokio::select! {
                () = health.beat() => {}
                () = last.cancelled() => {}
            }
        });
        tracing::info!(service = name, version = env!("CARGO_PKG_VERSION"), address = %http_addr, "started");
        Ok(service)
    }

    /// Runs `body` until it returns or a signal (SIGTERM, SIGINT) comes, then drains: what runs gets its time, leases
    /// are released, the last events, news and traces leave.
    ///
    /// # Errors
    ///
    /// The error of `body`, of [`Service::fail`], or of a task that panicked.
    pub async fn run<F, Fut>(self, body: F) -> anyhow::Result<()>
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = anyhow::Result<()>>,
    {
        self.stop_on_signals()?;
        let mut body = std::pin::pin!(body(self.clone()));
        let drained_by = self.inner.drain;
        let outcome = tokio::select! {
            outcome = &mut body => outcome,
            () = self.shutdown.cancelled() => {
                tokio::time::timeout(drained_by, body).await.unwrap_or_else(|_| {
                    tracing::warn!(seconds = drained_by.as_secs(), "stopping although work still runs");
                    Ok(())
                })
            }
        };
        self.drain().await;
        let failure = self.inner.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(outcome, Err)
    }

    /// Runs a task for the life of the service. It is waited for when the service stops, so it watches
    /// [`Service::shutdown`]. A panic in it ends the service: a service without one of its parts would only look alive.
    pub fn spawn<Fut>(&self, name: &'static str, task: Fut)
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let service = self.clone();
        self.inner.tasks.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                service.fail(anyhow!("task {name} panicked"));
            }
        });
    }

    /// A gate that keeps `/readyz` at 503, naming it, until it is opened.
    pub fn gate(&self, name: &str) -> Gate {
        self.inner.health.gate(name)
    }

    /// Stands for election for the Lease of this name in the service's own namespace, for the life of the service.
    pub fn elect(&self, lease: &str) -> Leader {
        self.elect_with(lease, Terms::default())
    }

    /// [`Service::elect`] on other terms.
    pub fn elect_with(&self, lease: &str, terms: Terms) -> Leader {
        let place = Place {
            namespace: self.namespace.clone(),
            lease: lease.to_owned(),
            holder: self.pod_name.clone(),
        };
        let (elector, leader) = Elector::new(place, terms);
        let (stop, config, service) = (Stop::default(), self.inner.config.clone(), self.clone());
        let gauge = self.inner.runtime_metrics.leading.with_label_values(&[lease]);
        gauge.set(0.0);
        let told = stop.clone();
        // A thread, a runtime and a client of its own: whatever the service is busy with, the lease is renewed.
        let thread = std::thread::Builder::new().name("lease".to_owned()).spawn(move || {
            let ended = std::panic::catch_unwind(AssertUnwindSafe(|| -> anyhow::Result<()> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async move {
                    let client = Client::try_from(config)?;
                    elector
                        .run(client, told, |leads| gauge.set(f64::from(u8::from(leads))))
                        .await;
                    Ok(())
                })
            }));
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => service.fail(error.context("the lease cannot be held")),
                Err(_) => service.fail(anyhow!("the holder of the lease panicked")),
            }
        });
        match thread {
            Ok(thread) => {
                self.inner
                    .electors
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((stop, thread));
            }
            Err(error) => self.fail(anyhow!(error).context("cannot start the thread that holds the lease")),
        }
        leader
    }

    /// Ends the service with an error: [`Service::run`] drains and returns it.
    pub fn fail(&self, error: anyhow::Error) {
        tracing::error!(error = format!("{error:#}"), "service fails");
        self.inner
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        self.shutdown.cancel();
    }

    /// Address that serves health and metrics, of which the port may have been chosen at start.
    pub fn http_addr(&self) -> SocketAddr {
        self.inner.http_addr
    }

    /// Makes metrics of this service.
    pub fn meter(&self) -> &Meter {
        &self.inner.meter
    }

    pub(crate) fn runtime_metrics(&self) -> &RuntimeMetrics {
        &self.inner.runtime_metrics
    }

    fn stop_on_signals(&self) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = self.shutdown.clone();
        self.spawn("signals", async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                () = shutdown.cancelled() => return,
            };
            tracing::info!(signal = name, "stopping");
            shutdown.cancel();
        });
        Ok(())
    }

    async fn drain(&self) {
        let began = clock::boot();
        self.shutdown.cancel();
        self.inner.tasks.close();
        let drained = tokio::time::timeout(self.inner.drain, self.inner.tasks.wait())
            .await
            .is_ok();
        // Who may still be writing keeps the lease: it expires soon after the process is gone.
        self.stop_electors(drained).await;
        self.inner.last.cancel();
        self.inner.last_tasks.close();
        let sent = tokio::time::timeout(LAST_WORDS, self.inner.last_tasks.wait())
            .await
            .is_ok();
        let took = clock::boot().saturating_sub(began);
        tracing::info!(
            drained,
            sent,
            milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "stopped"
        );
        self.inner.telemetry.flush().await;
    }

    async fn stop_electors(&self, release: bool) {
        let electors = std::mem::take(&mut *self.inner.electors.lock().unwrap_or_else(PoisonError::into_inner));
        for (stop, _) in &electors {
            if release {
                stop.release.cancel();
            }
            stop.stop.cancel();
        }
        let joined = tokio::task::spawn_blocking(move || {
            for (_, thread) in electors {
                // A panic of the thread has been reported by the thread.
                let _ = thread.join();
            }
        });
        if tokio::time::timeout(LAST_WORDS, joined).await.is_err() {
            tracing::warn!("the lease was not released in time, it will expire");
        }
    }
}
