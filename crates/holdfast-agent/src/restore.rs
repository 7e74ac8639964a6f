//! `verify` and `restore`: nothing is touched unless the seal is valid and is the one that was asked for.

use crate::args::{Settings, command_line};
use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::log::say;
use crate::result::{fitting, of_seal};
use crate::signals::Signals;
use crate::target::Targets;
use crate::tool;
use holdfast_api::agent::{AgentResult, Outcome};
use holdfast_api::condition::Reason;
use holdfast_store::{Error, Found, Place, Repository, Scan, Sealed, find};

/// Checks the seal, the targets, the tool's command, and every byte.
pub(crate) fn verify(settings: &Settings, signals: &Signals) -> Result<AgentResult, Failure> {
    let found = sealed(settings)?;
    drop(Targets::open(settings)?);
    // What cannot be run is better known before the database is stopped.
    let line = command_line(&command(settings))?;
    // Without targets that can be looked at, the command may lie on one of them.
    if !settings.targets.is_empty() {
        startable(settings, &line)?;
    }
    say(&format!(
        "reading {} files, {} bytes",
        found.seal.files.len(),
        found.seal.bytes
    ));
    check(&found, true, signals)?;
    fitting(of_seal(&found.seal, Outcome::Verified))
}

/// Checks the seal, marks the targets, runs the tool, takes the marks away.
pub(crate) fn restore(settings: &Settings, signals: &Signals) -> Result<AgentResult, Failure> {
    let found = sealed(settings)?;
    let line = command_line(&command(settings))?;
    let targets = Targets::open(settings)?;
    // The bytes were read before the database was stopped; names and sizes cost nothing.
    check(&found, false, signals)?;
    // Nothing is half written by a tool that cannot be started.
    startable(settings, &line)?;
    targets.mark(settings)?;
    let dir = settings.root.join(settings.path()?.to_string().trim_start_matches('/'));
    let backup_dir = (!settings.has_backup_dir).then_some(dir.as_path());
    let ended = tool::run(&line, backup_dir, None, signals).and_then(|()| targets.clean());
    if let Err(failure) = ended {
        // A tool that writes attributes, or empties a volume that has none, takes the mark along.
        if let Err(unmarked) = targets.mark(settings) {
            say(&unmarked.message);
        }
        return Err(failure.dirty());
    }
    fitting(of_seal(&found.seal, Outcome::Restored))
}

fn sealed(settings: &Settings) -> Result<Box<Sealed<Place>>, Failure> {
    let (uid, path, digest) = (settings.uid()?, settings.path()?, settings.digest()?);
    let repository = Repository::open(&settings.root, &settings.repository_id)?;
    let found = match find(&repository, &path, uid)? {
        Found::Sealed(found) => found,
        Found::Claimed(_) => return Err(no_seal(format!("`{path}` in the repository was never sealed"))),
        Found::Nothing => return Err(no_seal(format!("there is no backup at `{path}` in the repository"))),
    };
    if found.seal.checksum != digest {
        let text = format!(
            "the seal at `{path}` has checksum {}, the Backup says {digest}",
            found.seal.checksum
        );
        return Err(Failure::new(Reason::DigestMismatch, text));
    }
    Ok(found)
}

fn check(found: &Sealed<Place>, digests: bool, signals: &Signals) -> Result<(), Failure> {
    let stop = || signals.seen().is_some();
    let how = Scan {
        sync: false,
        stop: &stop,
    };
    let gone = || Error::Digest(format!("the directory of the backup at {} is gone", found.seal.path));
    let dir = found.place.dir()?.ok_or_else(gone)?;
    holdfast_store::verify(&dir, &found.seal, digests, &how).map_err(Failure::from)
}

fn no_seal(text: String) -> Failure {
    Failure::new(Reason::SealInvalid, text)
}

/// `restoreCommands` is a whole command line; one element alone is a script.
/// Whether the tool can be started; a script that is nothing but the path of a program is looked at too.
fn startable(settings: &Settings, line: &CommandLine) -> Result<(), Failure> {
    if let [script] = settings.assignment.command().as_slice()
        && script.contains('/')
        && script
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./+".contains(&byte))
    {
        tool::check(&[script.into()])?;
    }
    tool::check(&line.argv)
}

fn command(settings: &Settings) -> Vec<String> {
    match settings.assignment.command().as_slice() {
        [script] => vec!["sh".to_owned(), "-c".to_owned(), script.clone()],
        command => command.to_vec(),
    }
}
