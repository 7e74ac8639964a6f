//! Claims of a repository: one in each namespace with Backups that keep their bytes there.

use std::collections::BTreeMap;

use holdfast_api::{
    ObjectMetaExt as _,
    condition::{ConditionType, Reason},
    names::{ANNOTATION_CLAIM_REFUSED, LABEL_NEED_REPO_PVC},
    text::printable,
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::json;

use super::{
    Observed, Waiting, Write, is_ours,
    verdict::{Finding, Found},
};
use crate::decision::{Kind, Target};

/// How much of a refusal is handed on.
const WORDS_MAX: usize = 1_000;

/// Why the Backups of a namespace go on waiting.
fn problem(observed: &Observed, namespace: &str, claim: Option<&PersistentVolumeClaim>) -> Option<String> {
    let Some(claim) = claim else {
        return observed.refused_claims.get(namespace).cloned();
    };
    if !is_ours(&claim.metadata, &observed.repo) {
        return Some("a claim of this name exists and is not this repository's: rename or delete it".to_owned());
    }
    let going = claim.is_terminating();
    going.then(|| "the claim is being deleted and a new one can only be made when it is gone".to_owned())
}

fn by_namespace(observed: &Observed) -> BTreeMap<&str, Option<&PersistentVolumeClaim>> {
    let claim = |namespace: &str| {
        observed
            .claims
            .iter()
            .find(|claim| claim.metadata.namespace.as_deref() == Some(namespace))
    };
    observed
        .waiting
        .iter()
        .map(|backup| (backup.namespace.as_str(), claim(&backup.namespace)))
        .collect()
}

/// The next thing to do for Backups that wait: a claim, or the removal of the label once its claim is there, or a word
/// about why there is none. Namespaces with a problem do not hold up the others.
pub(super) fn serve(observed: &Observed, claim: &PersistentVolumeClaim) -> Option<Write> {
    let claims = by_namespace(observed);
    for backup in &observed.waiting {
        let stored = claims.get(backup.namespace.as_str()).copied().flatten();
        if let Some(words) = problem(observed, &backup.namespace, stored) {
            if backup.told {
                continue;
            }
            return Some(tell(backup, &words));
        }
        if stored.is_some() {
            return Some(release(backup));
        }
        let mut claim = claim.clone();
        claim.metadata.namespace = Some(backup.namespace.clone());
        return Some(Write::Create(claim.into()));
    }
    None
}

/// Takes the label off a Backup that has its claim.
fn release(backup: &Waiting) -> Write {
    let mut metadata = json!({"labels": {LABEL_NEED_REPO_PVC: null}});
    if backup.told {
        metadata["annotations"] = json!({ANNOTATION_CLAIM_REFUSED: null});
    }
    Write::Patch(target(backup), json!({ "metadata": metadata }))
}

/// Hands the Backup's own namespace the words: nobody else's are its business.
fn tell(backup: &Waiting, words: &str) -> Write {
    let words: String = printable(words).chars().take(WORDS_MAX).collect();
    let metadata = json!({"annotations": {ANNOTATION_CLAIM_REFUSED: words}});
    Write::Patch(target(backup), json!({ "metadata": metadata }))
}

fn target(backup: &Waiting) -> Target {
    Target {
        kind: Kind::Backup,
        namespace: backup.namespace.clone(),
        name: backup.name.clone(),
        uid: backup.uid.clone(),
        resource_version: Some(backup.resource_version.clone()),
    }
}

/// Which namespaces cannot have their claim, for as long as there are any. Nothing is found while a claim is about to be
/// made, perhaps after a refusal: only the answer tells.
pub(super) fn report(observed: &Observed) -> Option<Finding> {
    let claims = by_namespace(observed);
    let made = claims.values().all(Option::is_some);
    let problems: Vec<(&str, bool, String)> = claims
        .into_iter()
        .filter_map(|(namespace, claim)| {
            let taken = claim.is_some_and(|claim| !is_ours(&claim.metadata, &observed.repo));
            problem(observed, namespace, claim).map(|words| (namespace, taken, words))
        })
        .collect();
    let check = ConditionType::ClaimsCreated;
    if problems.is_empty() {
        return made.then_some(Finding {
            check,
            found: Found::Mended(Reason::ClaimsCreated),
        });
    }
    let taken = problems.iter().all(|(_, taken, _)| *taken);
    let reason = if taken {
        Reason::NameTaken
    } else {
        Reason::ClaimNotCreated
    };
    let name = super::names(&observed.repo).claim;
    let shown = problems
        .iter()
        .take(5)
        .map(|(namespace, _, words)| format!("{namespace}/{name}: {words}"));
    let mut text = shown.collect::<Vec<_>>().join("; ");
    if problems.len() > 5 {
        text = format!("{text}; and in {} more namespaces", problems.len() - 5);
    }
    Some(Finding::is(check, false, reason, text))
}
