//! What was learnt from answers of the API server: claims that could not be made, and what Backups tell of their
//! repository. Losing it costs a request.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use holdfast_core::repo::Sealed;
use holdfast_runtime::clock;

/// How long a refusal is believed before it is tried again.
const REFUSED: Duration = Duration::from_secs(30);

/// Namespaces by repository.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    repos: Mutex<HashMap<String, Claims>>,
}

#[derive(Debug, Default)]
struct Claims {
    /// Words of the refusal, and when they were said.
    refused: BTreeMap<String, (String, Duration)>,
    /// Where a claim of the name exists that the watch does not show.
    hidden: BTreeSet<String>,
    /// What Backups told of the repository's identity, the first of each namespace and claim.
    sealed: Vec<Sealed>,
}

impl Memory {
    /// Notes that a claim in the namespace was refused.
    pub(crate) fn refused(&self, repo: &str, namespace: &str, words: String) {
        self.with(repo, |claims| {
            claims.refused.insert(namespace.to_owned(), (words, clock::boot()))
        });
    }

    /// Notes that a claim of the name exists in the namespace.
    pub(crate) fn exists(&self, repo: &str, namespace: &str) {
        self.with(repo, |claims| claims.hidden.insert(namespace.to_owned()));
    }

    /// Refusals that are still believed.
    pub(crate) fn refusals(&self, repo: &str) -> BTreeMap<String, String> {
        self.with(repo, |claims| {
            claims
                .refused
                .retain(|_, (_, when)| clock::boot().saturating_sub(*when) < REFUSED);
            claims
                .refused
                .iter()
                .map(|(namespace, (words, _))| (namespace.clone(), words.clone()))
                .collect()
        })
    }

    /// Whether a claim exists in the namespace that only a live read shows.
    pub(crate) fn is_hidden(&self, repo: &str, namespace: &str) -> bool {
        self.with(repo, |claims| claims.hidden.contains(namespace))
    }

    /// Forgets that a claim exists: it was looked for and is gone.
    pub(crate) fn gone(&self, repo: &str, namespace: &str) {
        self.with(repo, |claims| claims.hidden.remove(namespace));
    }

    /// Notes what a Backup told of the repository's identity.
    pub(crate) fn sealed(&self, repo: &str, sealed: Sealed) {
        self.with(repo, |claims| {
            let known = |known: &Sealed| known.namespace == sealed.namespace && known.claim_uid == sealed.claim_uid;
            if !claims.sealed.iter().any(known) {
                claims.sealed.push(sealed);
            }
        });
    }

    /// What Backups told of the repository's identity. Once it is stored it is remembered no longer.
    pub(crate) fn told(&self, repo: &str, is_stored: impl Fn(&Sealed) -> bool) -> Vec<Sealed> {
        self.with(repo, |claims| {
            claims.sealed.retain(|sealed| !is_stored(sealed));
            claims.sealed.clone()
        })
    }

    /// Forgets a repository.
    pub(crate) fn forget(&self, repo: &str) {
        self.repos.lock().unwrap_or_else(PoisonError::into_inner).remove(repo);
    }

    fn with<T>(&self, repo: &str, act: impl FnOnce(&mut Claims) -> T) -> T {
        let mut repos = self.repos.lock().unwrap_or_else(PoisonError::into_inner);
        act(repos.entry(repo.to_owned()).or_default())
    }
}
