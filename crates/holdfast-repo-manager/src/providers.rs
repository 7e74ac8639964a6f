//! One pass over a StorageProvider.

use std::sync::Arc;

use holdfast_api::{ObjectMetaExt as _, StorageProvider, StorageProviderStatus};
use holdfast_core::{
    decision::{Intent, Notice, Write},
    driver::{Found, Standing, Written},
    repo::{ObservedProvider, ProviderDecision, decide_provider},
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

/// Looks at a provider.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, WriteError> {
    let found = context.caches.providers.by_key(&key);
    let standing = leads(&context.leader);
    if standing == Standing::Go {
        let all = context.caches.providers.all();
        context.metrics.providers(all.iter().map(|provider| &**provider));
    }
    let Some(provider) = found else {
        return Ok(Next::AwaitChange);
    };
    if let Standing::Later(wait) = standing {
        return Ok(Next::After(wait));
    }
    let pass = ProviderPass {
        context: &context,
        api: Api::all(context.service.client.clone()),
        observed: observe(&context, (*provider).clone()).await?,
    };
    reconcile::reconcile(pass).await
}

async fn observe(context: &Context, provider: StorageProvider) -> Result<ObservedProvider, WriteError> {
    let driver = provider.spec.csi_driver_name.clone().unwrap_or_default();
    let driver_installed = !provider.is_terminating() && observe::driver_installed(context, &driver).await?;
    Ok(ObservedProvider {
        provider,
        driver_installed,
    })
}

struct ProviderPass<'a> {
    context: &'a Context,
    api: Api<StorageProvider>,
    observed: ObservedProvider,
}

impl Pass for ProviderPass<'_> {
    type Status = StorageProviderStatus;
    type Read = std::convert::Infallible;

    fn decide(&mut self, now: Timestamp) -> ProviderDecision {
        decide_provider(&self.observed, now)
    }

    fn standing(&mut self, _: Intent) -> Standing {
        leads(&self.context.leader)
    }

    async fn read(&mut self, read: Self::Read) -> Result<Found, WriteError> {
        match read {}
    }

    async fn write(&mut self, write: Write<StorageProviderStatus>) -> Result<Written, WriteError> {
        let provider = self.observed.provider.clone();
        match apply(&self.context.service.client, &self.api, &provider, write).await {
            Ok(Applied::Object(stored)) => {
                self.observed.provider = *stored;
                Ok(Written::Stored)
            }
            Ok(Applied::Created(_) | Applied::Other) => Ok(Written::Stored),
            Err(WriteError::Conflict) => match get(&self.api, &provider.name_any()).await? {
                Some(found) if found.metadata.uid == provider.metadata.uid => {
                    self.observed = observe(self.context, found).await?;
                    Ok(Written::Stale)
                }
                _ => Ok(Written::Gone),
            },
            Err(WriteError::NotFound) => Ok(Written::Gone),
            Err(error) => Err(error),
        }
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        emit(&self.context.service, &self.observed.provider, notices).await;
    }
}
