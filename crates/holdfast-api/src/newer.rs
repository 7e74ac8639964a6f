//! What a newer version stored: members are kept through our own writes, kinds of work are refused.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::condition::Reason;

/// Members of a newer version, kept as they are.
pub type Unknown = BTreeMap<String, Value>;

/// A union holds what this version does not know: its members are the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is of a kind that this version does not know ({kind})")]
pub struct NewerFormat {
    /// What is of that kind.
    pub what: &'static str,
    /// Names of the members that were found, separated by commas; `none` where there are none.
    pub kind: String,
}

impl NewerFormat {
    pub(crate) fn of(what: &'static str, unknown: &Unknown) -> Self {
        let names: Vec<&str> = unknown.keys().map(String::as_str).collect();
        let kind = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        Self { what, kind }
    }

    /// The reason that conditions give.
    pub const fn reason(&self) -> Reason {
        Reason::NewerFormat
    }
}
