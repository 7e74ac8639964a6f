//! The Job around an agent's container.

use std::collections::BTreeMap;

use holdfast_api::agent::{EXIT_PERMANENT_FIRST, EXIT_PERMANENT_LAST};
use holdfast_api::names::ANNOTATION_ASSIGNMENT;
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Affinity, Container, LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, Toleration, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::demands::{Demands, meet};
use crate::settings::DataPods;

/// Of an owner's labels and annotations those with this prefix are the only ones that pods get: any other label could
/// make a Service or a `PodDisruptionBudget` of the database take them for its own.
const OWN: &str = "holdfast.io/";

/// Annotations that keep the common injectors from putting containers that never end into our pods.
const NOT_INJECTED: [(&str, &str); 4] = [
    ("sidecar.istio.io/inject", "false"),
    ("linkerd.io/inject", "disabled"),
    ("kuma.io/sidecar-injection", "disabled"),
    ("consul.hashicorp.com/connect-inject", "false"),
];

/// What a Job of ours is made of. The rest is the same for all: see [`agent_job`].
#[derive(Clone, Debug, Default)]
pub struct AgentJob {
    /// Name of the Job.
    pub name: String,
    /// Namespace of the Job.
    pub namespace: String,
    /// The Backup or RestoreJob that it belongs to; none for a purge that serves several.
    pub owner: Option<OwnerReference>,
    /// Labels of the Job; those under `holdfast.io/` go to its pods too.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Job; those under `holdfast.io/` go to its pods too.
    pub annotations: BTreeMap<String, String>,
    /// How often a failed pod is replaced.
    pub backoff_limit: i32,
    /// After how many seconds the Job is ended whatever its pods do.
    pub deadline_seconds: Option<i64>,
    /// After how many seconds the finished Job is removed if nobody of ours did.
    pub ttl_seconds: Option<i32>,
    /// The container that does the work.
    pub container: Container,
    /// [`super::prepare_container`] for tool pods; none where the agent's own image runs.
    pub init_containers: Vec<Container>,
    /// Volumes of the pod.
    pub volumes: Vec<Volume>,
    /// Where the pod may run.
    pub affinity: Option<Affinity>,
    /// Whether a disrupted pod counts as a failed attempt, so that the Job knows of every pod that ever ran.
    pub count_disruptions: bool,
    /// Secrets to pull the images with.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// What the pod tolerates; not set: everything.
    pub tolerations: Option<Vec<Toleration>>,
    /// What the installation puts on Job and pods.
    pub data_pods: DataPods,
    /// What the namespace demands of its pods.
    pub demands: Demands,
    /// As whom the target runs.
    pub security: Option<PodSecurityContext>,
    /// What [`super::assign`] has put here, for the agent of a tool.
    pub assignment: Option<String>,
    /// Keeps the pods, once deleted, until somebody of ours has seen how they ended.
    pub pod_finalizer: Option<&'static str>,
}

/// Renders a Job: pods without an API token, never restarted in place, replaced when disrupted,
/// given up at once when the agent says that trying again is no use.
pub fn agent_job(parts: AgentJob) -> Job {
    let AgentJob {
        name,
        namespace,
        owner,
        labels,
        annotations,
        backoff_limit,
        deadline_seconds,
        ttl_seconds,
        mut container,
        mut init_containers,
        volumes,
        affinity,
        count_disruptions,
        image_pull_secrets,
        tolerations,
        data_pods,
        mut demands,
        security,
        assignment,
        pod_finalizer,
    } = parts;
    demands.restricted |= data_pods.restricted;
    // The container bears the name of an object, which may be that of ours.
    for init in init_containers.iter_mut().filter(|init| init.name == container.name) {
        init.name.push_str("-agent");
    }
    container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    // The pod alone has it: it can be as large as annotations may be.
    let assignment = assignment.map(|text| (ANNOTATION_ASSIGNMENT.to_owned(), text));
    let template = ObjectMeta {
        labels: Some(on_pods(&data_pods.labels, &labels)),
        annotations: Some(
            pod_annotations(&data_pods, &annotations)
                .into_iter()
                .chain(assignment)
                .collect(),
        ),
        finalizers: pod_finalizer.map(|finalizer| vec![finalizer.to_owned()]),
        ..ObjectMeta::default()
    };
    let failure_policy = failure_policy(&container.name, count_disruptions);
    let mut pod = PodSpec {
        affinity,
        automount_service_account_token: Some(false),
        containers: vec![container],
        enable_service_links: Some(false),
        image_pull_secrets: none_if_empty(pulled_with(image_pull_secrets, data_pods.pull_secrets)),
        init_containers: none_if_empty(init_containers),
        restart_policy: Some("Never".to_owned()),
        tolerations: none_if_empty(tolerations.unwrap_or_else(|| vec![everything(None)])),
        volumes: none_if_empty(volumes),
        ..PodSpec::default()
    };
    meet(demands, &mut pod, security);
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            labels: Some(joined(data_pods.labels, labels)),
            annotations: Some(joined(data_pods.annotations, annotations)).filter(|all| !all.is_empty()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            active_deadline_seconds: deadline_seconds,
            backoff_limit: Some(backoff_limit),
            pod_failure_policy: Some(failure_policy),
            template: PodTemplateSpec {
                metadata: Some(template),
                spec: Some(pod),
            },
            ttl_seconds_after_finished: ttl_seconds,
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// What later Jobs for a Backup tolerate: what its target did. Where that is not known, every node that takes no new pods
/// but for a reason; nothing keeps them on a node that is lost.
pub fn tolerations_of(planned: &[Toleration]) -> Vec<Toleration> {
    if planned.is_empty() {
        vec![everything(Some("NoSchedule"))]
    } else {
        planned.to_vec()
    }
}

fn everything(effect: Option<&str>) -> Toleration {
    Toleration {
        operator: Some("Exists".to_owned()),
        effect: effect.map(str::to_owned),
        ..Toleration::default()
    }
}

/// Labels or annotations of a pod: the installation's, and those of ours, which nothing overrides.
fn on_pods(installation: &BTreeMap<String, String>, all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = all.iter().filter(|(key, _)| key.starts_with(OWN));
    let both = installation.iter().chain(own);
    both.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The annotations of a pod beside its assignment.
pub(super) fn pod_annotations(
    data_pods: &DataPods,
    annotations: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    opt_outs(on_pods(&data_pods.annotations, annotations))
}

/// An installation that wants its injector in our pods says so by the same annotation.
fn opt_outs(mut annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for (key, value) in NOT_INJECTED {
        annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    annotations
}

fn joined(installation: BTreeMap<String, String>, own: BTreeMap<String, String>) -> BTreeMap<String, String> {
    installation.into_iter().chain(own).collect()
}

fn failure_policy(container: &str, count_disruptions: bool) -> PodFailurePolicy {
    let disrupted = PodFailurePolicyOnPodConditionsPattern {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
    };
    let permanent = PodFailurePolicyOnExitCodesRequirement {
        container_name: Some(container.to_owned()),
        operator: "In".to_owned(),
        values: (EXIT_PERMANENT_FIRST..=EXIT_PERMANENT_LAST).collect(),
    };
    let mut rules = vec![PodFailurePolicyRule {
        action: "FailJob".to_owned(),
        on_exit_codes: Some(permanent),
        on_pod_conditions: None,
    }];
    if !count_disruptions {
        rules.push(PodFailurePolicyRule {
            action: "Ignore".to_owned(),
            on_exit_codes: None,
            on_pod_conditions: Some(vec![disrupted]),
        });
    }
    PodFailurePolicy { rules }
}

/// The workload's pull Secrets, and after them those of the installation; each once.
fn pulled_with(mut secrets: Vec<LocalObjectReference>, installation: Vec<String>) -> Vec<LocalObjectReference> {
    for name in installation {
        if !secrets.iter().any(|known| known.name == name) {
            secrets.push(LocalObjectReference { name });
        }
    }
    secrets
}

fn none_if_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
