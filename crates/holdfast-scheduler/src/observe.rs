//! What admission rests on, from the caches, and live where a decision asks for it.

use std::{fmt::Debug, sync::Arc};

use holdfast_api::{Backup, BackupPolicy, BackupRepo, BackupTool};
use holdfast_core::{
    admission::{Observed, Read},
    backup::{self, Seen},
    policy::{self, Name},
    target,
};
use holdfast_runtime::{trace, write, write::WriteError};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;

use crate::Context;

/// What the caches know.
pub(crate) fn observe(context: &Context, backup: Arc<Backup>) -> Observed {
    let namespace = backup.namespace().unwrap_or_default();
    let policy = context.policies.get(&namespace, &backup.spec.backup_policy_name);
    Observed {
        backup,
        tool: tool(context, policy.as_deref()),
        policy: Seen::cached(policy),
        repos: context.repos.all(),
        repos_live: false,
        repo: Seen::default(),
        claim: Seen::default(),
        claim_refused: None,
        pods: None,
        not_ready_timeout: context.not_ready_timeout,
        traceparent: trace::new_traceparent(),
    }
}

/// The tool that a policy names.
fn tool(context: &Context, policy: Option<&BackupPolicy>) -> Seen<BackupTool> {
    let section = policy.and_then(backup::section);
    let name = section.and_then(|section| section.backup_tool_name.as_deref());
    Seen::cached(name.and_then(|name| context.tools.get("", name)))
}

/// What the caches know of what a policy names; what the API server said stays, until a cache shows more.
pub(crate) fn named(context: &Context, observed: &mut policy::Observed) {
    let cached_tool = Name::Tool
        .of(&observed.policy)
        .and_then(|name| context.tools.get("", name));
    let cached_repo = Name::Repo
        .of(&observed.policy)
        .and_then(|name| context.repos.get("", name));
    if cached_tool.is_some() || !observed.named.tool.live {
        observed.named.tool = Seen::cached(cached_tool);
    }
    if cached_repo.is_some() || !observed.named.repo.live {
        observed.named.repo = Seen::cached(cached_repo);
    }
}

/// Reads what a policy names from the API server itself.
pub(crate) async fn read_named(
    context: &Context,
    observed: &mut policy::Observed,
    name: Name,
) -> Result<(), WriteError> {
    let client = context.service.client.clone();
    let text = name.of(&observed.policy).unwrap_or_default().to_owned();
    match name {
        Name::Tool => observed.named.tool = live(&Api::all(client), &text).await?,
        Name::Repo => observed.named.repo = live(&Api::all(client), &text).await?,
    }
    Ok(())
}

/// Reads what the decision asks for from the API server itself.
pub(crate) async fn read(context: &Context, observed: &mut Observed, read: Read) -> Result<(), WriteError> {
    let client = context.service.client.clone();
    let namespace = observed.backup.namespace().unwrap_or_default();
    let section = observed.policy.get().and_then(backup::section).cloned();
    match read {
        Read::Policy => {
            let api = Api::namespaced(client, &namespace);
            let policy = live(&api, &observed.backup.spec.backup_policy_name).await?;
            // What it names may be another tool, another place, other pods.
            observed.tool = tool(context, policy.get());
            (observed.repo, observed.claim, observed.pods) = (Seen::default(), Seen::default(), None);
            observed.policy = policy;
        }
        Read::Tool => {
            let name = section.and_then(|section| section.backup_tool_name).unwrap_or_default();
            observed.tool = live(&Api::all(client), &name).await?;
        }
        Read::Repo => {
            let Some(backup::Storage::Repo(name)) = storage(observed) else {
                return Ok(());
            };
            observed.repo = live(&Api::all(client), &name).await?;
        }
        Read::Repos => {
            let all: Api<BackupRepo> = Api::all(client);
            let repos = write::list(&all, &ListParams::default()).await?;
            observed.repos = repos.into_iter().map(Arc::new).collect();
            observed.repos_live = true;
        }
        Read::Claim => {
            let Some(backup::Storage::Claim(name)) = storage(observed) else {
                return Ok(());
            };
            observed.claim = live(&Api::namespaced(client, &namespace), &name).await?;
        }
        Read::Pods => {
            let selector = section
                .map(|section| section.base.target.labels_selector)
                .unwrap_or_default();
            // Admission refuses a selector that cannot be written before it asks for pods.
            let labels = target::selector(&selector).map_err(|error| WriteError::Refused(error.to_string()))?;
            let api: Api<Pod> = Api::namespaced(client, &namespace);
            observed.pods = Some(write::list(&api, &ListParams::default().labels(&labels)).await?);
        }
    }
    Ok(())
}

async fn live<K>(api: &Api<K>, name: &str) -> Result<Seen<K>, WriteError>
where
    K: Clone + DeserializeOwned + Debug,
{
    match write::get(api, name).await {
        Err(WriteError::Unreadable(why)) => Ok(Seen::unreadable(why)),
        found => Ok(Seen::live(found?.map(Arc::new))),
    }
}

fn storage(observed: &Observed) -> Option<backup::Storage> {
    let section = observed.policy.get().and_then(backup::section)?;
    backup::storage(&observed.backup, section, &observed.repos).ok()
}
