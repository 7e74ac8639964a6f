//! How an agent's work fails: a reason, words for people, and whether trying again can help.

use holdfast_api::agent::AgentResult;
use holdfast_api::condition::Reason;
use holdfast_store::Error;
use nix::errno::Errno;

/// A failed piece of work.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The reason for the condition; it decides the exit code.
    pub(crate) reason: Reason,
    /// What happened.
    pub(crate) message: String,
    /// Whether target volumes are half written.
    pub(crate) dirty: bool,
    /// How many backups were removed before it failed.
    pub(crate) purged: Option<u32>,
    /// How many bytes went with them, and with what was removed of others.
    pub(crate) bytes: Option<u64>,
}

impl Failure {
    /// A failure with its reason.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            dirty: false,
            purged: None,
            bytes: None,
        }
    }

    /// The same, and the target volumes are half written.
    pub(crate) fn dirty(self) -> Self {
        Self { dirty: true, ..self }
    }

    /// As a result.
    pub(crate) fn result(&self) -> AgentResult {
        AgentResult {
            dirty: self.dirty,
            purged: self.purged,
            bytes: self.bytes,
            ..AgentResult::failed(self.reason, &self.message)
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::Io { source, .. } => match source.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOSPC | Errno::EDQUOT) => Reason::RepositoryFull,
                _ => Reason::ToolFailed,
            },
            Error::Stopped => Reason::Interrupted,
            other => other.reason().unwrap_or(Reason::ToolFailed),
        };
        Self::new(reason, error.to_string())
    }
}
