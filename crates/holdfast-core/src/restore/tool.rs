//! The tool of a restore, as planned, with the literal values that only the BackupTool has.

use holdfast_api::{BackupToolSpec, PlannedTool, RestorePlan, RestoreWork, condition::Reason};
use k8s_openapi::api::core::v1::EnvVar;
use kube::ResourceExt as _;

use super::observed::Observed;
use super::verdict::Verdict;
use crate::pod::{planned_tool, tool_environment};

/// What the Jobs of a restore are made of beside the plan.
pub(super) struct Tool {
    /// Its spec, as planned.
    pub(super) spec: BackupToolSpec,
    /// Its environment, with the literal values.
    pub(super) env: Vec<EnvVar>,
}

/// The tool as planned; one that has changed since is planned anew first, one that is gone is waited for.
pub(super) fn current(observed: &Observed, plan: &RestorePlan, work: &RestoreWork) -> Result<Tool, Box<Verdict>> {
    let spec = work
        .tool
        .spec()
        .map_err(|error| Box::new(Verdict::Wait(error.reason(), error.to_string())))?;
    let uid = observed.restore.uid().unwrap_or_default();
    if let Some(env) = tool_environment(&work.tool, observed.tool.as_ref(), &uid) {
        return Ok(Tool { spec, env });
    }
    let Some(found) = &observed.tool else {
        let missing = || format!("backupTool: {} not found", work.tool.name);
        return Err(Box::new(match &observed.unreadable {
            Some(why) => Verdict::Wait(Reason::InvalidObject, why.clone()),
            None => Verdict::Wait(Reason::ToolNotFound, missing()),
        }));
    };
    let planned = planned_tool(found, &work.tool.image, &uid);
    Err(Box::new(Verdict::note(plan, |plan| {
        for work in plan.steps.iter_mut().filter_map(|step| step.job.as_mut()) {
            let unknown = std::mem::take(&mut work.tool.unknown);
            work.tool = PlannedTool {
                unknown,
                ..planned.clone()
            };
        }
    })))
}
