//! The connection to NATS.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Auth, AuthError, ConnectOptions, Event, jetstream};
use prometheus::Gauge;
use tokio::sync::watch;

use super::{ANSWER, inbox};
use crate::CommonArgs;

/// A connection that comes back by itself.
#[derive(Clone, Debug)]
pub(super) struct Link {
    made: watch::Receiver<Option<jetstream::Context>>,
    /// Number of the present connection, 0 while there is none.
    up: watch::Receiver<u64>,
}

impl Link {
    /// Connects in the background, for ever; without an address there is no link. Must be called within a runtime.
    pub(super) fn connect(service: &'static str, args: &CommonArgs, connected: Gauge) -> Option<Self> {
        if args.nats_url.is_empty() {
            return None;
        }
        let (tell_made, made) = watch::channel(None);
        let (tell_up, up) = watch::channel(0_u64);
        let (options, url) = (options(service, args, tell_up, connected), args.nats_url.clone());
        tokio::spawn(async move {
            for pause in super::back_off() {
                // Only an address that cannot be read is an error here; a server that is away is waited for.
                match options().connect(&url).await {
                    Ok(client) => {
                        let context = jetstream::ContextBuilder::new().timeout(ANSWER).build(client);
                        // The link may be gone already.
                        let _ = tell_made.send(Some(context));
                        return;
                    }
                    Err(error) => tracing::error!(%error, "the bus cannot be reached"),
                }
                tokio::time::sleep(pause).await;
            }
        });
        Some(Self { made, up })
    }

    /// Waits until there is a connection; answers its number too.
    pub(super) async fn up(&mut self) -> (jetstream::Context, u64) {
        loop {
            let number = *self.up.borrow_and_update();
            let context = self.made.borrow_and_update().clone();
            match context {
                Some(context) if number > 0 => return (context, number),
                Some(_) => until(self.up.changed()).await,
                None => until(self.made.changed()).await,
            }
        }
    }

    /// Waits until the connection of this number is gone.
    pub(super) async fn over(&mut self, number: u64) {
        while *self.up.borrow_and_update() == number {
            until(self.up.changed()).await;
        }
    }
}

/// A sender that is gone means that the service ends: nothing will change any more.
async fn until(changed: impl Future<Output = Result<(), watch::error::RecvError>>) {
    if changed.await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn options(
    service: &'static str,
    args: &CommonArgs,
    up: watch::Sender<u64>,
    connected: Gauge,
) -> impl Fn() -> ConnectOptions + Send + use<> {
    let user = if args.nats_user.is_empty() {
        service.to_owned()
    } else {
        args.nats_user.clone()
    };
    let file = args.nats_password_file.clone();
    let name = format!("holdfast-{service}/{}", args.pod_name);
    let shared = Arc::new(Ear {
        up,
        connected,
        connections: AtomicU64::new(0),
        told: Mutex::default(),
    });
    move || {
        let (user, file) = (user.clone(), file.clone());
        let shared = shared.clone();
        ConnectOptions::with_auth_callback(move |_| login(user.clone(), file.clone()))
            .name(&name)
            .custom_inbox_prefix(inbox(service))
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            // A server that vanished without a word is noticed after three of these.
            .ping_interval(Duration::from_secs(10))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                let attempt = u32::try_from(attempt.min(6)).unwrap_or(6);
                Duration::from_millis(100) * 2_u32.pow(attempt)
            })
            .event_callback(move |event| {
                let shared = shared.clone();
                async move { shared.hear(&event) }
            })
    }
}

async fn login(user: String, file: Option<PathBuf>) -> Result<Auth, AuthError> {
    let mut auth = Auth::new();
    if let Some(file) = file {
        // Read at each connection: a password that was changed is found without a restart.
        let password = tokio::fs::read_to_string(&file).await.map_err(AuthError::new)?;
        auth.username = Some(user);
        auth.password = Some(password.trim_end().to_owned());
    }
    Ok(auth)
}

/// Hears what becomes of the connection.
struct Ear {
    up: watch::Sender<u64>,
    connected: Gauge,
    connections: AtomicU64,
    /// Why the last attempt to connect failed, since there was a connection.
    told: Mutex<String>,
}

impl Ear {
    fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::info!(number, "bus connected");
                self.is_news("");
                self.connected.set(1.0);
                self.up.send_replace(number);
            }
            Event::Disconnected | Event::Closed => {
                tracing::info!(%event, "bus disconnected");
                self.connected.set(0.0);
                self.up.send_replace(0);
            }
            Event::ServerError(error) => tracing::warn!(%error, "the bus refused something"),
            // It is tried again for ever.
            Event::ClientError(error) if self.is_news(&error.to_string()) => {
                tracing::warn!(%error, "the bus cannot be reached or refuses the connection; it is tried again");
            }
            Event::ClientError(error) => tracing::debug!(%error, "bus client"),
            other => tracing::debug!(%other, "bus"),
        }
    }

    /// Whether this is another cause than the last one.
    fn is_news(&self, cause: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *told != cause;
        cause.clone_into(&mut told);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_the_bus_is_away_is_told_once_for_each_cause_and_each_time() {
        let ear = Ear {
            up: watch::channel(0).0,
            connected: Gauge::new("up", "whether there is a connection").unwrap(),
            connections: AtomicU64::new(0),
            told: Mutex::default(),
        };
        assert!(ear.is_news("IO error"));
        assert!(!ear.is_news("IO error"));
        assert!(ear.is_news("authorization violation"));
        assert!(!ear.is_news("authorization violation"));
        ear.hear(&Event::Connected);
        assert_eq!(*ear.up.borrow(), 1);
        assert!(ear.is_news("authorization violation"));
    }
}
