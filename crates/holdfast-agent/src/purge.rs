//! `purge`: removes a list of backups and tells how many went, and how many bytes with them.

use crate::args::Settings;
use crate::failure::Failure;
use crate::log::say;
use holdfast_api::agent::{AgentResult, Outcome as Told};
use holdfast_api::condition::Reason;
use holdfast_store::{Outcome, Repository, new_repository_id, purge, remove_expired_tombstones};

/// Removes them all; one that cannot be removed does not keep the others.
pub(crate) fn run(settings: &Settings) -> Result<AgentResult, Failure> {
    let entries = settings.purge()?;
    // A volume that nothing was ever written to becomes a repository here: the tombstones need one.
    let id = new_repository_id()?;
    let repository = Repository::open_or_create(&settings.root, &settings.repository_id, &id, settings.pod_uid())?;
    let now = jiff::Timestamp::now();
    let (mut done, mut freed) = (0, 0);
    let (mut refused, mut failed) = (Vec::new(), Vec::new());
    for entry in &entries {
        let place = format!("{} ({})", entry.path, entry.uid);
        match purge(&repository, entry, now, &mut freed) {
            Outcome::Purged => {
                done += 1;
                say(&format!("{place}: removed"));
            }
            Outcome::Gone => {
                done += 1;
                say(&format!("{place}: gone already"));
            }
            Outcome::Refused(error) => {
                say(&format!("{place}: refused: {error}"));
                refused.push(Failure::from(error));
            }
            Outcome::Failed(error) => {
                say(&format!("{place}: failed: {error}"));
                failed.push(Failure::new(Reason::PurgeFailed, error.to_string()));
            }
        }
    }
    match remove_expired_tombstones(&repository, now) {
        Ok(0) => {}
        Ok(expired) => say(&format!("{expired} old tombstones removed")),
        Err(error) => say(&error.to_string()),
    }
    // What may pass goes first: another try settles it, and finds what is refused again.
    if let Some(first) = failed.into_iter().chain(refused).next() {
        let message = format!("{done} of {} removed; {}", entries.len(), first.message);
        return Err(Failure {
            purged: Some(done),
            bytes: Some(freed),
            message,
            ..first
        });
    }
    Ok(AgentResult {
        purged: Some(done),
        bytes: Some(freed),
        repository: Some(repository.id().to_owned()),
        ..AgentResult::new(Told::Purged)
    })
}
