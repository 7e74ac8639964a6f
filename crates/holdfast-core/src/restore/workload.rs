//! The workload that a restore stops and brings back: a StatefulSet or a Deployment.

use std::collections::BTreeMap;

use holdfast_api::{
    names::{ANNOTATION_HELD, LABEL_HELD},
    suspend_lock::SuspendLock,
};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{LocalObjectReference, Pod, PodSecurityContext, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ManagedFieldsEntry, ObjectMeta},
};
use serde_json::{Value, json};

use crate::{
    decision::{self, Target},
    pod::{pull_secrets, security_of},
};

/// The kinds of workload that can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A StatefulSet.
    StatefulSet,
    /// A Deployment.
    Deployment,
}

impl Kind {
    /// The name in manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StatefulSet => "StatefulSet",
            Self::Deployment => "Deployment",
        }
    }
}

/// A workload, as far as a restore cares.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What it is.
    pub kind: Kind,
    /// Its metadata without managed fields.
    pub metadata: ObjectMeta,
    /// How many replicas it shall have.
    pub replicas: i32,
    /// How many are Ready, of the generation that was last observed.
    pub ready: i32,
    /// Whether its controller has seen the present generation.
    pub observed: bool,
    /// How its pods are selected.
    pub selector: LabelSelector,
    /// The image of its first container.
    pub image: Option<String>,
    /// The Secrets that its pods pull images with.
    pub pull_secrets: Vec<LocalObjectReference>,
    /// As whom its pods run.
    pub security: PodSecurityContext,
    /// The claims that its pods' template names.
    pub template_claims: Vec<String>,
    /// The names of its claim templates.
    pub claim_templates: Vec<String>,
    /// Whether scaling it down deletes its claims.
    pub when_scaled_delete: bool,
    /// Who else sets its replicas, if anybody.
    pub applier: Option<String>,
}

/// Field managers that put replicas back to what a repository says.
const APPLIERS: &[&str] = &["argocd", "kustomize-controller", "helm-controller", "flux", "fleet"];

impl Workload {
    /// From a StatefulSet.
    pub fn stateful_set(set: &StatefulSet) -> Self {
        let spec = set.spec.as_ref();
        let status = set.status.as_ref();
        let policy = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
        let template = spec.map(|spec| &spec.template);
        Self {
            kind: Kind::StatefulSet,
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            ready: status.and_then(|status| status.ready_replicas).unwrap_or_default(),
            observed: status.and_then(|status| status.observed_generation) >= set.metadata.generation,
            selector: spec.map(|spec| spec.selector.clone()).unwrap_or_default(),
            image: template.and_then(|template| template.spec.as_ref()?.containers.first()?.image.clone()),
            pull_secrets: pull_secrets(template.and_then(|template| template.spec.as_ref())),
            security: security(template),
            template_claims: template_claims(template),
            claim_templates: spec
                .and_then(|spec| spec.volume_claim_templates.as_ref())
                .into_iter()
                .flatten()
                .filter_map(|claim| claim.metadata.name.clone())
                .collect(),
            when_scaled_delete: policy.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete"),
            applier: applier(set.metadata.managed_fields.as_deref().unwrap_or_default()),
            metadata: without_fields(&set.metadata),
        }
    }

    /// From a Deployment.
    pub fn deployment(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let status = deployment.status.as_ref();
        let template = spec.map(|spec| &spec.template);
        Self {
            kind: Kind::Deployment,
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            ready: status.and_then(|status| status.ready_replicas).unwrap_or_default(),
            observed: status.and_then(|status| status.observed_generation) >= deployment.metadata.generation,
            selector: spec.map(|spec| spec.selector.clone()).unwrap_or_default(),
            image: template.and_then(|template| template.spec.as_ref()?.containers.first()?.image.clone()),
            pull_secrets: pull_secrets(template.and_then(|template| template.spec.as_ref())),
            security: security(template),
            template_claims: template_claims(template),
            claim_templates: Vec::new(),
            when_scaled_delete: false,
            applier: applier(deployment.metadata.managed_fields.as_deref().unwrap_or_default()),
            metadata: without_fields(&deployment.metadata),
        }
    }

    /// Name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Uid.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Whether a claim is one of its pods': named in their template, or `<template>-<name>-<ordinal>` (Kubernetes
    /// documentation, "StatefulSet", stable storage).
    pub fn claims(&self, claim: &str) -> bool {
        let of_template = |template: &String| {
            let ordinal = claim
                .strip_prefix(template.as_str())
                .and_then(|rest| rest.strip_prefix('-')?.strip_prefix(self.name())?.strip_prefix('-'));
            ordinal.is_some_and(|ordinal| !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit()))
        };
        self.template_claims.iter().any(|known| known == claim) || self.claim_templates.iter().any(of_template)
    }

    /// This very workload, in the state that was read.
    pub(super) fn target(&self) -> Target {
        Target {
            kind: match self.kind {
                Kind::StatefulSet => decision::Kind::StatefulSet,
                Kind::Deployment => decision::Kind::Deployment,
            },
            namespace: self.metadata.namespace.clone().unwrap_or_default(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            resource_version: self.metadata.resource_version.clone(),
        }
    }

    /// Kind and name, for people.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.name())
    }

    /// Its suspend lock, from the annotation; one that cannot be read is none, and [`Workload::is_marked`] tells.
    pub fn suspend_lock(&self) -> Option<SuspendLock> {
        serde_json::from_str(self.annotations().get(ANNOTATION_HELD)?).ok()
    }

    /// Whether it carries a suspend lock, readable or not.
    pub fn is_marked(&self) -> bool {
        self.annotations().contains_key(ANNOTATION_HELD)
    }

    /// The controller that owns it, if any.
    pub fn owner(&self) -> Option<String> {
        let owners = self.metadata.owner_references.as_deref().unwrap_or_default();
        let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
        Some(format!("{} {}", owner.kind, owner.name))
    }

    fn annotations(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata.annotations.as_ref().unwrap_or(&NONE)
    }

    /// The patch that stops it: the undo is written in the same breath.
    pub(super) fn suspend(lock: &SuspendLock) -> Value {
        let mark = serde_json::to_string(lock).unwrap_or_default();
        json!({
            "metadata": {"annotations": {ANNOTATION_HELD: mark}, "labels": {LABEL_HELD: "true"}},
            "spec": {"replicas": 0},
        })
    }

    /// The patch that brings it back.
    pub(super) fn resume(replicas: i32) -> Value {
        json!({
            "metadata": {"annotations": {ANNOTATION_HELD: null}, "labels": {LABEL_HELD: null}},
            "spec": {"replicas": replicas},
        })
    }
}

fn security(template: Option<&PodTemplateSpec>) -> PodSecurityContext {
    let spec = template.and_then(|template| template.spec.clone());
    security_of(&Pod { spec, ..Pod::default() })
}

fn template_claims(template: Option<&PodTemplateSpec>) -> Vec<String> {
    let volumes = template.and_then(|template| template.spec.as_ref()?.volumes.as_deref());
    claim_names(volumes.unwrap_or_default()).map(str::to_owned).collect()
}

/// The claims that volumes name.
pub fn claim_names(volumes: &[Volume]) -> impl Iterator<Item = &str> {
    let claims = volumes
        .iter()
        .filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.map(|claim| claim.claim_name.as_str())
}

fn without_fields(metadata: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        managed_fields: None,
        ..metadata.clone()
    }
}

/// Who, of those that would put replicas back, sets them.
fn applier(fields: &[ManagedFieldsEntry]) -> Option<String> {
    let sets = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| fields.pointer("/f:spec/f:replicas").is_some())
    };
    let managers = fields.iter().filter(sets).filter_map(|entry| entry.manager.as_deref());
    managers
        .into_iter()
        .find(|manager| APPLIERS.iter().any(|known| manager.contains(known)))
        .map(str::to_owned)
}
