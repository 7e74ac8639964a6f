//! What a restore remembers from just before the first byte on.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Stop, Unknown, stop::epoch};

/// That the target volumes may have been written.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Writing {
    /// Which Job it is, from 1: after the first one another may have written before.
    #[serde(default)]
    pub attempt: i32,
    /// Since when this one.
    #[serde(default = "epoch")]
    pub since: Time,
    /// Who else may have written meanwhile, in words, once that was seen: then the restore ends as half written, whatever
    /// becomes of its Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_writer: Option<String>,
    /// Whether the pods of its Jobs stay until the restore ends, so that what they say is known of all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pods_kept: bool,
    /// Why the Job is taken back, where its pods do not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Stop>,
    /// Members of a newer version.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl Writing {
    /// What is remembered before the first Job is asked for.
    pub fn first(now: Timestamp) -> Self {
        Self {
            attempt: 1,
            since: Time(now),
            second_writer: None,
            pods_kept: true,
            withdrawn: None,
            unknown: Unknown::new(),
        }
    }
}
