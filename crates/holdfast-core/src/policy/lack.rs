//! What a policy names and nobody has made: told after a while, since things are often applied together.

use holdfast_api::{
    BackupPolicy, BackupPolicyPhase, BackupPolicyStatus, BackupRepo, BackupTool, CommonBackupPolicy, Unknown, Waiting,
    condition::{Conditions, Reason},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{SERVED, section};
use crate::{admission::GRACE, decision::Seen};

/// What does not exist: the reason and the sentence.
pub(super) type Lack = (Reason, String);

/// What a policy names, as it was looked up.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// The tool.
    pub tool: Seen<BackupTool>,
    /// The repository.
    pub repo: Seen<BackupRepo>,
}

/// One of the names in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Of the tool.
    Tool,
    /// Of the repository.
    Repo,
}

impl Name {
    /// The name, where backups by the policy are served and it gives one.
    pub fn of(self, policy: &BackupPolicy) -> Option<&str> {
        let common: &CommonBackupPolicy = SERVED.iter().find_map(|kind| section(policy, *kind)?.common)?;
        let name = match self {
            Self::Tool => &common.backup_tool_name,
            Self::Repo => &common.backup_repo_name,
        };
        name.as_deref().filter(|name| !name.is_empty())
    }
}

impl Named {
    /// What does not exist by the word of the API server; `Err` is what only a cache lacks.
    pub(super) fn lack(&self, policy: &BackupPolicy) -> Result<Option<Lack>, Name> {
        if let Some(name) = Name::Tool.of(policy)
            && is_absent(&self.tool).ok_or(Name::Tool)?
        {
            return Ok(Some((Reason::ToolNotFound, format!("backupTool: {name} not found"))));
        }
        if let Some(name) = Name::Repo.of(policy)
            && is_absent(&self.repo).ok_or(Name::Repo)?
        {
            return Ok(Some((Reason::RepoNotFound, format!("backup repo {name} not found"))));
        }
        Ok(None)
    }
}

/// None where only a cache says so. What cannot be read exists.
fn is_absent<K>(seen: &Seen<K>) -> Option<bool> {
    match seen.get() {
        Some(_) => Some(false),
        None => seen.live.then_some(seen.unreadable.is_none()),
    }
}

/// How long what is lacking is still waited for, before the policy cannot be used.
pub(super) fn left(status: &BackupPolicyStatus, now: Timestamp) -> Option<SignedDuration> {
    let since = status.waiting.as_ref()?.since.0;
    Some(GRACE - now.duration_since(since)).filter(|left| *left > SignedDuration::ZERO)
}

/// Says what is lacking: while it may still come, and then why the policy cannot be used.
pub(super) fn note(
    status: &mut BackupPolicyStatus,
    (reason, text): &Lack,
    conditions: &mut Conditions,
    now: Timestamp,
) {
    let since = status.waiting.take().map_or(Time(now), |waiting| waiting.since);
    status.waiting = Some(Waiting {
        reason: reason.as_str().to_owned(),
        since,
        quoted: false,
        unknown: Unknown::new(),
    });
    if left(status, now).is_some() {
        conditions.reconciling(*reason, text);
        status.phase = status.phase.filter(|phase| *phase == BackupPolicyPhase::Available);
        status.failure_reason = None;
    } else {
        conditions.stalled(*reason, text);
        status.phase = Some(BackupPolicyPhase::Failed);
        status.failure_reason = Some(text.clone());
    }
}
