//! Whether a BackupTool can be used, and what of it has no effect.

#[cfg(test)]
mod tests;

use std::convert::Infallible;

use holdfast_api::{
    BackupTool, BackupToolPhase, BackupToolStatus, DeployKind, ObjectMetaExt as _,
    condition::{Conditions, Reason},
    names::FINALIZER,
};
use jiff::Timestamp;

use crate::decision::{self, Event, without_finalizer};

/// What follows from a tool.
pub type Decision = decision::Decision<BackupToolStatus, Infallible>;
/// What shall be written.
pub type Write = decision::Write<BackupToolStatus>;

/// Keeps the status of a tool, and lets go of one that is deleted: whatever put the finalizer there, for one the original
/// API's controller, nothing is held by it.
pub fn decide(tool: &BackupTool, now: Timestamp) -> Decision {
    if tool.is_terminating() {
        return match without_finalizer(&tool.metadata, FINALIZER) {
            Some(release) => Decision::write(Write::Metadata(release)),
            None => Decision::wait(),
        };
    }
    let known = tool.status.clone().unwrap_or_default();
    let judged = judge(tool);
    let status = render(tool, &judged, now);
    if status == known {
        return Decision::wait();
    }
    let told = known.observed_generation == status.observed_generation && known.failure_reason == status.failure_reason;
    let decision = Decision::write(Write::Status(Box::new(status)));
    match judged {
        Judgement::Useful if !told => decision,
        Judgement::Partly(text) | Judgement::Useless(text) if !told => {
            decision.with(Event::warning(Reason::Unsupported, text))
        }
        _ => decision,
    }
}

/// What a tool is good for.
enum Judgement {
    /// For everything that it says.
    Useful,
    /// This of it has no effect.
    Partly(String),
    /// Nothing can be backed up with it, and why.
    Useless(String),
}

fn judge(tool: &BackupTool) -> Judgement {
    let spec = &tool.spec;
    if spec.deploy_kind == DeployKind::StatefulSet {
        return Judgement::Useless("deployKind statefulSet is not served: no tool runs continuously".to_owned());
    }
    let (physical, logical) = (spec.physical.as_ref(), spec.logical.as_ref());
    if physical.and_then(|physical| physical.rely_on_logfile) == Some(true) {
        return Judgement::Useless("physical.relyOnLogfile is not served: no logs are backed up".to_owned());
    }
    let filled = |list: Option<&Vec<String>>| list.is_some_and(|list| !list.is_empty());
    let fields = [
        ("incrementalBackupCommands", spec.incremental_backup_commands.as_ref()),
        (
            "physical.incrementalRestoreCommands",
            physical.and_then(|physical| physical.incremental_restore_commands.as_ref()),
        ),
        (
            "logical.restoreCommands",
            logical.and_then(|logical| logical.restore_commands.as_ref()),
        ),
        (
            "logical.incrementalRestoreCommands",
            logical.and_then(|logical| logical.incremental_restore_commands.as_ref()),
        ),
    ];
    let unserved = fields.into_iter().filter(|(_, list)| filled(*list));
    let names: Vec<&str> = unserved.map(|(name, _)| name).collect();
    if names.is_empty() {
        Judgement::Useful
    } else {
        Judgement::Partly(format!("{} not run by this version", names.join(" and ")))
    }
}

fn render(tool: &BackupTool, judged: &Judgement, now: Timestamp) -> BackupToolStatus {
    let mut status = tool.status.clone().unwrap_or_default();
    let generation = tool.metadata.generation;
    let mut conditions = Conditions::of(std::mem::take(&mut status.conditions), generation, now);
    let failure = match judged {
        Judgement::Useful => {
            conditions.ready(Reason::Available, "the tool can be used");
            None
        }
        Judgement::Partly(text) => {
            conditions.ready(Reason::Unsupported, text);
            None
        }
        Judgement::Useless(text) => {
            conditions.stalled(Reason::Unsupported, text);
            Some(text.clone())
        }
    };
    status.phase = Some(if failure.is_some() {
        BackupToolPhase::Failed
    } else {
        BackupToolPhase::Available
    });
    status.failure_reason = failure;
    status.observed_generation = generation;
    status.conditions = conditions.into_list();
    status
}
