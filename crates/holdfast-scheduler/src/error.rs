//! What can go wrong while applying a decision.

use holdfast_runtime::{Category, Retry, write::WriteError};

/// A read or write that did not happen.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub(crate) struct Error {
    what: &'static str,
    source: WriteError,
}

impl Error {
    /// Says what was being done.
    pub(crate) fn during(what: &'static str) -> impl FnOnce(WriteError) -> Self {
        move |source| Self { what, source }
    }
}

impl Category for Error {
    fn category(&self) -> &'static str {
        self.source.category()
    }

    fn retry(&self) -> Retry {
        self.source.retry()
    }
}
