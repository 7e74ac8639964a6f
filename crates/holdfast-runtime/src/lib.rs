//! What makes the services look like one: start-up, telemetry, health, leases, watches, queues, events and the bus.
//!
//! A service is `Service::start(name, &args).await?.run(body).await`: `start` brings up logs, traces, metrics, health,
//! the Kubernetes client and the bus; `run` runs the body until a signal and then drains.

#![warn(clippy::missing_errors_doc)]

pub mod args;
pub mod bus;
pub mod clock;
mod crds;
pub mod events;
mod health;
pub mod leader;
pub mod metrics;
pub mod queue;
pub mod reconcile;
mod requests;
mod service;
mod slow_pass;
pub mod telemetry;
pub mod trace;
pub mod watch;

pub use args::{CommonArgs, DataPodArgs};
pub use bus::Bus;
pub use events::Events;
pub use health::Gate;
pub use holdfast_kube::{self as write, Category, Retry};
pub use leader::{Leader, STAND_BY};
pub use queue::{Next, Queue};
pub use service::Service;
pub use slow_pass::{SlowPass, Woken};
pub use tokio_util::sync::CancellationToken;
