//! What can go wrong while applying a decision.

use holdfast_runtime::{Category, Retry, write::WriteError};

/// A read or write that did not happen.
#[derive(Debug, thiserror::Error)]
#[error("gc: {0}")]
pub(crate) struct Error(#[from] pub(crate) WriteError);

impl Category for Error {
    fn category(&self) -> &'static str {
        self.0.category()
    }

    fn retry(&self) -> Retry {
        self.0.retry()
    }
}
