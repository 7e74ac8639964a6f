//! Why something of ours ended, as it is remembered.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Unknown, condition::Reason};

/// Why a run or restore is ended before its time.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Stop {
    /// One of the documented reasons.
    #[serde(default)]
    pub reason: String,
    /// The same in words.
    #[serde(default)]
    pub text: String,
    /// Since when.
    #[serde(default = "epoch")]
    pub since: Time,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl Stop {
    /// What is remembered about the end of something, from now.
    pub fn new(reason: Reason, text: &str, now: Timestamp) -> Self {
        Self {
            reason: reason.as_str().to_owned(),
            text: text.to_owned(),
            since: Time(now),
            unknown: Unknown::new(),
        }
    }

    /// The reason; `otherwise` stands for a word that this version does not know.
    pub fn reason_or(&self, otherwise: Reason) -> Reason {
        Reason::parse(&self.reason).unwrap_or(otherwise)
    }
}

pub(crate) fn epoch() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}
