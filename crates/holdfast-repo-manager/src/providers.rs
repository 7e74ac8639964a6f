//! Looks at one StorageProvider: observe, decide, apply, tell.

use std::{sync::Arc, time::Duration};

use holdfast_api::{ObjectMetaExt as _, StorageProvider};
use holdfast_core::repo::{ObservedProvider, ProviderDecision, ProviderWrite, decide_provider};
use holdfast_runtime::{
    Next, STAND_BY, clock,
    watch::Key,
    write::{self, WriteError},
};
use kube::Api;

use crate::{Context, observe};

/// After a write the watch shows it and wakes the provider; this is for when it does not.
const AFTER_WRITE: Duration = Duration::from_secs(2);

/// Looks at a provider.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, WriteError> {
    let found = context.caches.providers.by_key(&key);
    if !context.leader.leads() {
        return Ok(found.map_or(Next::AwaitChange, |_| STAND_BY));
    }
    let all = context.caches.providers.all();
    context.metrics.providers(all.iter().map(|provider| &**provider));
    let Some(provider) = found else {
        return Ok(Next::AwaitChange);
    };
    let driver = provider.spec.csi_driver_name.clone().unwrap_or_default();
    let going = provider.is_terminating();
    let driver_installed = !going && observe::driver_installed(&context, &driver).await?;
    let observed = ObservedProvider {
        provider: (*provider).clone(),
        driver_installed,
    };
    let ProviderDecision { write, events } = decide_provider(&observed, clock::now());
    let Some(write) = write else {
        return Ok(Next::AwaitChange);
    };
    if !context.leader.leads() {
        return Ok(STAND_BY);
    }
    let api: Api<StorageProvider> = Api::all(context.service.client.clone());
    match write {
        ProviderWrite::Metadata(metadata) => write::patch_metadata(&api, &*provider, metadata).await?,
        ProviderWrite::Status(status) => {
            let wanted = StorageProvider {
                status: Some(*status),
                ..observed.provider
            };
            write::put_status(&api, &wanted).await?
        }
    };
    for event in events {
        context
            .service
            .events
            .publish(&*provider, event.warning, event.reason.as_str(), &event.message)
            .await;
    }
    Ok(Next::After(AFTER_WRITE))
}
