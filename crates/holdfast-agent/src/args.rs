//! Command line, environment and assignment: the only place that reads any of them.

use crate::command_line::CommandLine;
use crate::failure::Failure;
use clap::{Parser, Subcommand};
use holdfast_api::assignment::{ASSIGNMENT_DIR, ASSIGNMENT_FILE, Assignment};
use holdfast_api::condition::Reason;
use holdfast_store::{BackupPath, Claimant, PurgeEntry};
use std::path::{Path, PathBuf};
use std::time::Duration;

const TERMINATION_LOG: &str = "/dev/termination-log";
const REPOSITORY_ROOT: &str = "/backupdata";
/// How long a pod that is being stopped may still hold its directory: the usual grace of 30 s and some.
const LOCK_WAIT: Duration = Duration::from_mins(1);

/// The only Holdfast process inside data pods.
#[derive(Debug, Parser)]
#[command(name = "holdfast-agent", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Copy this binary to a file.
    Install {
        /// The file to write.
        file: PathBuf,
    },
    /// Claim the directory, run the tool, hash and seal.
    Run,
    /// Tell again what was sealed.
    Report,
    /// Check the seal, every byte, and whether the tool could be started here.
    Verify,
    /// Check the seal and run the tool over the target volumes.
    Restore,
    /// Remove backups.
    Purge,
}

/// What the agent is told by its environment.
#[derive(Debug)]
pub(crate) struct Settings {
    uid: String,
    name: String,
    run: i32,
    pod_uid: String,
    path: String,
    /// `HOLDFAST_REPOSITORY_ROOT`: where the repository is mounted.
    pub(crate) root: PathBuf,
    /// `HOLDFAST_REPOSITORY_ID`: the identity it must have; empty for any.
    pub(crate) repository_id: String,
    /// `HOLDFAST_ASSIGNMENT`: the file in which the rest is.
    assignment_file: PathBuf,
    /// What stands in it, once it is read.
    pub(crate) assignment: Assignment,
    /// `HOLDFAST_ALLOW_EMPTY`: whether a backup may hold nothing.
    pub(crate) allow_empty: bool,
    digest: String,
    /// `HOLDFAST_TARGETS`: mount paths of the volumes to restore to.
    pub(crate) targets: Vec<PathBuf>,
    /// `HOLDFAST_REPLACE`: whether they may hold data.
    pub(crate) replace: bool,
    /// `HOLDFAST_RESTORE_UID`: the restore that works here, for the mark on the volumes.
    pub(crate) restore_uid: String,
    /// `HOLDFAST_TAKES_OVER`: the earlier restores, by uid, whose half written volumes it may overwrite.
    takes_over: Vec<String>,
    purge: String,
    /// `HOLDFAST_LOCK_WAIT_SECONDS`: how long another live pod is waited for.
    pub(crate) lock_wait: Duration,
    /// Whether `BACKUP_DIR` is set already.
    pub(crate) has_backup_dir: bool,
}

impl Settings {
    /// Reads the environment. What a subcommand needs is checked when it asks for it.
    pub(crate) fn from(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let text = |name: &str| variable(name).unwrap_or_default();
        let run = text("HOLDFAST_RUN");
        let wait = text("HOLDFAST_LOCK_WAIT_SECONDS");
        Ok(Self {
            uid: text("HOLDFAST_BACKUP_UID"),
            name: text("HOLDFAST_BACKUP_NAME"),
            run: number("HOLDFAST_RUN", &run, 1)?,
            pod_uid: text("HOLDFAST_POD_UID"),
            path: text("HOLDFAST_PATH"),
            root: or(text("HOLDFAST_REPOSITORY_ROOT"), Path::new(REPOSITORY_ROOT)),
            repository_id: text("HOLDFAST_REPOSITORY_ID"),
            assignment_file: or(
                text("HOLDFAST_ASSIGNMENT"),
                &Path::new(ASSIGNMENT_DIR).join(ASSIGNMENT_FILE),
            ),
            assignment: Assignment::default(),
            allow_empty: flag("HOLDFAST_ALLOW_EMPTY", &text("HOLDFAST_ALLOW_EMPTY"))?,
            digest: text("HOLDFAST_DIGEST"),
            targets: text("HOLDFAST_TARGETS")
                .split(':')
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
                .collect(),
            replace: flag("HOLDFAST_REPLACE", &text("HOLDFAST_REPLACE"))?,
            restore_uid: text("HOLDFAST_RESTORE_UID"),
            takes_over: text("HOLDFAST_TAKES_OVER").split(',').map(str::to_owned).collect(),
            purge: text("HOLDFAST_PURGE"),
            lock_wait: Duration::from_secs(number("HOLDFAST_LOCK_WAIT_SECONDS", &wait, LOCK_WAIT.as_secs())?),
            has_backup_dir: variable("BACKUP_DIR").is_some_and(|dir| !dir.is_empty()),
        })
    }

    /// The same with its assignment, which pods of a tool have.
    pub(crate) fn with_assignment(self) -> Result<Self, Failure> {
        let name = self.assignment_file.display().to_string();
        let text = std::fs::read(&self.assignment_file).map_err(|error| bad(&name, &error.to_string()))?;
        Ok(Self {
            assignment: serde_json::from_slice(&text).map_err(|error| bad(&name, &error.to_string()))?,
            ..self
        })
    }

    /// Where the result goes.
    pub(crate) fn termination_log(variable: &impl Fn(&str) -> Option<String>) -> PathBuf {
        or(
            variable("HOLDFAST_TERMINATION_LOG").unwrap_or_default(),
            Path::new(TERMINATION_LOG),
        )
    }

    /// Who claims.
    pub(crate) fn claimant(&self) -> Result<Claimant, Failure> {
        Ok(Claimant {
            uid: self.uid()?.to_owned(),
            name: needed("HOLDFAST_BACKUP_NAME", &self.name)?.to_owned(),
            run: self.run,
            pod_uid: needed("HOLDFAST_POD_UID", &self.pod_uid)?.to_owned(),
        })
    }

    /// The Backup's uid.
    pub(crate) fn uid(&self) -> Result<&str, Failure> {
        needed("HOLDFAST_BACKUP_UID", &self.uid)
    }

    /// The Backup's name; may be empty.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The pod's uid; empty if it is not known.
    pub(crate) fn pod_uid(&self) -> &str {
        &self.pod_uid
    }

    /// The run.
    pub(crate) fn run(&self) -> i32 {
        self.run
    }

    /// Whether what a restore left half written may be overwritten.
    pub(crate) fn may_overwrite(&self, restore: &str) -> bool {
        !restore.is_empty() && (restore == self.restore_uid || self.takes_over.iter().any(|uid| uid == restore))
    }

    /// The backup's place in the repository.
    pub(crate) fn path(&self) -> Result<BackupPath, Failure> {
        BackupPath::parse(needed("HOLDFAST_PATH", &self.path)?).map_err(Failure::from)
    }

    /// The checksum, in hex, that the backup must have.
    pub(crate) fn digest(&self) -> Result<&str, Failure> {
        let digest = needed("HOLDFAST_DIGEST", &self.digest)?;
        Ok(digest.strip_prefix("sha256:").unwrap_or(digest))
    }

    /// What to purge.
    pub(crate) fn purge(&self) -> Result<Vec<PurgeEntry>, Failure> {
        let list = needed("HOLDFAST_PURGE", &self.purge)?;
        serde_json::from_str(list).map_err(|error| bad("HOLDFAST_PURGE", &error.to_string()))
    }
}

/// A tool's command line, expanded by the environment.
pub(crate) fn command_line(command: &[String]) -> Result<CommandLine, Failure> {
    CommandLine::of(command, |name| std::env::var_os(name))
}

fn bad(name: &str, why: &str) -> Failure {
    Failure::new(Reason::BadConfiguration, format!("{name}: {why}"))
}

fn needed<'a>(name: &str, value: &'a str) -> Result<&'a str, Failure> {
    if value.is_empty() {
        Err(bad(name, "is not set"))
    } else {
        Ok(value)
    }
}

fn or(value: String, default: &Path) -> PathBuf {
    if value.is_empty() {
        default.to_owned()
    } else {
        PathBuf::from(value)
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str, default: T) -> Result<T, Failure> {
    match value {
        "" => Ok(default),
        text => text.parse().map_err(|_| bad(name, "is not a number")),
    }
}

fn flag(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "" | "false" => Ok(false),
        "true" => Ok(true),
        _ => Err(bad(name, "is neither `true` nor `false`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, Failure> {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::from(&move |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn an_empty_environment_has_defaults_and_misses_what_is_asked() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.root, PathBuf::from("/backupdata"));
        assert_eq!(settings.run(), 1);
        for missing in [
            settings.uid().err(),
            settings.path().err(),
            settings.digest().err(),
            settings.purge().err(),
        ] {
            assert_eq!(missing.unwrap().reason, Reason::BadConfiguration);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (name, value) in [
            ("HOLDFAST_RUN", "one"),
            ("HOLDFAST_REPLACE", "yes"),
            ("HOLDFAST_ALLOW_EMPTY", "1"),
        ] {
            let failure = settings(&[(name, value)]).unwrap_err();
            assert!(failure.message.contains(name), "{}", failure.message);
        }
    }

    #[test]
    fn digests_come_with_or_without_their_kind() {
        for digest in ["sha256:ab", "ab"] {
            assert_eq!(
                settings(&[("HOLDFAST_DIGEST", digest)]).unwrap().digest().unwrap(),
                "ab"
            );
        }
    }
}
