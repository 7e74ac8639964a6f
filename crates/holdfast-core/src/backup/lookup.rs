//! What a plan is made of: everything that an admitted Backup names, found, or the problem with it.

use holdfast_api::condition::Reason;
use holdfast_api::names::{
    ANNOTATION_ADMITTED, ANNOTATION_CLAIM_REFUSED, ANNOTATION_PATH_PREFIX, ANNOTATION_TARGET_POD_NAME,
    LABEL_BACKUP_REPO_NAME, LABEL_NEED_REPO_PVC,
};
use holdfast_api::{Backup, BackupPolicy, BackupRepo, BackupTool, BackupType, CommonBackupPolicy, DeployKind};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::observed::{Observed, Problem, Read, Write};
use super::storage::{Storage, is_ready, no_claim_name, not_ready, storage};
use crate::decision::Seen;
use crate::naming;
use crate::pod::{is_over, node_matches, windows_line_end};
use crate::repo::label_value;
use crate::target::database;

/// Everything that a plan is made of.
pub(super) struct Parts<'a> {
    pub(super) policy: &'a BackupPolicy,
    pub(super) section: &'a CommonBackupPolicy,
    pub(super) tool: &'a BackupTool,
    pub(super) repo: Option<&'a BackupRepo>,
    pub(super) claim: &'a PersistentVolumeClaim,
    pub(super) target: &'a Pod,
    pub(super) node: &'a str,
    pub(super) path: String,
    pub(super) image: String,
}

/// Finds everything, or the first thing that is wrong.
pub(super) fn parts(observed: &Observed) -> Result<Parts<'_>, Problem> {
    let backup = &*observed.backup;
    supported(backup)?;
    let policy = policy(observed)?;
    let section = policy.spec.datafile.as_ref().ok_or_else(|| {
        let name = &backup.spec.backup_policy_name;
        absent(
            &observed.policy,
            Read::Policy,
            ("BackupPolicy", name),
            Reason::BackupNotSupported,
            || format!("backupPolicy: {name} not supports datafile backup in backupPolicy"),
        )
    })?;
    let tool = tool(observed, section)?;
    logs(tool, policy)?;
    let (repo, claim) = repository(observed, section)?;
    target_stays(observed)?;
    let target = target(observed)?;
    let node = target
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default();
    reachable(observed, claim, node)?;
    let prefix = policy
        .annotations()
        .get(ANNOTATION_PATH_PREFIX)
        .map_or("", String::as_str);
    let namespace = backup.namespace().unwrap_or_default();
    let path = naming::backup_path(&namespace, prefix, &backup.name_any())
        .map_err(|error| Problem::Fail(Reason::InvalidPathPrefix, error.to_string()))?;
    let image = Some(tool.spec.image.as_str())
        .filter(|image| !image.is_empty())
        .or_else(|| database(target)?.image.as_deref());
    let image = image.map(str::to_owned).ok_or_else(|| {
        let text = format!(
            "neither backupTool {} nor the target pod names an image",
            tool.name_any()
        );
        Problem::Fail(Reason::InvalidPolicy, text)
    })?;
    Ok(Parts {
        policy,
        section,
        tool,
        repo,
        claim,
        target,
        node,
        path,
        image,
    })
}

fn supported(backup: &Backup) -> Result<(), Problem> {
    match backup.spec.backup_type {
        BackupType::Datafile => Ok(()),
        other => {
            let text = format!("{} backups are not supported by this version", other.as_str());
            Err(Problem::Fail(Reason::Unsupported, text))
        }
    }
}

/// What an object's absence means here: the name was there at admission, so there is no grace.
fn absent<K>(
    seen: &Seen<K>,
    read: Read,
    named: (&str, &str),
    reason: Reason,
    text: impl FnOnce() -> String,
) -> Problem {
    match Problem::absent(seen, read, named, || (reason, text())) {
        Problem::Missing(reason, text) => Problem::Fail(reason, text),
        other => other,
    }
}

fn policy(observed: &Observed) -> Result<&BackupPolicy, Problem> {
    let (seen, name) = (&observed.policy, &observed.backup.spec.backup_policy_name);
    seen.get().ok_or_else(|| {
        absent(
            seen,
            Read::Policy,
            ("BackupPolicy", name),
            Reason::PolicyNotFound,
            || format!("backuppolicies.dataprotection.kubeblocks.io \"{name}\" not found"),
        )
    })
}

fn tool<'a>(observed: &'a Observed, section: &CommonBackupPolicy) -> Result<&'a BackupTool, Problem> {
    let name = section.backup_tool_name.as_deref().unwrap_or_default();
    let tool = observed.tool.get().ok_or_else(|| {
        absent(
            &observed.tool,
            Read::Tool,
            ("BackupTool", name),
            Reason::ToolNotFound,
            || format!("backupTool: {name} not found"),
        )
    })?;
    if tool.spec.deploy_kind == DeployKind::StatefulSet {
        let text = format!("backupTool {name} has deployKind statefulSet, which is not supported by this version");
        return Err(Problem::Fail(Reason::Unsupported, text));
    }
    if tool.spec.backup_commands.is_empty() {
        let text = format!("backupTool {name} has no backupCommands");
        return Err(Problem::Fail(Reason::InvalidPolicy, text));
    }
    if let Some(at) = windows_line_end(&tool.spec.backup_commands) {
        let text = format!(
            "backupTool {name}: backupCommands[{at}] has Windows line ends (\\r\\n), which shells take for parts of words: save it with Unix line ends"
        );
        return Err(Problem::Fail(Reason::InvalidTool, text));
    }
    Ok(tool)
}

/// A tool that cannot be restored without logs needs these to be backed up too.
fn logs(tool: &BackupTool, policy: &BackupPolicy) -> Result<(), Problem> {
    let relies = tool
        .spec
        .physical
        .as_ref()
        .and_then(|physical| physical.rely_on_logfile);
    if relies != Some(true) {
        return Ok(());
    }
    let name = tool.name_any();
    let schedule = policy
        .spec
        .schedule
        .as_ref()
        .and_then(|schedule| schedule.logfile.as_ref());
    Err(if schedule.is_some_and(|schedule| schedule.enable) {
        let text = format!("backupTool {name} relies on log backups, which are not supported by this version");
        Problem::Fail(Reason::Unsupported, text)
    } else {
        let text = format!(
            "BackupTool \"{name}\" of the backup relies on logfile. Please enable the logfile scheduling firstly"
        );
        Problem::Fail(Reason::LogfileScheduleDisabled, text)
    })
}

fn repository<'a>(
    observed: &'a Observed,
    section: &CommonBackupPolicy,
) -> Result<(Option<&'a BackupRepo>, &'a PersistentVolumeClaim), Problem> {
    match storage(&observed.backup, section, &observed.repos)? {
        Storage::Repo(name) => {
            let repo = observed.repo.get().ok_or_else(|| {
                let text = || format!("backup repo {name} not found");
                absent(
                    &observed.repo,
                    Read::Repo,
                    ("BackupRepo", &name),
                    Reason::RepoNotFound,
                    text,
                )
            })?;
            Ok((Some(repo), repository_claim(observed, repo)?))
        }
        Storage::Claim(name) => {
            let claim = observed.claim.get().ok_or_else(|| absent_claim(observed, &name))?;
            Ok((None, claim))
        }
    }
}

fn repository_claim<'a>(observed: &'a Observed, repo: &BackupRepo) -> Result<&'a PersistentVolumeClaim, Problem> {
    let name = repo.name_any();
    if repo.metadata.deletion_timestamp.is_some() {
        // It would never go if new Backups went on referring to it.
        let text = format!("backup repo {name} is being deleted");
        return Err(Problem::Wait(Reason::RepoNotReady, text));
    }
    let named = repo
        .status
        .as_ref()
        .and_then(|status| status.backup_pvc_name.as_deref());
    let Some(claim) = named.filter(|name| !name.is_empty()) else {
        let empty = || Problem::Wait(Reason::BackupPVCNameIsEmpty, no_claim_name(&observed.backup));
        return Err(if is_ready(repo) { empty() } else { not_ready(&name) });
    };
    match observed.claim.get() {
        Some(claim) if claim.metadata.deletion_timestamp.is_none() => Ok(claim),
        None if !observed.claim.live => Err(Problem::Read(Read::Claim)),
        _ if observed
            .backup
            .labels()
            .get(LABEL_NEED_REPO_PVC)
            .is_some_and(|value| value == "true") =>
        {
            if let Some(words) = observed.backup.annotations().get(ANNOTATION_CLAIM_REFUSED) {
                let text = format!("persistent volume claim \"{claim}\" of backup repo {name} is refused: {words}");
                return Err(Problem::Wait(Reason::ClaimNotCreated, text));
            }
            let text = format!("waiting for persistent volume claim \"{claim}\" of backup repo {name}");
            Err(Problem::Wait(Reason::WaitingForPVC, text))
        }
        _ => {
            let labels = json!({LABEL_BACKUP_REPO_NAME: label_value(repo), LABEL_NEED_REPO_PVC: "true"});
            Err(metadata(json!({ "labels": labels })))
        }
    }
}

fn metadata(change: Value) -> Problem {
    Problem::Write(Box::new(Write::Metadata(change)))
}

fn absent_claim(observed: &Observed, name: &str) -> Problem {
    if observed.claim.live {
        Problem::Wait(
            Reason::PVCNotFound,
            format!("persistent volume claim \"{name}\" not found"),
        )
    } else {
        Problem::Read(Read::Claim)
    }
}

/// A target pod that is gone or going may never come back under its name: before anything is planned, the scheduler,
/// which chooses no such pod, is asked for another.
fn target_stays(observed: &Observed) -> Result<(), Problem> {
    if !observed.target.live || observed.target.get().is_some_and(|pod| !goes(pod)) {
        return Ok(());
    }
    Err(metadata(json!({ "annotations": { ANNOTATION_ADMITTED: null } })))
}

fn goes(pod: &Pod) -> bool {
    is_over(pod) || pod.metadata.deletion_timestamp.is_some()
}

/// The target pod if a tool's pod can be put beside it.
pub(super) fn target(observed: &Observed) -> Result<&Pod, Problem> {
    let name = observed
        .backup
        .annotations()
        .get(ANNOTATION_TARGET_POD_NAME)
        .map_or("", String::as_str);
    let Some(pod) = observed.target.get() else {
        return Err(if observed.target.live {
            Problem::Wait(Reason::NoTargetPod, format!("target pod {name} not found"))
        } else {
            Problem::Read(Read::Target)
        });
    };
    let placed = pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.node_name.as_ref().is_some_and(|node| !node.is_empty()));
    if !placed || goes(pod) {
        return Err(Problem::Wait(
            Reason::TargetPodNotReady,
            format!("target pod {name} is not running on a node"),
        ));
    }
    let alone = observed.target_claims.iter().find(|claim| {
        let modes = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.access_modes.as_deref())
            .unwrap_or_default();
        modes.iter().any(|mode| mode == "ReadWriteOncePod")
    });
    match alone {
        Some(claim) => {
            let claim = claim.name_any();
            let text = format!(
                "persistent volume claim \"{claim}\" of target pod {name} is ReadWriteOncePod: no backup pod can mount it beside the database"
            );
            Err(Problem::Fail(Reason::AccessModeRefused, text))
        }
        None => Ok(pod),
    }
}

/// A volume that only some nodes can reach must be reachable from the target's.
pub(super) fn reachable(observed: &Observed, claim: &PersistentVolumeClaim, node: &str) -> Result<(), Problem> {
    let affinity = observed
        .volume
        .as_ref()
        .and_then(|volume| volume.spec.as_ref()?.node_affinity.as_ref());
    let Some(selector) = affinity.and_then(|affinity| affinity.required.as_ref()) else {
        return Ok(());
    };
    match observed.node.as_ref() {
        Some(seen) if seen.name_any() == node && !node_matches(selector, seen) => {
            let claim = claim.name_any();
            let text = format!(
                "the volume of repository claim \"{claim}\" cannot be reached from node {node}, where the target pod runs"
            );
            Err(Problem::Fail(Reason::RepositoryOnOtherNode, text))
        }
        _ => Ok(()),
    }
}
