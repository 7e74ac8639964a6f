//! What a decision rests on: from the caches, and from the API server where the decision asks for that.

use std::sync::Arc;

use holdfast_api::names::{ANNOTATION_TARGET_POD_NAME, ROLE_BACKUP, ROLE_REPORT};
use holdfast_api::{Backup, BackupPolicy, BackupRepo, BackupTool};
use holdfast_core::backup::{Observed, Pods, Read, Seen, Storage, claims_of, report_job_name, section, storage};
use holdfast_core::repo::labelled;
use holdfast_runtime::clock;
use holdfast_runtime::watch::Key;
use holdfast_runtime::write::{self, WriteError};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::Context;

/// One pass over a Backup: the copy that is decided on, and what was read for it from the API server.
pub(crate) struct Pass {
    pub(crate) backup: Arc<Backup>,
    /// When the API server answered with that copy.
    pub(crate) read_at: Option<Timestamp>,
    policy: Option<Seen<BackupPolicy>>,
    tool: Option<Seen<BackupTool>>,
    repo: Option<Seen<BackupRepo>>,
    pub(crate) claim: Option<Seen<PersistentVolumeClaim>>,
    target: Target,
    pub(crate) job: Option<Seen<Job>>,
    pods: Option<Pods>,
    pub(crate) report: Option<Seen<Job>>,
    report_pods: Option<Pods>,
}

/// The target pod and what its place depends on.
#[derive(Default)]
struct Target {
    pod: Seen<Pod>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
    volume: Option<Arc<PersistentVolume>>,
    node: Option<Arc<Node>>,
}

impl Pass {
    pub(crate) fn new(backup: Arc<Backup>) -> Self {
        Self {
            backup,
            read_at: None,
            policy: None,
            tool: None,
            repo: None,
            claim: None,
            target: Target::default(),
            job: None,
            pods: None,
            report: None,
            report_pods: None,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.backup.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.backup.metadata.uid.as_deref().unwrap_or_default()
    }

    fn job_name(&self) -> Option<&str> {
        Some(self.backup.status.as_ref()?.plan.as_ref()?.job_name.as_str())
    }
}

fn tool_name(policy: Option<&BackupPolicy>) -> Option<String> {
    section(policy?)?.backup_tool_name.clone()
}

/// Which repository and claim a Backup uses: as planned, or as it would be planned now.
struct Place {
    repo: Option<String>,
    claim: Option<String>,
}

fn place(context: &Context, pass: &Pass, policy: Option<&BackupPolicy>, repos: &[Arc<BackupRepo>]) -> Place {
    if let Some(plan) = pass.backup.status.as_ref().and_then(|status| status.plan.as_ref()) {
        return Place {
            repo: plan.repo_name.clone(),
            claim: Some(plan.persistent_volume_claim_name.clone()),
        };
    }
    match policy
        .and_then(section)
        .map(|section| storage(&pass.backup, section, repos))
    {
        Some(Ok(Storage::Repo(name))) => {
            let repo = repo(context, pass, &name);
            let claim = repo
                .get()
                .and_then(|repo| repo.status.as_ref()?.backup_pvc_name.clone());
            Place {
                repo: Some(name),
                claim,
            }
        }
        Some(Ok(Storage::Claim(name))) => Place {
            repo: None,
            claim: Some(name),
        },
        _ => Place {
            repo: None,
            claim: None,
        },
    }
}

fn policy(context: &Context, pass: &Pass) -> Seen<BackupPolicy> {
    let name = &pass.backup.spec.backup_policy_name;
    pass.policy
        .clone()
        .unwrap_or_else(|| Seen::cached(context.caches.policies.get(pass.namespace(), name)))
}

fn repo(context: &Context, pass: &Pass, name: &str) -> Seen<BackupRepo> {
    pass.repo
        .clone()
        .unwrap_or_else(|| Seen::cached(context.caches.repos.get("", name)))
}

/// Everything as it is known now. Touches nothing but memory.
pub(crate) fn observe(context: &Context, pass: &Pass) -> Observed {
    let caches = &context.caches;
    let namespace = pass.namespace();
    let policy = policy(context, pass);
    let repos = caches.repos.all();
    let place = place(context, pass, policy.get(), &repos);
    let tool = tool_name(policy.get());
    let job = |known: &Option<Seen<Job>>, name: Option<&str>| {
        let look = || {
            let name = name?;
            caches
                .jobs
                .get(namespace, name)
                .or_else(|| context.written.created(&pass.backup, name))
        };
        known.clone().unwrap_or_else(|| Seen::cached(look()))
    };
    let pods = |known: &Option<Pods>, role: &str| {
        let look = || Pods {
            items: caches.pods_of(pass.uid(), role),
            live: false,
        };
        known.clone().unwrap_or_else(look)
    };
    Observed {
        settings: Arc::clone(&context.settings),
        backup: Arc::clone(&pass.backup),
        backup_read: pass.read_at,
        tool: pass
            .tool
            .clone()
            .unwrap_or_else(|| Seen::cached(tool.and_then(|name| caches.tools.get("", &name)))),
        repo: place
            .repo
            .as_deref()
            .map(|name| repo(context, pass, name))
            .unwrap_or_default(),
        pvc: pass.claim.clone().unwrap_or_else(|| {
            Seen::cached(
                place
                    .claim
                    .as_deref()
                    .and_then(|name| caches.claims.get(namespace, name)),
            )
        }),
        policy,
        repos,
        volume: pass.target.volume.clone(),
        node: pass.target.node.clone(),
        target: pass.target.pod.clone(),
        claims: pass.target.claims.clone(),
        job: job(&pass.job, pass.job_name()),
        pods: pods(&pass.pods, ROLE_BACKUP),
        report: job(&pass.report, Some(&report_job_name(&pass.backup))),
        report_pods: pods(&pass.report_pods, ROLE_REPORT),
        refused: context.written.refused(&pass.backup),
    }
}

/// Reads one thing from the API server. False if the Backup is gone: there is nothing left to decide.
pub(crate) async fn look(context: &Context, pass: &mut Pass, read: Read) -> Result<bool, WriteError> {
    let client = context.service.client.clone();
    let namespace = pass.namespace().to_owned();
    match read {
        Read::Backup => return look_at_backup(context, pass).await,
        Read::Policy => {
            let api: Api<BackupPolicy> = Api::namespaced(client, &namespace);
            pass.policy = Some(live(&api, Some(&pass.backup.spec.backup_policy_name)).await?);
        }
        Read::Tool => {
            let name = tool_name(policy(context, pass).get());
            pass.tool = Some(live(&Api::all(client), name.as_deref()).await?);
        }
        Read::Repo => {
            let place = place(context, pass, policy(context, pass).get(), &context.caches.repos.all());
            pass.repo = Some(live_repo(&Api::all(client), place.repo.as_deref()).await?);
        }
        Read::Claim => {
            let place = place(context, pass, policy(context, pass).get(), &context.caches.repos.all());
            pass.claim = Some(live(&Api::namespaced(client, &namespace), place.claim.as_deref()).await?);
        }
        Read::Target => pass.target = look_at_target(context, pass).await?,
        Read::Job => {
            let name = pass.job_name().map(str::to_owned);
            pass.job = Some(live(&Api::namespaced(client, &namespace), name.as_deref()).await?);
        }
        Read::Report => {
            let name = report_job_name(&pass.backup);
            pass.report = Some(live(&Api::namespaced(client, &namespace), Some(&name)).await?);
        }
        Read::Pods => pass.pods = Some(list_pods(context, pass, ROLE_BACKUP).await?),
        Read::ReportPods => pass.report_pods = Some(list_pods(context, pass, ROLE_REPORT).await?),
    }
    Ok(true)
}

async fn live<K>(api: &Api<K>, name: Option<&str>) -> Result<Seen<K>, WriteError>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    Ok(match name.filter(|name| !name.is_empty()) {
        Some(name) => match write::get(api, name).await {
            Err(WriteError::Unreadable(why)) => Seen::unreadable(why),
            found => Seen::live(found?.map(Arc::new)),
        },
        None => Seen::live(None),
    })
}

/// As [`live`]; a label that was cut names no repository, so that all are looked through before there is none.
async fn live_repo(api: &Api<BackupRepo>, name: Option<&str>) -> Result<Seen<BackupRepo>, WriteError> {
    let named = live(api, name).await?;
    let Some(label) = name.filter(|name| !name.is_empty() && named.get().is_none()) else {
        return Ok(named);
    };
    let all = write::list(api, &ListParams::default()).await?;
    Ok(Seen::live(labelled(label, &all).cloned().map(Arc::new)))
}

async fn look_at_backup(context: &Context, pass: &mut Pass) -> Result<bool, WriteError> {
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), pass.namespace());
    let Some(backup) = write::get(&api, &pass.backup.name_any()).await?.map(Arc::new) else {
        return Ok(false);
    };
    if backup.uid() != pass.backup.uid() {
        return Ok(false);
    }
    answered(context, pass, backup);
    Ok(true)
}

/// Takes over a copy that the API server has just answered with.
pub(crate) fn answered(context: &Context, pass: &mut Pass, backup: Arc<Backup>) {
    context.written.backup(&backup);
    pass.backup = backup;
    pass.read_at = Some(clock::now());
}

async fn look_at_target(context: &Context, pass: &Pass) -> Result<Target, WriteError> {
    let client = &context.service.client;
    let namespace = pass.namespace();
    let Some(name) = pass.backup.annotations().get(ANNOTATION_TARGET_POD_NAME) else {
        return Ok(Target {
            pod: Seen::live(None),
            ..Target::default()
        });
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = context
        .reads
        .targets
        .get(&pods, Key::new(namespace, name.as_str()))
        .await?;
    let mut target = Target {
        pod: Seen::live(pod.clone()),
        ..Target::default()
    };
    let Some(pod) = pod else { return Ok(target) };
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    for claim in claims_of(&pod) {
        target
            .claims
            .extend(context.reads.claims.get(&claims, Key::new(namespace, claim)).await?);
    }
    let observed = observe(context, pass);
    let bound = observed
        .pvc
        .get()
        .and_then(|claim| claim.spec.as_ref()?.volume_name.clone());
    if let Some(volume) = bound.filter(|name| !name.is_empty()) {
        let volumes = Api::all(client.clone());
        target.volume = context.reads.volumes.get(&volumes, Key::new("", volume)).await?;
    }
    let confined = target
        .volume
        .as_ref()
        .is_some_and(|volume| volume.spec.as_ref().is_some_and(|spec| spec.node_affinity.is_some()));
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    if let (true, Some(node)) = (confined, node) {
        target.node = match context
            .reads
            .nodes
            .get(&Api::all(client.clone()), Key::new("", node))
            .await
        {
            // Who may not read nodes leaves it to the scheduler to say that the volume is elsewhere.
            Err(WriteError::Refused(_)) => None,
            other => other?,
        };
    }
    Ok(target)
}

async fn list_pods(context: &Context, pass: &Pass, role: &str) -> Result<Pods, WriteError> {
    use holdfast_api::names::{LABEL_BACKUP_UID, LABEL_ROLE};
    let api: Api<Pod> = Api::namespaced(context.service.client.clone(), pass.namespace());
    let selector = format!("{LABEL_BACKUP_UID}={},{LABEL_ROLE}={role}", pass.uid());
    let pods = write::list(&api, &ListParams::default().labels(&selector)).await?;
    Ok(Pods {
        items: pods.into_iter().map(Arc::new).collect(),
        live: true,
    })
}
