//! Takes, renews and releases one Lease.

use std::{sync::Arc, time::Duration};

use holdfast_api::crds::PART_OF;
use holdfast_kube::{WriteError, create, get};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Leader, Tenure, Terms};
use crate::{clock, trace};

/// How often a follower looks, and a leader tries again after an error.
const LOOK: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(1);
/// How long giving the lease up may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where the Lease lies and who asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) lease: String,
    pub(crate) holder: String,
}

/// How an elector ends: `stop` ends it, and it gives the lease up if `release` was cancelled before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    pub(crate) release: CancellationToken,
    pub(crate) stop: CancellationToken,
}

/// The record as it was last seen, and when it was first seen like this.
#[derive(Debug)]
struct Seen {
    spec: LeaseSpec,
    at: Duration,
}

#[derive(Debug)]
pub(crate) struct Elector {
    place: Place,
    identity: String,
    terms: Terms,
    tenure: Arc<Tenure>,
    tell: watch::Sender<bool>,
    /// The lease as we last wrote it.
    held: Option<Lease>,
    seen: Option<Seen>,
}

enum Standing {
    Leading,
    Following { look_in: Duration },
}

impl Elector {
    pub(crate) fn new(place: Place, terms: Terms) -> (Self, Leader) {
        let tenure = Arc::new(Tenure {
            margin: terms.margin,
            until: 0.into(),
        });
        let (tell, told) = watch::channel(false);
        // A restarted container has the pod's name again, but is another process.
        let identity = format!("{}_{}", place.holder, trace::random_hex());
        let leader = Leader {
            tenure: tenure.clone(),
            told,
        };
        (
            Self {
                place,
                identity,
                terms,
                tenure,
                tell,
                held: None,
                seen: None,
            },
            leader,
        )
    }

    /// Runs until told to stop; `on_change` hears of each change of leadership.
    pub(crate) async fn run(mut self, client: Client, stop: Stop, on_change: impl Fn(bool)) {
        let api: Api<Lease> = Api::namespaced(client, &self.place.namespace);
        loop {
            let (until, pause) = tokio::select! {
                biased;
                () = stop.stop.cancelled() => break,
                passed = self.pass(&api) => passed,
            };
            self.settle(until, &on_change);
            tokio::select! {
                biased;
                () = stop.stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.settle(Some(Duration::ZERO), &on_change);
        if stop.release.is_cancelled() {
            self.release(&api).await;
        }
    }

    /// Sets when the tenure ends, if a pass has learnt that. A tenure that ended before is announced before the next one
    /// begins: who asked in between was told that nobody leads, and must hear that this is over.
    fn settle(&self, until: Option<Duration>, on_change: &impl Fn(bool)) {
        self.announce(on_change);
        if let Some(until) = until {
            self.tenure.set(until);
            self.announce(on_change);
        }
    }

    fn announce(&self, on_change: &impl Fn(bool)) {
        let leads = self.tenure.leads();
        let changed = self
            .tell
            .send_if_modified(|told| std::mem::replace(told, leads) != leads);
        if changed {
            tracing::info!(lease = self.place.lease, leads, "leadership changed");
            on_change(leads);
        }
    }

    /// One look or renewal; answers when the tenure ends now, unless nothing was learnt, and when to come back.
    async fn pass(&mut self, api: &Api<Lease>) -> (Option<Duration>, Duration) {
        // Counted from before the request: others cannot have seen the change earlier.
        let asked = clock::boot();
        let deadline = self.terms.renew.min(Duration::from_secs(4));
        match tokio::time::timeout(deadline, self.stand(api)).await {
            Ok(Ok(Standing::Leading)) => (Some(asked.saturating_add(self.terms.duration)), self.terms.renew),
            Ok(Ok(Standing::Following { look_in })) => (Some(Duration::ZERO), look_in.min(LOOK)),
            failed => {
                // What the request did is unknown: the next pass reads first. Leadership ends by itself.
                self.held = None;
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "no answer".to_owned(),
                };
                tracing::warn!(lease = self.place.lease, why, "cannot take or renew the lease");
                let pause = if self.tenure.leads() {
                    AGAIN.min(self.tenure.left())
                } else {
                    AGAIN
                };
                (None, pause)
            }
        }
    }

    async fn stand(&mut self, api: &Api<Lease>) -> Result<Standing, WriteError> {
        if let Some(held) = self.held.take() {
            match self.put(api, &held, self.renewed(&held)).await {
                Ok(()) => return Ok(Standing::Leading),
                // Somebody touched or removed it: look before anything else.
                Err(WriteError::Conflict | WriteError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(lease) = get(api, &self.place.lease).await? else {
            return self.create(api).await;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder == self.identity {
            self.put(api, &lease, self.renewed(&lease)).await?;
            return Ok(Standing::Leading);
        }
        if !holder.is_empty() {
            let left = self.left_of(&spec);
            if !left.is_zero() {
                return Ok(Standing::Following { look_in: left });
            }
        }
        let taken = self.record(&spec, spec.lease_transitions.unwrap_or(0).saturating_add(1));
        match self.put(api, &lease, taken).await {
            Ok(()) => Ok(Standing::Leading),
            Err(WriteError::Conflict) => Ok(Standing::Following { look_in: LOOK }),
            Err(error) => Err(error),
        }
    }

    /// How long the record must stay as it is before it counts as expired.
    fn left_of(&mut self, spec: &LeaseSpec) -> Duration {
        let now = clock::boot();
        let since = match &self.seen {
            Some(seen) if seen.spec == *spec => seen.at,
            _ => {
                self.seen = Some(Seen {
                    spec: spec.clone(),
                    at: now,
                });
                now
            }
        };
        let theirs = Duration::from_secs(
            spec.lease_duration_seconds
                .map_or(0, |seconds| seconds.max(0).unsigned_abs().into()),
        );
        let duration = theirs.max(self.terms.duration).min(Duration::from_mins(10));
        since.saturating_add(duration).saturating_sub(now)
    }

    async fn create(&mut self, api: &Api<Lease>) -> Result<Standing, WriteError> {
        let mut lease = Lease {
            spec: Some(self.record(&LeaseSpec::default(), 0)),
            ..Lease::default()
        };
        lease.metadata.name = Some(self.place.lease.clone());
        lease.metadata.labels = Some([(PART_OF.0.to_owned(), PART_OF.1.to_owned())].into());
        match create(api, &lease).await {
            Ok(created) => {
                self.held = Some(created);
                Ok(Standing::Leading)
            }
            Err(WriteError::Exists) => Ok(Standing::Following {
                look_in: Duration::ZERO,
            }),
            Err(error) => Err(error),
        }
    }

    /// Replaces the lease that was read; the API server refuses if it has changed since.
    #[allow(
        clippy::disallowed_methods,
        reason = "a Lease is replaced as a whole, guarded by its resourceVersion; callers set the deadline"
    )]
    async fn put(&mut self, api: &Api<Lease>, lease: &Lease, spec: LeaseSpec) -> Result<(), WriteError> {
        let wanted = Lease {
            spec: Some(spec),
            ..lease.clone()
        };
        self.held = Some(api.replace(&self.place.lease, &PostParams::default(), &wanted).await?);
        self.seen = None;
        Ok(())
    }

    fn renewed(&self, lease: &Lease) -> LeaseSpec {
        let spec = lease.spec.clone().unwrap_or_default();
        LeaseSpec {
            renew_time: Some(MicroTime(clock::now())),
            lease_duration_seconds: Some(self.seconds()),
            ..spec
        }
    }

    fn record(&self, before: &LeaseSpec, transitions: i32) -> LeaseSpec {
        let now = MicroTime(clock::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(self.seconds()),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..before.clone()
        }
    }

    fn seconds(&self) -> i32 {
        let whole = self.terms.duration + Duration::from_nanos(999_999_999);
        i32::try_from(whole.as_secs()).unwrap_or(i32::MAX).max(1)
    }

    /// Gives the lease up, if it is ours: the next leader need not wait until it expires.
    async fn release(&mut self, api: &Api<Lease>) {
        match tokio::time::timeout(LAST_WORDS, self.give_up(api)).await {
            Ok(Ok(true)) => tracing::info!(lease = self.place.lease, "lease released"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(lease = self.place.lease, %error, "lease not released, it will expire"),
            Err(_) => tracing::warn!(lease = self.place.lease, "lease not released, it will expire"),
        }
    }

    async fn give_up(&mut self, api: &Api<Lease>) -> Result<bool, WriteError> {
        let held = match self.held.take() {
            Some(held) => held,
            // A renewal was cut off: what it did is unknown.
            None => match get(api, &self.place.lease).await? {
                Some(lease) => lease,
                None => return Ok(false),
            },
        };
        let mut spec = held.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(false);
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(clock::now()));
        self.put(api, &held, spec).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::FutureExt as _;

    use super::*;

    fn elector() -> (Elector, Leader) {
        let place = Place {
            namespace: "ns".to_owned(),
            lease: "lease".to_owned(),
            holder: "me".to_owned(),
        };
        Elector::new(place, Terms::default())
    }

    #[test]
    fn a_lease_that_is_renewed_too_late_is_told_although_it_was_never_lost() {
        let (elector, mut leader) = elector();
        let told = RefCell::new(Vec::new());
        let settle = |until| elector.settle(Some(until), &|leads| told.borrow_mut().push(leads));
        let renewed = || clock::boot() + Terms::default().duration;
        settle(renewed());
        assert!(leader.changed().now_or_never().is_some() && leader.leads());
        settle(renewed());
        assert!(leader.changed().now_or_never().is_none(), "renewed in time");

        // The API server answered late, or the process was frozen: work that came up now was put off.
        elector.tenure.set(clock::boot());
        assert!(!leader.leads());
        settle(renewed());
        assert!(leader.leads());
        assert!(
            leader.changed().now_or_never().is_some(),
            "nobody hears that work goes on"
        );
        assert_eq!(*told.borrow(), [true, false, true]);
    }
}
