//! One pass over a Backup: what is observed of it, whose turn it is, and what came of each write.

use std::sync::Arc;

use holdfast_api::names::ANNOTATION_TRACEPARENT;
use holdfast_api::{Backup, BackupStatus};
use holdfast_core::backup::{Decision, Read, Write, decide, report_job_name};
use holdfast_core::decision::{Child, Intent, Kind, Notice, Seen};
use holdfast_core::driver::{Found, Standing, Written};
use holdfast_runtime::queue::Next;
use holdfast_runtime::reconcile::{self, Pass, emit};
use holdfast_runtime::trace;
use holdfast_runtime::watch::Key;
use holdfast_runtime::write::{Applied, WriteError, apply};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt as _};

use crate::Context;
use crate::observe::{Known, answered, look, observe};
use crate::sweep::{sooner, sweep};

/// Looks at the Backup of that name, and at Jobs that Backups of that name have left.
pub(crate) async fn reconcile(context: &Context, key: Key) -> Result<Next, WriteError> {
    let current = context
        .caches
        .backups
        .by_key(&key)
        .map(|backup| context.written.latest(backup));
    let swept = sweep(context, &key, current.as_deref()).await?;
    let Some(backup) = current else { return Ok(swept) };
    trace::follow(backup.annotations().get(ANNOTATION_TRACEPARENT).map(String::as_str));
    let pass = BackupPass {
        context,
        known: Known::new(backup),
        acting: false,
    };
    Ok(sooner(reconcile::reconcile(pass).await?, swept))
}

struct BackupPass<'a> {
    context: &'a Context,
    known: Known,
    /// Whether it has been this executor's turn in this pass: it goes on with what it has begun.
    acting: bool,
}

impl Pass for BackupPass<'_> {
    type Status = BackupStatus;
    type Read = Read;

    fn decide(&mut self, now: Timestamp) -> Decision {
        decide(&observe(self.context, &self.known), now)
    }

    fn standing(&mut self, intent: Intent) -> Standing {
        if self.acting {
            return Standing::Go;
        }
        // What is wanted is told apart from what was wanted before: by the copy that it rests on, and its kind.
        let version = self.known.backup.resource_version().unwrap_or_default();
        let standing = self.context.turn(self.uid(), &format!("{version}/{intent:?}"));
        self.acting = standing == Standing::Go;
        standing
    }

    async fn read(&mut self, read: Read) -> Result<Found, WriteError> {
        look(self.context, &mut self.known, read).await
    }

    async fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        let before = Arc::clone(&self.known.backup);
        let touched = self.touched(&write);
        let created = matches!(touched, Read::Job) && write.created_job().is_some();
        let client = &self.context.service.client;
        let api: Api<Backup> = Api::namespaced(client.clone(), self.known.namespace());
        let stale = match apply(client, &api, &before, write).await {
            Ok(Applied::Object(backup)) => {
                answered(self.context, &mut self.known, Arc::new(*backup));
                None
            }
            Ok(Applied::Created(child)) => {
                self.created(touched, child);
                None
            }
            // What it is now, or whether it is gone, only a fresh read tells.
            Ok(Applied::Other) | Err(WriteError::Conflict | WriteError::Exists) => Some(touched),
            Err(WriteError::NotFound) if touched == Read::Claim => Some(touched),
            Err(WriteError::NotFound) => return Ok(Written::Gone),
            Err(WriteError::Refused(text)) if matches!(touched, Read::Job | Read::Report) => {
                self.context.written.refusal(&before, text);
                return Ok(Written::Refused);
            }
            Err(error) => return Err(error),
        };
        if let Some(read) = stale {
            return Ok(match self.read(read).await? {
                Found::Known => Written::Stale,
                Found::Gone => Written::Gone,
            });
        }
        let after = &self.known.backup;
        let namespace = self.known.namespace();
        let policy = self
            .context
            .caches
            .policies
            .get(namespace, &after.spec.backup_policy_name);
        self.context.metrics.wrote(&before, after, created, policy.as_deref());
        Ok(Written::Stored)
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        emit(&self.context.service, &*self.known.backup, notices).await;
    }

    fn settled(&mut self) {
        self.context.turns.settled(self.uid());
    }
}

impl BackupPass<'_> {
    fn uid(&self) -> &str {
        self.known.backup.metadata.uid.as_deref().unwrap_or_default()
    }

    /// What a write changes. A Job that is to be deleted is forgotten at once: whether it is still there, held by a
    /// finalizer, is read afresh.
    fn touched(&self, write: &Write) -> Read {
        let job = |name: &str| {
            if name == report_job_name(&self.known.backup) {
                Read::Report
            } else {
                Read::Job
            }
        };
        match write {
            Write::Create(Child::Job(created)) => job(&created.name_any()),
            Write::Delete(target) if target.kind == Kind::Job => {
                self.context.written.deleted(self.uid(), &target.name);
                job(&target.name)
            }
            Write::Patch(target, _) if target.kind == Kind::Claim => Read::Claim,
            _ => Read::Backup,
        }
    }

    fn created(&mut self, touched: Read, child: Child) {
        let Child::Job(job) = child else { return };
        let job = Arc::<Job>::from(job);
        self.context.written.job(&self.known.backup, &job);
        let seen = Some(Seen::live(Some(job)));
        if touched == Read::Report {
            self.known.report = seen;
        } else {
            self.known.job = seen;
        }
    }
}

impl Context {
    /// Whether it is this executor's turn to do `what` about the object of that uid, by the endpoints of the executors'
    /// Service.
    pub(crate) fn turn(&self, uid: &str, what: &str) -> Standing {
        match self.turns.wait(uid, what, &self.caches.endpoints.all()) {
            Some(wait) => Standing::Later(wait),
            None => Standing::Go,
        }
    }
}
