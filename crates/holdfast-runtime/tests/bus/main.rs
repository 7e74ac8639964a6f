//! Against a real NATS server: news, wake-ups, outages and what each service may do.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod flow;
mod permissions;
mod stream;
#[path = "../support/mod.rs"]
mod support;

use holdfast_api::event::{BusEvent, BusEventKind};
use serde_json::Value;

/// A Backup of this name was completed.
fn completed(name: &str) -> BusEvent {
    BusEvent {
        kind: BusEventKind::BackupCompleted,
        from: "InProgress",
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        start: None,
        traceparent: None,
        data: Value::Null,
    }
}
