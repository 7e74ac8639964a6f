//! What a decision rests on: from the caches, and from the API server where the decision asks for that.

use std::sync::Arc;

use holdfast_api::names::{ANNOTATION_TARGET_POD_NAME, ROLE_BACKUP, ROLE_REPORT};
use holdfast_api::{Backup, BackupPlan, BackupPolicy, BackupRepo, BackupTool};
use holdfast_core::backup::{
    Observed, Pods, Read, Seen, Storage, Troubled, claims_of, in_trouble, report_job_name, section, storage,
};
use holdfast_core::driver::Found;
use holdfast_core::pod::Demands;
use holdfast_core::repo::labelled;
use holdfast_runtime::clock;
use holdfast_runtime::watch::Key;
use holdfast_runtime::write::{self, WriteError};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::Context;

/// What one pass knows of a Backup: the copy that is decided on, and what was read for it from the API server.
pub(crate) struct Known {
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
    demands: Option<Demands>,
    events: Option<Vec<Event>>,
}

/// The target pod and what its place depends on.
#[derive(Default)]
struct Target {
    pod: Seen<Pod>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
    volume: Option<Arc<PersistentVolume>>,
    node: Option<Arc<Node>>,
}

impl Known {
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
            demands: None,
            events: None,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.backup.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn plan(&self) -> Option<&BackupPlan> {
        self.backup.status.as_ref()?.plan.as_ref()
    }

    fn uid(&self) -> &str {
        self.backup.metadata.uid.as_deref().unwrap_or_default()
    }

    fn job_name(&self) -> Option<&str> {
        Some(self.plan()?.work.job().ok()?.job_name.as_str())
    }
}

/// The tool as planned, or as it would be planned now.
fn tool_name(known: &Known, policy: Option<&BackupPolicy>) -> Option<String> {
    match known.plan() {
        Some(plan) => Some(plan.work.job().ok()?.tool.name.clone()),
        None => section(policy?)?.backup_tool_name.clone(),
    }
}

/// Which repository and claim a Backup uses: as planned, or as it would be planned now.
struct Place {
    repo: Option<String>,
    claim: Option<String>,
}

fn place(context: &Context, known: &Known, policy: Option<&BackupPolicy>, repos: &[Arc<BackupRepo>]) -> Place {
    if let Some(plan) = known.plan() {
        let repository = plan.location.repository.as_ref();
        return Place {
            repo: repository.map(|repository| repository.name.clone()),
            claim: plan.location.access.claim().ok().map(str::to_owned),
        };
    }
    match policy
        .and_then(section)
        .map(|section| storage(&known.backup, section, repos))
    {
        Some(Ok(Storage::Repo(name))) => {
            let repo = repo(context, known, &name);
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

fn policy(context: &Context, known: &Known) -> Seen<BackupPolicy> {
    let name = &known.backup.spec.backup_policy_name;
    known
        .policy
        .clone()
        .unwrap_or_else(|| Seen::cached(context.caches.policies.get(known.namespace(), name)))
}

fn repo(context: &Context, known: &Known, name: &str) -> Seen<BackupRepo> {
    known
        .repo
        .clone()
        .unwrap_or_else(|| Seen::cached(context.caches.repos.get("", name)))
}

/// Everything as it is known now. Touches nothing but memory.
pub(crate) fn observe(context: &Context, known: &Known) -> Observed {
    let caches = &context.caches;
    let namespace = known.namespace();
    let policy = policy(context, known);
    let repos = caches.repos.all();
    let place = place(context, known, policy.get(), &repos);
    let tool = tool_name(known, policy.get());
    let job = |read: &Option<Seen<Job>>, name: Option<&str>| {
        let look = || {
            let name = name?;
            caches
                .jobs
                .get(namespace, name)
                .or_else(|| context.written.created(&known.backup, name))
        };
        read.clone().unwrap_or_else(|| Seen::cached(look()))
    };
    let pods = |read: &Option<Pods>, role: &str| {
        let look = || Pods {
            items: caches.pods_of(known.uid(), role),
            live: false,
        };
        read.clone().unwrap_or_else(look)
    };
    Observed {
        settings: Arc::clone(&context.settings),
        backup: Arc::clone(&known.backup),
        backup_read: known.read_at,
        tool: known
            .tool
            .clone()
            .unwrap_or_else(|| Seen::cached(tool.and_then(|name| caches.tools.get("", &name)))),
        repo: place
            .repo
            .as_deref()
            .map(|name| repo(context, known, name))
            .unwrap_or_default(),
        claim: known.claim.clone().unwrap_or_else(|| {
            Seen::cached(
                place
                    .claim
                    .as_deref()
                    .and_then(|name| caches.claims.get(namespace, name)),
            )
        }),
        policy,
        repos,
        volume: known.target.volume.clone(),
        node: known.target.node.clone(),
        target: known.target.pod.clone(),
        target_claims: known.target.claims.clone(),
        job: job(&known.job, known.job_name()),
        pods: pods(&known.pods, ROLE_BACKUP),
        report: job(&known.report, Some(&report_job_name(&known.backup))),
        report_pods: pods(&known.report_pods, ROLE_REPORT),
        refused: context.written.refused(&known.backup),
        demands: known.demands.or_else(|| context.reads.demands.known(namespace)),
        events: known.events.clone(),
    }
}

/// Reads one thing from the API server.
pub(crate) async fn look(context: &Context, known: &mut Known, read: Read) -> Result<Found, WriteError> {
    let client = context.service.client.clone();
    let namespace = known.namespace().to_owned();
    match read {
        Read::Backup => return look_at_backup(context, known).await,
        Read::Policy => {
            let api: Api<BackupPolicy> = Api::namespaced(client, &namespace);
            known.policy = Some(live(&api, Some(&known.backup.spec.backup_policy_name)).await?);
        }
        Read::Tool => {
            let name = tool_name(known, policy(context, known).get());
            known.tool = Some(live(&Api::all(client), name.as_deref()).await?);
        }
        Read::Repo => {
            let place = place(
                context,
                known,
                policy(context, known).get(),
                &context.caches.repos.all(),
            );
            known.repo = Some(live_repo(&Api::all(client), place.repo.as_deref()).await?);
        }
        Read::Claim => {
            let place = place(
                context,
                known,
                policy(context, known).get(),
                &context.caches.repos.all(),
            );
            known.claim = Some(live(&Api::namespaced(client, &namespace), place.claim.as_deref()).await?);
        }
        Read::Target => known.target = look_at_target(context, known).await?,
        Read::Job => {
            let name = known.job_name().map(str::to_owned);
            known.job = Some(live(&Api::namespaced(client, &namespace), name.as_deref()).await?);
        }
        Read::Report => {
            let name = report_job_name(&known.backup);
            known.report = Some(live(&Api::namespaced(client, &namespace), Some(&name)).await?);
        }
        Read::Pods => known.pods = Some(list_pods(context, known, ROLE_BACKUP).await?),
        Read::Demands => {
            let demands = write::demands_of(&client, &namespace).await?;
            context.reads.demands.put(&namespace, demands);
            known.demands = Some(demands);
        }
        Read::Events => {
            let Troubled { uids, node } = in_trouble(&observe(context, known));
            known.events = Some(write::warnings_about(&client, &namespace, &uids).await?);
            if let Some(node) = node {
                known.target.node = look_at_node(context, node).await?;
            }
        }
        Read::ReportPods => known.report_pods = Some(list_pods(context, known, ROLE_REPORT).await?),
    }
    Ok(Found::Known)
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

async fn look_at_backup(context: &Context, known: &mut Known) -> Result<Found, WriteError> {
    let api: Api<Backup> = Api::namespaced(context.service.client.clone(), known.namespace());
    let Some(backup) = write::get(&api, &known.backup.name_any()).await?.map(Arc::new) else {
        return Ok(Found::Gone);
    };
    if backup.uid() != known.backup.uid() {
        return Ok(Found::Gone);
    }
    answered(context, known, backup);
    Ok(Found::Known)
}

/// Takes over a copy that the API server has just answered with.
pub(crate) fn answered(context: &Context, known: &mut Known, backup: Arc<Backup>) {
    context.written.backup(&backup);
    known.backup = backup;
    known.read_at = Some(clock::now());
}

async fn look_at_target(context: &Context, known: &Known) -> Result<Target, WriteError> {
    let client = &context.service.client;
    let namespace = known.namespace();
    let Some(name) = known.backup.annotations().get(ANNOTATION_TARGET_POD_NAME) else {
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
    let observed = observe(context, known);
    let bound = observed
        .claim
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
        target.node = look_at_node(context, node).await?;
    }
    Ok(target)
}

/// A node; who may not read nodes leaves it to the scheduler to say what is wrong with it.
async fn look_at_node(context: &Context, name: String) -> Result<Option<Arc<Node>>, WriteError> {
    let nodes = Api::all(context.service.client.clone());
    match context.reads.nodes.get(&nodes, Key::new("", name)).await {
        Err(WriteError::Refused(_)) => Ok(None),
        other => other,
    }
}

async fn list_pods(context: &Context, known: &Known, role: &str) -> Result<Pods, WriteError> {
    use holdfast_api::names::{LABEL_BACKUP_UID, LABEL_ROLE};
    let api: Api<Pod> = Api::namespaced(context.service.client.clone(), known.namespace());
    let selector = format!("{LABEL_BACKUP_UID}={},{LABEL_ROLE}={role}", known.uid());
    let pods = write::list(&api, &ListParams::default().labels(&selector)).await?;
    Ok(Pods {
        items: pods.into_iter().map(Arc::new).collect(),
        live: true,
    })
}
