//! `run` and `report`: from the claim to the seal, and what the seal says.

use crate::args::{Settings, command_line};
use crate::failure::Failure;
use crate::info::{self, INFO_FILE};
use crate::log::say;
use crate::result::{fitting, of_seal};
use crate::secrets;
use crate::signals::Signals;
use crate::tee::LogFile;
use crate::tool;
use holdfast_api::agent::{AgentResult, Outcome};
use holdfast_api::condition::Reason;
use holdfast_store::{
    Claimant, Claimed, Contents, Error, FORMAT_VERSION, Folder, Found, Repo as _, Repository, Scan, Seal, TOOL_LOG,
    Waiting, Work, find, new_repository_id, scan,
};
use nix::sys::statvfs::fstatvfs;
use serde_json::{Value, json};

/// Less free space than this after a tool failed, and the full volume is what it failed of.
const NO_SPACE: u64 = 1 << 20;

/// Claims, runs the tool, hashes and seals. A run that is sealed already is reported again.
pub(crate) fn run(settings: &Settings, signals: &Signals) -> Result<AgentResult, Failure> {
    let (claimant, path) = (settings.claimant()?, settings.path()?);
    let line = command_line(&settings.assignment.command())?;
    let id = new_repository_id()?;
    let repository = Repository::open_or_create(&settings.root, &settings.repository_id, &id, settings.pod_uid())?;
    let stop = || signals.seen().is_some();
    let now = jiff::Timestamp::now();
    let waiting = Waiting {
        wait: settings.lock_wait,
        stop: &stop,
    };
    let work = match repository.claim(&path, &claimant, now, &waiting)? {
        Claimed::Work(work) => work,
        Claimed::Sealed(seal) => {
            say(&format!(
                "run {} is sealed already; the tool does not run again",
                seal.run
            ));
            return fitting(of_seal(&seal, Outcome::Sealed));
        }
    };
    say(&format!("claimed {path} for run {}", claimant.run));
    let dir = settings.root.join(path.to_string().trim_start_matches('/'));
    let backup_dir = (!settings.has_backup_dir).then_some(dir.as_path());
    let log = work.metadata().again().map(|folder| LogFile::new(folder, TOOL_LOG))?;
    let ended = tool::run(&line, backup_dir, Some(log), signals).map_err(|failure| when_full(failure, &work));
    match ended.and_then(|()| seal(settings, &repository, &work, &claimant, &stop)) {
        Ok(result) => Ok(result),
        Err(failure) => Err(without_data(failure, *work)),
    }
}

/// What a failed attempt wrote is of use to nobody: the next one begins anew.
fn without_data(failure: Failure, work: Work) -> Failure {
    match work.discard() {
        Ok(Some(bytes)) => {
            say(&format!("removed what was written, {bytes} bytes"));
            Failure {
                bytes: Some(bytes),
                ..failure
            }
        }
        Ok(None) => failure,
        Err(error) => {
            let left = format!("what was written could not be removed: {error}");
            say(&left);
            Failure {
                message: format!("{}; {left}", failure.message),
                ..failure
            }
        }
    }
}

fn seal(
    settings: &Settings,
    repository: &Repository,
    work: &Work,
    claimant: &Claimant,
    stop: &dyn Fn() -> bool,
) -> Result<AgentResult, Failure> {
    let empty = || {
        Failure::new(
            Reason::EmptyOutput,
            "the tool exited with 0 but wrote nothing to BACKUP_DIR",
        )
    };
    let dir = match work.folder()? {
        Some(dir) => dir,
        None if settings.allow_empty => work.make_folder()?,
        None => return Err(empty()),
    };
    refuse_own_names(&dir, claimant.run)?;
    let (info, warnings) = info::read(&dir, secrets::known());
    for warning in &warnings {
        say(warning);
    }
    say("hashing");
    let found = scan(&dir, &Scan { sync: true, stop }).map_err(not_hashed)?;
    if is_empty(&found) && !settings.allow_empty {
        return Err(empty());
    }
    if !found.skipped.is_empty() {
        say(&format!(
            "{} sockets, pipes or devices are not part of the backup",
            found.skipped.len()
        ));
    }
    let seal = Seal {
        v: FORMAT_VERSION,
        uid: claimant.uid.clone(),
        name: claimant.name.clone(),
        run: claimant.run,
        pod_uid: claimant.pod_uid.clone(),
        path: settings.path()?.to_string(),
        repository: repository.id().to_owned(),
        sealed: jiff::Timestamp::now().to_string(),
        parent: parent(&settings.assignment.record),
        bytes: found.bytes,
        checksum: found.checksum(),
        info: json!(info),
        spec: settings.assignment.record.clone(),
        files: found.files,
        links: found.links,
    };
    let message = (!warnings.is_empty()).then(|| warnings.join("; "));
    // Before the seal: a backup whose result cannot be told must not look complete.
    let result = fitting(AgentResult {
        message,
        ..of_seal(&seal, Outcome::Sealed)
    })?;
    work.seal(&seal)?;
    say(&format!(
        "sealed {} files, {} bytes, sha256:{}",
        seal.files.len(),
        seal.bytes,
        seal.checksum
    ));
    Ok(result)
}

/// Tells what is sealed, for a pod that went before its result was read.
pub(crate) fn report(settings: &Settings) -> Result<AgentResult, Failure> {
    let (uid, path) = (settings.uid()?, settings.path()?);
    let repository = Repository::open(&settings.root, &settings.repository_id)?;
    match find(&repository, &path, uid)? {
        Found::Sealed(found) if found.seal.run == settings.run() => fitting(of_seal(&found.seal, Outcome::Sealed)),
        Found::Sealed(found) => Err(unsealed(format!(
            "`{path}` is sealed by run {}, not by run {}",
            found.seal.run,
            settings.run()
        ))),
        Found::Claimed(claim) => Err(unsealed(format!(
            "`{path}` was claimed by pod {} at {} and never sealed",
            claim.pod_uid, claim.time
        ))),
        Found::Nothing if repository.has_tombstone(uid)? => Err(Failure::new(
            Reason::AlreadyDeleted,
            format!("backup {uid} was deleted"),
        )),
        Found::Nothing => Err(unsealed(format!("there is no backup at `{path}`"))),
    }
}

fn unsealed(text: String) -> Failure {
    Failure::new(Reason::SealInvalid, text)
}

/// What was never sealed is no damaged backup: another attempt may do it.
fn not_hashed(error: Error) -> Failure {
    match error {
        Error::Digest(text) => Failure::new(
            Reason::ToolFailed,
            format!("what the tool wrote cannot be sealed: {text}"),
        ),
        other => other.into(),
    }
}

/// A first run begins with an empty directory, so a seal there now is the tool's own file.
fn refuse_own_names(dir: &Folder, run: i32) -> Result<(), Failure> {
    if run == 1 && dir.kind(holdfast_store::SEAL_FILE)?.is_some() {
        let text = format!(
            "the tool wrote `{}`, a name that Holdfast keeps for its seal",
            holdfast_store::SEAL_FILE
        );
        return Err(Failure::new(Reason::BadConfiguration, text));
    }
    Ok(())
}

/// What a tool says about its backup is no backup.
fn is_empty(found: &Contents) -> bool {
    let is_data = |file: &&holdfast_store::FileEntry| file.path.as_bytes() != INFO_FILE.as_bytes();
    found.files.iter().filter(is_data).all(|file| file.size == 0)
}

fn parent(spec: &Value) -> Option<String> {
    let name = spec.pointer("/backup/spec/parentBackupName")?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Tools say all sorts of things when a volume is full; we say that.
fn when_full(failure: Failure, work: &Work) -> Failure {
    let free = fstatvfs(work.metadata()).map(|stat| (stat.blocks(), stat.blocks_available() * stat.fragment_size()));
    match free {
        Ok((blocks, free)) if blocks > 0 && free < NO_SPACE && failure.reason == Reason::ToolFailed => Failure {
            reason: Reason::RepositoryFull,
            message: format!("repository volume is full ({})", failure.message),
            ..failure
        },
        _ => failure,
    }
}
