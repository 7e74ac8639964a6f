//! What an error means for whoever retries and counts.

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
