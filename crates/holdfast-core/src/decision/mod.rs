//! The one vocabulary of decisions: what was seen, what shall be written, what to say about it, and when to look again.
//!
//! A decision rests on an observation and yields at most one guarded write; the next pass derives anew, so a crash between
//! two writes is harmless. What a decision rests on but was only seen in a cache is asked for again with [`Next::Read`]
//! before an object ends by it.

mod finalizer;
mod notice;
mod seen;
mod write;

use std::time::Duration;

use holdfast_api::condition::Reason;
use jiff::SignedDuration;

pub use finalizer::{has_finalizer, with_finalizer, without_finalizer};
pub use notice::{Event, Notice};
pub use seen::Seen;
pub use write::{Child, Intent, Kind, Target, Write};

/// What follows from an observation. `S` is the status of the object that it is about, `R` what can be read for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<S, R> {
    /// The one write, if any.
    pub write: Option<Write<S>>,
    /// What to tell once it is stored; without a write, at once.
    pub notices: Vec<Notice>,
    /// When to decide again.
    pub next: Next<R>,
}

/// When to decide again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<R> {
    /// When something that was observed changes.
    AwaitChange,
    /// When something changes, and at the latest after this time.
    After(Duration),
    /// At once, with this read afresh from the API server.
    Read(R),
    /// At once, with what the write answered.
    Again,
}

/// The shortest time after which anything is looked at again: a time that has passed already means soon.
const SOON: Duration = Duration::from_millis(500);

impl<S, R> Decision<S, R> {
    /// Nothing until something changes.
    pub fn wait() -> Self {
        Self::of(None, Next::AwaitChange)
    }

    /// Nothing until something changes or this time has passed.
    pub fn after(duration: SignedDuration) -> Self {
        let duration = Duration::try_from(duration).unwrap_or_default();
        Self::of(None, Next::After(duration.max(SOON)))
    }

    /// First this has to be read from the API server.
    pub fn read(read: R) -> Self {
        Self::of(None, Next::Read(read))
    }

    /// This is written, and then decided again.
    pub fn write(write: Write<S>) -> Self {
        Self::of(Some(write), Next::Again)
    }

    /// The same, and this is told once the write is stored.
    #[must_use]
    pub fn with(mut self, notice: impl Into<Notice>) -> Self {
        self.notices.push(notice.into());
        self
    }

    /// The same, but decided again only when something changes.
    #[must_use]
    pub fn then_await_change(self) -> Self {
        Self {
            next: Next::AwaitChange,
            ..self
        }
    }

    fn of(write: Option<Write<S>>, next: Next<R>) -> Self {
        Self {
            write,
            notices: Vec::new(),
            next,
        }
    }
}

/// Why something cannot go on now.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem<S, R> {
    /// What was seen is not enough to decide by.
    Read(R),
    /// Something must be written first.
    Write(Box<Write<S>>),
    /// A name does not exist: it may just have been forgotten for a moment.
    Missing(Reason, String),
    /// It exists and is not ready: it is waited for, and then fails with this text.
    Wait(Reason, String),
    /// It cannot come right.
    Fail(Reason, String),
}

/// Says that an object is there and holds what nobody can read.
pub fn unreadable(kind: &str, name: &str, why: &str) -> String {
    format!("{kind} \"{name}\" cannot be read: {why}")
}

impl<S, R> Problem<S, R> {
    /// What the absence of an object means: nothing before the API server itself said so. One that is there and cannot be
    /// read may be corrected. `missing` is the reason and text of one that does not exist.
    pub fn absent<K>(
        seen: &Seen<K>,
        read: R,
        (kind, name): (&str, &str),
        missing: impl FnOnce() -> (Reason, String),
    ) -> Self {
        if let Some(why) = &seen.unreadable {
            return Self::Wait(Reason::InvalidObject, unreadable(kind, name, why));
        }
        if !seen.live {
            return Self::Read(read);
        }
        let (reason, text) = missing();
        Self::Missing(reason, text)
    }
}
