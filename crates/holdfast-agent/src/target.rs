//! The volumes that a restore writes to: whether they may be written, and marked as half written meanwhile.

use crate::args::Settings;
use crate::failure::Failure;
use crate::mark::{Mark, is_mark};
use holdfast_api::condition::Reason;
use holdfast_store::{Error, Folder};
use nix::unistd::syncfs;
use std::ffi::OsString;
use std::path::Path;

const LOST_AND_FOUND: &str = "lost+found";

/// The volumes of a restore, open.
pub(crate) struct Targets(Vec<Folder>);

impl Targets {
    /// Opens the volumes and refuses those with data, unless they may be replaced. A volume with the mark of this restore
    /// on it, or of one that this restore takes over, is half written: what it holds is no data any more.
    pub(crate) fn open(settings: &Settings) -> Result<Self, Failure> {
        let mut targets = Vec::new();
        for path in &settings.targets {
            targets.push(open(path, settings)?);
        }
        Ok(Self(targets))
    }

    /// Marks every volume, so that no process starts on it unnoticed.
    pub(crate) fn mark(&self, settings: &Settings) -> Result<(), Failure> {
        let mark = Mark {
            v: 1,
            restore_uid: settings.restore_uid.clone(),
            backup: settings.name().to_owned(),
            backup_uid: settings.uid()?.to_owned(),
            since: jiff::Timestamp::now().to_string(),
        };
        for target in &self.0 {
            mark.put(target, settings.pod_uid()).map_err(of_target)?;
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
            Mark::remove(target).map_err(of_target)?;
        }
        Ok(())
    }
}

fn open(path: &Path, settings: &Settings) -> Result<Folder, Failure> {
    let folder = Folder::open_root(path).map_err(of_target)?;
    let names = folder.names().map_err(of_target)?;
    let is_data = |name: &&OsString| *name != LOST_AND_FOUND && !is_mark(name);
    let found = names.iter().filter(is_data).count();
    if found == 0 || settings.replace {
        return Ok(folder);
    }
    let marks = Mark::restores_on(&folder).map_err(of_target)?;
    if marks.iter().any(|uid| settings.may_overwrite(uid)) {
        return Ok(folder);
    }
    let half = if marks.is_empty() {
        ""
    } else {
        ", once half written by a restore that this one does not take over"
    };
    let text = format!(
        "the target volume at {} holds {found} files or directories{half}: say replace to overwrite them",
        path.display(),
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
