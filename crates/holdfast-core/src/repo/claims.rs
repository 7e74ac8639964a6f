//! Claims of a repository: one in each namespace with Backups that keep their bytes there.

use std::collections::BTreeMap;

use holdfast_api::{
    ObjectMetaExt as _,
    condition::{ConditionType, Conditions, Reason},
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::{Observed, Write, is_ours};

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

/// The next thing to do for Backups that wait: a claim, or the removal of the label once its claim is there. Namespaces
/// with a problem do not hold up the others.
pub(super) fn serve(observed: &Observed, claim: &PersistentVolumeClaim) -> Option<Write> {
    let claims = by_namespace(observed);
    for backup in &observed.waiting {
        let stored = claims.get(backup.namespace.as_str()).copied().flatten();
        if problem(observed, &backup.namespace, stored).is_some() {
            continue;
        }
        if stored.is_some() {
            return Some(Write::ReleaseBackup(backup.clone()));
        }
        let mut claim = claim.clone();
        claim.metadata.namespace = Some(backup.namespace.clone());
        return Some(Write::CreateClaim(Box::new(claim)));
    }
    None
}

/// Says in a condition which namespaces cannot have their claim, for as long as there are any.
pub(super) fn report(observed: &Observed, conditions: &mut Conditions) {
    let claims = by_namespace(observed);
    let problems: Vec<(&str, bool, String)> = claims
        .into_iter()
        .filter_map(|(namespace, claim)| {
            let taken = claim.is_some_and(|claim| !is_ours(&claim.metadata, &observed.repo));
            problem(observed, namespace, claim).map(|words| (namespace, taken, words))
        })
        .collect();
    if problems.is_empty() {
        if conditions.has(ConditionType::ClaimsCreated) {
            conditions.set(ConditionType::ClaimsCreated, true, Reason::ClaimsCreated, "");
        }
        return;
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
    let mut message = shown.collect::<Vec<_>>().join("; ");
    if problems.len() > 5 {
        message = format!("{message}; and in {} more namespaces", problems.len() - 5);
    }
    conditions.set(ConditionType::ClaimsCreated, false, reason, &message);
}
