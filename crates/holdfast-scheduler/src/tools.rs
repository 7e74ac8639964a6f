//! Keeps the status of tools, and lets go of those that are deleted.

use std::{convert::Infallible, sync::Arc};

use holdfast_api::{BackupTool, BackupToolStatus};
use holdfast_core::{
    decision::{Intent, Notice},
    driver::{Found, Standing, Written},
    tool::{self, Decision, Write},
};
use holdfast_runtime::{
    Next,
    reconcile::{self, Pass, emit, leads},
    watch::Key,
    write::{Applied, WriteError, apply, get},
};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use crate::{Context, error::Error};

/// Looks at one tool.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Result<Next, Error> {
    let Some(tool) = context.tools.by_key(&key) else {
        return Ok(Next::AwaitChange);
    };
    let pass = ToolPass {
        api: Api::all(context.service.client.clone()),
        context: &context,
        tool,
    };
    reconcile::reconcile(pass)
        .await
        .map_err(Error::during("keeping the tool's status"))
}

struct ToolPass<'a> {
    context: &'a Context,
    api: Api<BackupTool>,
    tool: Arc<BackupTool>,
}

impl Pass for ToolPass<'_> {
    type Status = BackupToolStatus;
    type Read = Infallible;

    fn decide(&mut self, now: Timestamp) -> Decision {
        tool::decide(&self.tool, now)
    }

    fn standing(&mut self, _: Intent) -> Standing {
        leads(&self.context.leader)
    }

    async fn read(&mut self, read: Infallible) -> Result<Found, WriteError> {
        match read {}
    }

    async fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        match apply(&self.context.service.client, &self.api, &self.tool, write).await {
            Ok(Applied::Object(tool)) => {
                self.tool = Arc::from(tool);
                Ok(Written::Stored)
            }
            Ok(Applied::Created(_) | Applied::Other) => Ok(Written::Stored),
            Err(WriteError::Conflict | WriteError::NotFound) => {
                let uid = self.tool.uid();
                let found = get(&self.api, &self.tool.name_any()).await?;
                Ok(match found.filter(|found| found.uid() == uid) {
                    Some(found) => {
                        self.tool = Arc::new(found);
                        Written::Stale
                    }
                    None => Written::Gone,
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn emit(&mut self, notices: Vec<Notice>) {
        emit(&self.context.service, &*self.tool, notices).await;
    }
}
