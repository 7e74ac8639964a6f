//! Looks up everything that a new Backup names, in the API's own order and with its own texts.

use holdfast_api::{
    Backup, BackupPolicy, BackupRepo, BackupType, CommonBackupPolicy, DeployKind,
    condition::Reason,
    names::{ANNOTATION_PATH_PREFIX, ANNOTATION_TARGET_POD_NAME},
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::{Observed, Problem, Read, claim};
use crate::{
    backup::{self, Storage},
    decision::Seen,
    naming, policy,
    target::{self, Choice},
};

/// What was found for a Backup that may start.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// Its policy.
    pub policy: &'a BackupPolicy,
    /// The repository, unless the policy names a claim of its own.
    pub repo: Option<&'a BackupRepo>,
    /// The pod that it is made of.
    pub pod: &'a Pod,
}

/// Finds everything, or the first problem.
pub fn find(observed: &Observed) -> Result<Found<'_>, Problem> {
    let backup = &*observed.backup;
    if backup.spec.backup_type == BackupType::Snapshot {
        return Err(Problem::Fail(
            Reason::Unsupported,
            "VolumeSnapshot feature disabled.".to_owned(),
        ));
    }
    let name = &backup.spec.backup_policy_name;
    let policy = present(
        &observed.policy,
        Read::Policy,
        Reason::PolicyNotFound,
        ("BackupPolicy", name),
        || format!("backuppolicies.dataprotection.kubeblocks.io \"{name}\" not found"),
    )?;
    if policy::section(policy, backup.spec.backup_type).is_none() {
        let kind = backup.spec.backup_type.as_str();
        let text = format!("backupPolicy: {name} not supports {kind} backup in backupPolicy");
        return Err(Problem::Fail(Reason::BackupNotSupported, text));
    }
    if backup.spec.backup_type == BackupType::Logfile {
        return Err(logfile(backup, policy));
    }
    let Some(section) = backup::section(policy) else {
        let text = format!("backup type \"datafile\" not supported by backup policy \"{name}\"");
        return Err(Problem::Fail(Reason::BackupNotSupported, text));
    };
    usable(section, policy, backup)?;
    tool(observed, section)?;
    let repo = storage(observed, section)?;
    let pod = pod(observed)?;
    Ok(Found { policy, repo, pod })
}

fn present<'a, K>(
    seen: &'a Seen<K>,
    read: Read,
    reason: Reason,
    named: (&str, &str),
    text: impl FnOnce() -> String,
) -> Result<&'a K, Problem> {
    seen.get()
        .ok_or_else(|| Problem::absent(seen, read, named, || (reason, text())))
}

/// Log backups are made by their schedule alone, which this version does not run.
fn logfile(backup: &Backup, policy: &BackupPolicy) -> Problem {
    let name = policy.name_any();
    if backup.name_any() != naming::derived(policy, BackupType::Logfile) {
        let text = format!(
            "backup name is incorrect for logfile, you can create the logfile backup by enabling the schedule in BackupPolicy \"{name}\""
        );
        return Problem::Fail(Reason::InvalidLogfileBackupName, text);
    }
    let schedule = policy
        .spec
        .schedule
        .as_ref()
        .and_then(|schedule| schedule.logfile.as_ref());
    match schedule {
        None => Problem::Fail(
            Reason::BackupNotSupported,
            format!("backup type \"logfile\" not supported by backup policy \"{name}\""),
        ),
        Some(schedule) if !schedule.enable => Problem::Fail(
            Reason::BackupScheduleDisabled,
            format!("logfile schedule is disabled, you can enable spec.schedule.logfile in BackupPolicy \"{name}\""),
        ),
        Some(_) => Problem::Fail(
            Reason::Unsupported,
            "this version of Holdfast backs up data files, not logs".to_owned(),
        ),
    }
}

/// What the policy alone must be right about.
fn usable(section: &CommonBackupPolicy, policy: &BackupPolicy, backup: &Backup) -> Result<(), Problem> {
    target::selector(&section.base.target.labels_selector)
        .map_err(|error| Problem::Fail(Reason::InvalidSelector, error.to_string()))?;
    let prefix = policy
        .annotations()
        .get(ANNOTATION_PATH_PREFIX)
        .map_or("", String::as_str);
    naming::backup_path(&backup.namespace().unwrap_or_default(), prefix, &backup.name_any())
        .map_err(|error| Problem::Fail(Reason::InvalidPathPrefix, error.to_string()))?;
    Ok(())
}

fn tool(observed: &Observed, section: &CommonBackupPolicy) -> Result<(), Problem> {
    let name = section.backup_tool_name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Err(Problem::Fail(
            Reason::InvalidPolicy,
            "spec.datafile.backupToolName is empty".to_owned(),
        ));
    }
    let tool = present(
        &observed.tool,
        Read::Tool,
        Reason::ToolNotFound,
        ("BackupTool", name),
        || format!("backupTool: {name} not found"),
    )?;
    if tool.spec.deploy_kind == DeployKind::StatefulSet {
        let text = format!("backupTool {name} runs continuously (deployKind statefulSet), which data files do not");
        return Err(Problem::Fail(Reason::Unsupported, text));
    }
    Ok(())
}

/// The repository, or none where the policy has a claim of its own, which is then there.
fn storage<'a>(observed: &'a Observed, section: &CommonBackupPolicy) -> Result<Option<&'a BackupRepo>, Problem> {
    let storage = backup::storage(&observed.backup, section, &observed.repos);
    match storage.map_err(|problem| match problem {
        // Several defaults, or no place at all, are the policy's own contradiction: waiting mends neither.
        backup::Problem::Wait(reason @ (Reason::MultipleDefaultRepos | Reason::BackupPVCNameIsEmpty), text) => {
            Problem::Missing(reason, text)
        }
        backup::Problem::Wait(reason, text) => Problem::Wait(reason, text),
        backup::Problem::Missing(reason, text) | backup::Problem::Fail(reason, text) => Problem::Fail(reason, text),
        backup::Problem::Read(_) | backup::Problem::Write(_) => Problem::Read(Read::Repo),
    })? {
        Storage::Repo(name) => {
            if let Some(repo) = observed.repos.iter().find(|repo| repo.name_any() == name) {
                return Ok(Some(&**repo));
            }
            let missing = || format!("backup repo {name} not found");
            let named = ("BackupRepo", name.as_str());
            present(&observed.repo, Read::Repo, Reason::RepoNotFound, named, missing).map(Some)
        }
        Storage::Claim(name) => claim::ensure(observed, section, &name).map(|()| None),
    }
}

fn pod(observed: &Observed) -> Result<&Pod, Problem> {
    let Some(pods) = observed.pods.as_deref() else {
        return Err(Problem::Read(Read::Pods));
    };
    match target::choose(pods) {
        Choice::Pod(pod) => Ok(pod),
        Choice::NotReady(pod) => {
            let text = format!("pod {} matches the selector and is not Ready", pod.name_any());
            Err(Problem::Wait(Reason::TargetPodNotReady, text))
        }
        Choice::None => {
            let text = "can not find any pod to backup by labelsSelector".to_owned();
            // It had a target before: the database is being restarted or restored, and comes back.
            let had = observed.backup.annotations().contains_key(ANNOTATION_TARGET_POD_NAME);
            let problem = if had { Problem::Wait } else { Problem::Missing };
            Err(problem(Reason::NoTargetPod, text))
        }
    }
}
