//! One pass over a BackupRepo: what came of each write is taken into what is observed.

use std::sync::Arc;

use holdfast_api::{BackupRepo, BackupRepoStatus, ObjectMetaExt as _};
use holdfast_core::{
    decision::{Child, Event, Intent, Kind, Notice},
    driver::{Found, Standing, Written},
    repo::{self, Decision, Observed, Write},
};
use holdfast_runtime::write::{Applied, WriteError, apply, get};
use holdfast_runtime::{
    Next,
    reconcile::{self, Pass, emit, leads},
    watch::Key,
};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use crate::{Context, observe};

/// Looks at a repository.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, WriteError> {
    let Some(repo) = context.caches.repos.by_key(&key) else {
        context.metrics.forget(&key.name);
        context.memory.forget(&key.name);
        return Ok(Next::AwaitChange);
    };
    if let Standing::Later(wait) = leads(&context.leader) {
        return Ok(Next::After(wait));
    }
    let phase = repo.status.as_ref().and_then(|status| status.phase);
    context.metrics.repo(&key.name, phase);
    let pass = RepoPass {
        context: &context,
        api: Api::all(context.service.client.clone()),
        observed: observe::repo(&context, &repo).await?,
    };
    reconcile::reconcile(pass).await
}

struct RepoPass<'a> {
    context: &'a Context,
    api: Api<BackupRepo>,
    observed: Observed,
}

/// What a write changes.
#[derive(Debug)]
enum Touched {
    Repo,
    Secret,
    StorageClass,
    /// In this namespace.
    Claim(String),
    /// The one of this uid.
    Backup(String),
}

impl Touched {
    fn by(write: &Write) -> Result<Self, WriteError> {
        let (kind, namespace, uid) = match write {
            Write::Metadata(_) | Write::Status(_) => return Ok(Self::Repo),
            Write::Create(Child::Secret(_)) => return Ok(Self::Secret),
            Write::Create(Child::StorageClass(_)) => return Ok(Self::StorageClass),
            Write::Create(Child::Claim(claim)) => return Ok(Self::Claim(claim.namespace().unwrap_or_default())),
            Write::Create(Child::Job(_) | Child::Backup(_)) => (Kind::Job, "", ""),
            Write::Patch(target, _) | Write::Delete(target) => (target.kind, &*target.namespace, &*target.uid),
        };
        match kind {
            Kind::Secret => Ok(Self::Secret),
            Kind::StorageClass => Ok(Self::StorageClass),
            Kind::Claim => Ok(Self::Claim(namespace.to_owned())),
            Kind::Backup => Ok(Self::Backup(uid.to_owned())),
            kind @ (Kind::Job | Kind::Pod | Kind::StatefulSet | Kind::Deployment) => {
                Err(WriteError::Refused(format!("a repository has no {kind:?}")))
            }
        }
    }
}

impl Pass for RepoPass<'_> {
    type Status = BackupRepoStatus;
    type Read = std::convert::Infallible;

    fn decide(&mut self, now: Timestamp) -> Decision {
        repo::decide(&self.observed, now)
    }

    fn standing(&mut self, _: Intent) -> Standing {
        leads(&self.context.leader)
    }

    async fn read(&mut self, read: Self::Read) -> Result<Found, WriteError> {
        match read {}
    }

    async fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        let touched = Touched::by(&write)?;
        let creates = write.intent() == Intent::Create;
        let repo = self.observed.repo.clone();
        match (
            apply(&self.context.service.client, &self.api, &repo, write).await,
            touched,
        ) {
            (Ok(Applied::Object(stored)), _) => {
                self.stored(*stored);
                Ok(Written::Stored)
            }
            (Ok(Applied::Created(child)), _) => {
                self.created(child);
                Ok(Written::Stored)
            }
            (Ok(Applied::Other), touched) => self.again(touched, Written::Stored).await,
            (Err(error), Touched::Claim(namespace)) if creates => self.unclaimed(namespace, error).await,
            (Err(WriteError::Refused(words)), Touched::Secret | Touched::StorageClass)
                if self.observed.refused.is_none() && !repo.is_terminating() =>
            {
                self.observed.refused = Some(words);
                Ok(Written::Refused)
            }
            // Nothing can be created where its namespace is missing, however often it is tried.
            (Err(WriteError::NotFound), _) if creates => Err(WriteError::NotFound),
            (Err(WriteError::Conflict | WriteError::Exists | WriteError::NotFound), touched) => {
                self.again(touched, Written::Stale).await
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        let repo = &self.observed.repo;
        for notice in &notices {
            if let Notice::Event(Event {
                warning: true, reason, ..
            }) = notice
            {
                self.context.metrics.problem(&repo.name_any(), reason.as_str());
            }
        }
        emit(&self.context.service, repo, notices).await;
    }
}

impl RepoPass<'_> {
    fn name(&self) -> String {
        self.observed.repo.name_any()
    }

    fn stored(&mut self, repo: BackupRepo) {
        let name = repo.name_any();
        let phase = repo.status.as_ref().and_then(|status| status.phase);
        if phase.is_some() {
            self.context.metrics.repo(&name, phase);
        }
        self.observed.repo = repo;
    }

    fn created(&mut self, child: Child) {
        match child {
            Child::Secret(secret) => self.observed.secret = Some(*secret),
            Child::StorageClass(class) => self.observed.storage_class = Some(*class),
            Child::Claim(claim) => {
                self.context.metrics.claim_created(&self.name());
                self.observed.claims.push(*claim);
            }
            Child::Job(_) | Child::Backup(_) => {}
        }
    }

    /// A claim that could not be made is remembered, so that other namespaces are served meanwhile.
    async fn unclaimed(&mut self, namespace: String, error: WriteError) -> Result<Written, WriteError> {
        let (memory, name) = (&self.context.memory, self.name());
        match error {
            WriteError::Exists => {
                memory.exists(&name, &namespace);
                return self.again(Touched::Claim(namespace), Written::Stale).await;
            }
            WriteError::Refused(words) => memory.refused(&name, &namespace, words),
            WriteError::NotFound => memory.refused(&name, &namespace, "the namespace does not exist".to_owned()),
            error => return Err(error),
        }
        self.observed.refused_claims = memory.refusals(&name);
        Ok(Written::Refused)
    }

    /// Reads afresh what was touched: a cache may still show what it was before.
    async fn again(&mut self, touched: Touched, written: Written) -> Result<Written, WriteError> {
        let client = self.context.service.client.clone();
        let names = repo::names(&self.observed.repo);
        match touched {
            Touched::Repo => {
                let uid = self.observed.repo.metadata.uid.clone();
                let found = get(&self.api, &self.name()).await?;
                let Some(found) = found.filter(|found| found.metadata.uid == uid) else {
                    return Ok(Written::Gone);
                };
                self.observed = observe::repo(self.context, &found).await?;
            }
            Touched::Secret => {
                let api = Api::namespaced(client, &self.context.service.namespace);
                self.observed.secret = get(&api, &names.secret).await?;
            }
            Touched::StorageClass => self.observed.storage_class = get(&Api::all(client), &names.storage_class).await?,
            Touched::Claim(_) if self.observed.repo.is_terminating() => {
                observe::deleting(self.context, &names, &mut self.observed).await?;
            }
            Touched::Claim(namespace) => {
                let here = Some(&namespace);
                self.observed
                    .claims
                    .retain(|claim| claim.metadata.namespace.as_ref() != here);
                let found = observe::claim(self.context, &self.observed.repo, &namespace, &names.claim).await?;
                self.observed.claims.extend(found);
            }
            // One that has changed meanwhile wakes the repository by that.
            Touched::Backup(uid) => self.observed.waiting.retain(|waiting| waiting.uid != uid),
        }
        Ok(written)
    }
}
