//! Lets new Backups in, or says why not.

use std::sync::Arc;

use holdfast_api::{
    Backup, BackupStatus,
    condition::Reason,
    event::{BusEvent, BusEventKind},
    names::ANNOTATION_TRACEPARENT,
};
use holdfast_core::{
    admission::{self, Decision, Observed, Read, Write},
    decision::{Intent, Notice},
    driver::{Found, Standing, Written},
};
use holdfast_runtime::{
    Next,
    reconcile::{self, Pass, emit, leads},
    trace,
    watch::Key,
    write::{Applied, WriteError, apply, get},
};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use crate::{Context, error::Error, metrics::Metrics, observe};

/// Looks at one Backup.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let Some(backup) = context.backups.by_key(&key) else {
        return Ok(Next::AwaitChange);
    };
    if !admission::concerns(&backup) {
        return Ok(Next::AwaitChange);
    }
    trace::follow(backup.annotations().get(ANNOTATION_TRACEPARENT).map(String::as_str));
    let pass = Admission {
        context: &context,
        api: Api::namespaced(context.service.client.clone(), &key.namespace),
        observed: observe::observe(&context, backup),
    };
    reconcile::reconcile(pass)
        .await
        .map_err(Error::during("letting the Backup in"))
}

struct Admission<'a> {
    context: &'a Context,
    api: Api<Backup>,
    observed: Observed,
}

impl Pass for Admission<'_> {
    type Status = BackupStatus;
    type Read = Read;

    fn decide(&mut self, now: Timestamp) -> Decision {
        admission::decide(&self.observed, now)
    }

    fn standing(&mut self, _: Intent) -> Standing {
        leads(&self.context.leader)
    }

    async fn read(&mut self, read: Read) -> Result<Found, WriteError> {
        observe::read(self.context, &mut self.observed, read).await?;
        Ok(Found::Known)
    }

    async fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        let creates = matches!(write, Write::Create(_));
        match apply(&self.context.service.client, &self.api, &self.observed.backup, write).await {
            Ok(Applied::Object(backup)) => {
                self.observed.backup = Arc::from(backup);
                Ok(Written::Stored)
            }
            Ok(_) => {
                self.read(Read::Claim).await?;
                Ok(Written::Stored)
            }
            Err(WriteError::Refused(words)) if creates => {
                self.observed.claim_refused = Some(words);
                Ok(Written::Refused)
            }
            Err(WriteError::Exists) => {
                self.read(Read::Claim).await?;
                Ok(Written::Stale)
            }
            Err(WriteError::Conflict | WriteError::NotFound) if !creates => self.read_anew().await,
            Err(WriteError::NotFound) => Ok(Written::Gone),
            Err(error) => Err(error),
        }
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        count(&self.context.metrics, &notices);
        self.count_failure(&notices);
        emit(&self.context.service, &*self.observed.backup, notices).await;
    }
}

impl Admission<'_> {
    /// Counts a Backup that was turned away with its policy, as those are that fail later.
    fn count_failure(&self, notices: &[Notice]) {
        let backup = &self.observed.backup;
        let namespace = backup.namespace().unwrap_or_default();
        let policy = self.context.policies.get(&namespace, &backup.spec.backup_policy_name);
        let name = policy.map(|policy| policy.name_any()).unwrap_or_default();
        for (event, reason) in ends(notices) {
            if event.kind == BusEventKind::BackupFailed {
                self.context.metrics.failure(&namespace, &name, reason);
            }
        }
    }

    /// Somebody else has written the Backup, or deleted it.
    async fn read_anew(&mut self) -> Result<Written, WriteError> {
        let uid = self.observed.backup.uid();
        let found = get(&self.api, &self.observed.backup.name_any()).await?;
        Ok(match found.filter(|found| found.uid() == uid) {
            Some(found) => {
                self.observed.backup = Arc::new(found);
                Written::Stale
            }
            None => Written::Gone,
        })
    }
}

/// Counts how the admissions among these went.
pub(crate) fn count(metrics: &Metrics, notices: &[Notice]) {
    for (_, reason) in ends(notices) {
        metrics.admission(reason);
    }
}

/// The ends of admissions among these, with their reasons.
fn ends(notices: &[Notice]) -> impl Iterator<Item = (&BusEvent, Reason)> {
    let events = notices.iter().filter_map(|notice| match notice {
        Notice::Bus(event) => Some(event),
        Notice::Event(_) => None,
    });
    let ends = events.filter(|event| matches!(event.kind, BusEventKind::BackupAdmitted | BusEventKind::BackupFailed));
    ends.filter_map(|event| {
        let word = event.data.get("reason").and_then(|reason| reason.as_str())?;
        Some((event, Reason::parse(word)?))
    })
}
