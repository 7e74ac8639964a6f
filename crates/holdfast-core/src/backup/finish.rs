//! S2: how a run ends well.

use std::sync::Arc;

use holdfast_api::agent::{AgentResult, Outcome};
use holdfast_api::condition::{self, READY, RECONCILING, Reason};
use holdfast_api::event::BusEventKind;
use holdfast_api::names::ANNOTATION_REPOSITORY;
use holdfast_api::{BackupLogStatus, BackupPhase, BackupPlan, BackupToolManifestsStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::plan::volume_name;
use super::{Decision, Event, Next, Notice, Observed, Read, Write, size, status};
use crate::pod::agent_result;

/// The result of a sealed run among pods, if one of them tells it.
pub(super) fn sealed(pods: &[Arc<Pod>], container: &str) -> Option<AgentResult> {
    pods.iter()
        .filter_map(|pod| agent_result(pod, container))
        .find(|result| result.outcome == Outcome::Sealed)
}

/// Completes the Backup by its agent's word; notes the repository's identity first if it is not known yet.
pub(super) fn complete(observed: &Observed, plan: &BackupPlan, result: &AgentResult, now: Timestamp) -> Decision {
    if observed.pvc.get().is_none() && !observed.pvc.live {
        return Decision::read(Read::Claim);
    }
    if let Some(id) = result.repository.as_deref().filter(|id| !id.is_empty())
        && let Some(claim) = observed.pvc.object.as_ref()
    {
        match claim
            .annotations()
            .get(ANNOTATION_REPOSITORY)
            .filter(|known| !known.is_empty())
        {
            None => {
                return Decision::write(Write::MarkRepository {
                    pvc: Arc::clone(claim),
                    id: id.to_owned(),
                });
            }
            Some(known) if known != id => {
                let text = format!(
                    "the backup lies in repository {id}, but claim \"{}\" belongs to repository {known}: its volume was changed",
                    claim.name_any()
                );
                return status::failed(
                    &observed.backup,
                    Reason::RepositoryMismatch,
                    &text,
                    plan.ttl.as_deref(),
                    now,
                );
            }
            Some(_) => {}
        }
    }
    completed(observed, plan, result, now)
}

fn completed(observed: &Observed, plan: &BackupPlan, result: &AgentResult, now: Timestamp) -> Decision {
    let backup = &*observed.backup;
    let started = status::started(backup);
    let mut status = status::draft(backup);
    status::end(&mut status, BackupPhase::Completed, plan.ttl.as_deref(), now);
    status.failure_reason = None;
    status.total_size = result.bytes.map(size::bytes);
    status.persistent_volume_claim_name = Some(plan.persistent_volume_claim_name.clone());
    status.backup_tool_name = Some(plan.tool_name.clone());
    let digest = result.digest.as_deref();
    let checksum = digest.map(|digest| digest.strip_prefix("sha256:").unwrap_or(digest).to_owned());
    let start_time = status.start_timestamp.clone();
    let stop_time = status.completion_timestamp.clone();
    let manifests = status.manifests.get_or_insert_default();
    let planned = manifests.backup_tool.take().unwrap_or_default();
    manifests.backup_tool = Some(BackupToolManifestsStatus {
        file_path: Some(plan.path.clone()),
        // A volume that was bound only when the pod came is known by now.
        volume_name: observed.pvc.get().and_then(volume_name).or(planned.volume_name),
        upload_total_size: result.upload_total_size.clone(),
        checksum,
        checkpoint: result.checkpoint.clone(),
        log_file_path: planned.log_file_path,
    });
    let log = result.backup_log.clone().unwrap_or_default();
    manifests.backup_log = Some(BackupLogStatus {
        start_time: log.start_time.or(start_time),
        stop_time: log.stop_time.or(stop_time),
    });
    manifests.user_context = (!result.user_context.is_empty()).then(|| result.user_context.clone());
    let size = status.total_size.as_deref().unwrap_or("unknown size");
    let took = status.duration.as_deref().unwrap_or("unknown time");
    let message = format!("sealed {size} in {} files in {took}", result.files.unwrap_or_default());
    let generation = backup.metadata.generation.unwrap_or_default();
    condition::set(
        &mut status.conditions,
        READY,
        true,
        Reason::Completed,
        &message,
        generation,
        now,
    );
    condition::set(
        &mut status.conditions,
        RECONCILING,
        false,
        Reason::Completed,
        &message,
        generation,
        now,
    );
    let event = Event {
        warning: false,
        reason: Reason::CreatedBackup.as_str().to_owned(),
        note: "Completed backup.".to_owned(),
    };
    let notice = Notice {
        kind: BusEventKind::BackupCompleted,
        from: BackupPhase::InProgress,
        start: started.unwrap_or(now),
        reason: None,
    };
    Decision {
        write: Some(Write::Status(Box::new(status))),
        events: vec![event],
        news: vec![notice],
        next: Next::AwaitChange,
    }
}
