//! The volumes that a restore writes to: whether they may be written, and the mark that says they are half written.

use crate::args::Settings;
use crate::failure::Failure;
use holdfast_api::condition::Reason;
use holdfast_store::{Error, Folder, is_set_aside};
use nix::unistd::syncfs;
use serde_json::json;
use std::path::Path;

/// The mark, at the root of a volume.
const DIRTY_FILE: &str = ".holdfast-dirty";
const LOST_AND_FOUND: &str = "lost+found";

/// The volumes of a restore, open.
pub(crate) struct Targets(Vec<Folder>);

impl Targets {
    /// Opens the volumes and refuses those with data, unless they may be replaced. A volume with our mark on it is
    /// half written by an earlier attempt: what it holds is no data any more.
    pub(crate) fn open(settings: &Settings) -> Result<Self, Failure> {
        let mut targets = Vec::new();
        for path in &settings.targets {
            targets.push(open(path, settings.replace)?);
        }
        Ok(Self(targets))
    }

    /// Marks every volume, so that no process starts on it unnoticed.
    pub(crate) fn mark(&self, settings: &Settings) -> Result<(), Failure> {
        let mark = json!({
            "v": 1,
            "restoreUid": settings.restore_uid,
            "backup": settings.name(),
            "backupUid": settings.uid()?,
            "since": jiff::Timestamp::now().to_string(),
        });
        let mark = format!("{mark}\n");
        for target in &self.0 {
            target
                .remove_set_aside(DIRTY_FILE)
                .and_then(|()| target.write(DIRTY_FILE, mark.as_bytes(), settings.pod_uid()))
                .map_err(of_target)?;
        }
        Ok(())
    }

    /// Takes the marks away once everything that was written is on the disk.
    pub(crate) fn clean(&self) -> Result<(), Failure> {
        for target in &self.0 {
            let synced = syncfs(target).map_err(|errno| Error::io(format!("sync {}", target.label()), errno));
            synced.map_err(of_target)?;
        }
        for target in &self.0 {
            target
                .remove_file(DIRTY_FILE)
                .and_then(|()| target.sync())
                .map_err(of_target)?;
        }
        Ok(())
    }
}

fn open(path: &Path, replace: bool) -> Result<Folder, Failure> {
    let folder = Folder::open_root(path).map_err(of_target)?;
    let names = folder.names().map_err(of_target)?;
    let ours = |name: &std::ffi::OsString| name == DIRTY_FILE;
    // A mark that was cut off before it stood: nothing was written after it.
    let known = |name: &std::ffi::OsString| name == LOST_AND_FOUND || is_set_aside(DIRTY_FILE, name);
    if replace || names.iter().any(ours) || names.iter().all(known) {
        return Ok(folder);
    }
    let text = format!(
        "the target volume at {} holds {} files or directories: say replace to overwrite them",
        path.display(),
        names.iter().filter(|name| !known(name)).count()
    );
    Err(Failure::new(Reason::TargetHasData, text))
}

/// Errors of the store speak of the repository; these are the target's.
fn of_target(error: Error) -> Failure {
    let text = match error {
        Error::Io { what, source } => format!("target volume: {what}: {source}"),
        other => format!("target volume: {other}"),
    };
    Failure::new(Reason::ToolFailed, text)
}
