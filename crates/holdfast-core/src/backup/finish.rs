//! How a run ends well: by its agent's word that the bytes are sealed, in the repository that is expected.

use std::sync::Arc;

use holdfast_api::agent::{AgentResult, Outcome};
use holdfast_api::condition::Reason;
use holdfast_api::names::ANNOTATION_REPOSITORY;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use serde_json::json;

use super::children::newest;
use super::job::main_container;
use super::observed::{Observed, Read, Write};
use super::verdict::Verdict;
use crate::decision::{Kind, Target};
use crate::pod::{agent_result, result_beside};

/// The result of a sealed run among pods, if one of them tells it.
pub(super) fn sealed(pods: &[Arc<Pod>], container: &str) -> Option<AgentResult> {
    pods.iter()
        .filter_map(|pod| agent_result(pod, container))
        .find(|result| result.outcome == Outcome::Sealed)
}

/// How many bytes the last attempt wrote that told so.
pub(super) fn written(observed: &Observed) -> Option<u64> {
    let container = main_container(&observed.backup);
    let tells = |pod: &Pod| agent_result(pod, &container).is_some_and(|result| result.bytes.is_some());
    agent_result(newest(&observed.pods.items, tells)?, &container)?.bytes
}

/// The same among pods that go on although their agent has ended, so that their Job will not end by itself.
pub(super) fn sealed_beside(pods: &[Arc<Pod>], container: &str) -> Option<AgentResult> {
    pods.iter()
        .filter_map(|pod| result_beside(pod, container))
        .find(|result| result.outcome == Outcome::Sealed)
}

/// Completes the Backup by its agent's word. The repository's identity has to be the one that is known; a claim that the
/// policy names itself has it noted on it first, since no repository keeps it.
pub(super) fn complete(observed: &Observed, result: AgentResult) -> Verdict {
    if observed.claim.get().is_none() && !observed.claim.live {
        return Verdict::Read(Read::Claim);
    }
    let Some(told) = result.repository.as_deref().filter(|id| !id.is_empty()) else {
        return Verdict::Complete(Box::new(result));
    };
    match (observed.known_identity(), own_claim(observed)) {
        (Some(known), _) if told != known => {
            let claim = observed.claim.get().map(ResourceExt::name_any).unwrap_or_default();
            let text = format!(
                "the backup lies in repository {told}, but claim \"{claim}\" belongs to repository {known}: its volume was changed"
            );
            Verdict::Fail(Reason::RepositoryMismatch, text)
        }
        (None, Some(claim)) => note(claim, told),
        _ => Verdict::Complete(Box::new(result)),
    }
}

/// The claim that the bytes went to, where the policy names it itself.
fn own_claim(observed: &Observed) -> Option<&PersistentVolumeClaim> {
    let location = &observed.plan()?.location;
    observed.claim.get().filter(|_| location.repository.is_none())
}

fn note(claim: &PersistentVolumeClaim, id: &str) -> Verdict {
    let change = json!({"metadata": {"annotations": {ANNOTATION_REPOSITORY: id}}});
    Verdict::Write(Write::Patch(Target::exactly(Kind::Claim, claim), change))
}

/// The volume that a claim is bound to.
pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> Option<String> {
    claim.spec.as_ref()?.volume_name.clone().filter(|name| !name.is_empty())
}
