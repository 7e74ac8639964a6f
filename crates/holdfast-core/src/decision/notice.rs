//! What is told once a write is stored.

use holdfast_api::{condition::Reason, event::BusEvent};

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// People, by a Kubernetes Event about the object.
    Event(Event),
    /// The other services, over the bus.
    Bus(BusEvent),
}

/// A Kubernetes Event about the object that a decision is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Warning or Normal.
    pub warning: bool,
    /// Why.
    pub reason: Reason,
    /// What happened and, where anything can be done, what to do.
    pub note: String,
}

impl Event {
    /// Of something that needs no attention.
    pub fn normal(reason: Reason, note: impl Into<String>) -> Self {
        Self {
            warning: false,
            reason,
            note: note.into(),
        }
    }

    /// Of something that needs attention.
    pub fn warning(reason: Reason, note: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::normal(reason, note)
        }
    }
}

impl From<Event> for Notice {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

impl From<BusEvent> for Notice {
    fn from(event: BusEvent) -> Self {
        Self::Bus(event)
    }
}
