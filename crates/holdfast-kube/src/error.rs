//! What an error means for whoever retries and counts, and the error of every request.

/// When work that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Somebody else wrote first: again almost at once (200 ms, growing to 5 s), with a fresh read.
    Conflict,
    /// The fault may pass: again with exponential back-off (500 ms to 60 s).
    Transient,
    /// Only a change of the object can help.
    Never,
}

/// An error of a service: what it is called in metrics and whether a retry helps.
pub trait Category: std::error::Error {
    /// Label in metrics and logs: few, fixed words.
    fn category(&self) -> &'static str;
    /// When to try again.
    fn retry(&self) -> Retry;
}

/// Why a read or write did not happen, or not surely.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object has changed since it was read: read afresh and decide again.
    #[error("the object has changed since it was read")]
    Conflict,
    /// An object of this name exists already.
    #[error("an object of this name exists already")]
    Exists,
    /// The object, or the namespace of a new one, does not exist.
    #[error("not found")]
    NotFound,
    /// The API server refuses it and will refuse it again: forbidden, invalid or too large.
    #[error("refused: {0}")]
    Refused(String),
    /// The object is there and cannot be read as its kind, until somebody corrects it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// No answer, or one that may be another next time; a write may have happened.
    #[error("{0}")]
    Transient(#[source] kube::Error),
}

impl Category for WriteError {
    fn category(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Exists => "exists",
            Self::NotFound => "not-found",
            Self::Refused(_) => "refused",
            Self::Unreadable(_) => "unreadable",
            Self::Transient(_) => "transient",
        }
    }

    fn retry(&self) -> Retry {
        match self {
            // Existence and absence were learnt after the decision: a fresh look decides again.
            Self::Conflict | Self::Exists | Self::NotFound => Retry::Conflict,
            // What is refused now may be allowed later (a quota, a role), so it is tried on, slowly.
            Self::Refused(_) | Self::Unreadable(_) | Self::Transient(_) => Retry::Transient,
        }
    }
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        let status = match &error {
            kube::Error::Api(status) => status,
            kube::Error::SerdeError(why) => return Self::Unreadable(why.to_string()),
            _ => return Self::Transient(error),
        };
        match (status.code, status.reason.as_str()) {
            (409, "AlreadyExists") => Self::Exists,
            (409, _) => Self::Conflict,
            (404, _) => Self::NotFound,
            // 401 passes when a token is renewed, 408 and 429 when the server has time.
            (401 | 408 | 429, _) => Self::Transient(error),
            (400..=499, _) => Self::Refused(status.message.clone()),
            _ => Self::Transient(error),
        }
    }
}
