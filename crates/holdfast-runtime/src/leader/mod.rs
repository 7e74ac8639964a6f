//! Leadership by a Lease of our own.
//!
//! Expiry is judged by when this process saw the record change, on a clock that counts the time a machine or a process
//! slept: no two nodes' clocks are compared, and a process that was frozen knows on waking that it leads no more. A
//! Lease cannot fence other writes: each write that only a leader may do asks [`Leader::leads`] just before, and must be
//! harmless when done twice.

mod elector;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

pub(crate) use elector::{Elector, Place, Stop};

use crate::{Next, clock};

/// When work that only a leader may do is looked at again by who does not lead now. He may lead in a moment, and what comes
/// up until then must not be lost: without asking the API server for anything, he looks whether he does.
pub const STAND_BY: Next = Next::After(Duration::from_secs(10));

/// How long a lease lasts and when it is renewed.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long others wait after the last change that they saw (whole seconds).
    pub duration: Duration,
    /// How often the leader renews.
    pub renew: Duration,
    /// How long before the end the leader already does not count itself as one: time for a request under way.
    pub margin: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            margin: Duration::from_secs(5),
        }
    }
}

/// Whether this process leads. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Leader {
    tenure: Arc<Tenure>,
    told: watch::Receiver<bool>,
}

impl Leader {
    /// Whether this process leads now, with the margin of [`Terms`] left.
    pub fn leads(&self) -> bool {
        self.tenure.leads()
    }

    /// Waits until leadership was won or lost since this clone last looked. Never returns when the service stops.
    pub async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A leader who hears what a test tells, and leads never.
    #[cfg(test)]
    pub(crate) fn played() -> (watch::Sender<bool>, Self) {
        let (tell, told) = watch::channel(false);
        let tenure = Arc::new(Tenure {
            margin: Duration::ZERO,
            until: 0.into(),
        });
        (tell, Self { tenure, told })
    }

    /// Waits until this process leads.
    pub async fn elected(&mut self) {
        while !self.leads() {
            self.changed().await;
        }
    }
}

/// Until when this process leads, shared by the elector and everyone who asks.
#[derive(Debug)]
struct Tenure {
    margin: Duration,
    /// End of the lease in nanoseconds of [`clock::boot`]; 0 is no lease.
    until: AtomicU64,
}

impl Tenure {
    fn leads(&self) -> bool {
        let until = Duration::from_nanos(self.until.load(Ordering::Acquire));
        clock::boot().saturating_add(self.margin) < until
    }

    fn set(&self, until: Duration) {
        self.until
            .store(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn left(&self) -> Duration {
        let until = Duration::from_nanos(self.until.load(Ordering::Acquire));
        until.saturating_sub(self.margin).saturating_sub(clock::boot())
    }
}
