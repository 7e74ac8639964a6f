//! What the cluster's events say about objects that are in trouble.

use std::collections::BTreeMap;

use holdfast_api::condition::Reason;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use super::state::cut;

/// The scheduler's words are in the pod's condition already.
const KNOWN: &str = "FailedScheduling";

/// What the newest warning about each object says, in the cluster's own words: why a Job has no pod (`FailedCreate`),
/// a pod does not start (`FailedMount`), or a claim has no volume (`ProvisioningFailed`).
pub fn words(events: &[Event]) -> Option<String> {
    let mut newest: BTreeMap<(&str, &str), &Event> = BTreeMap::new();
    let warnings = events
        .iter()
        .filter(|event| event.type_.as_deref() == Some("Warning") && event.reason.as_deref() != Some(KNOWN));
    for event in warnings {
        let about = &event.involved_object;
        let (Some(kind), Some(name)) = (about.kind.as_deref(), about.name.as_deref()) else {
            continue;
        };
        let known = newest.entry((kind, name)).or_insert(event);
        if told_at(event) >= told_at(known) {
            *known = event;
        }
    }
    let said = newest.into_iter().map(|((kind, name), event)| {
        let reason = event.reason.as_deref().unwrap_or_default();
        let message = event.message.as_deref().unwrap_or_default();
        cut(&format!("{} {name}: {reason}: {message}", kind.to_lowercase()))
    });
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// Whether events say more about this trouble than Jobs and pods do.
pub fn are_told_by_events(reason: Reason) -> bool {
    matches!(reason, Reason::PodPending | Reason::MountFailed | Reason::Unschedulable)
}

/// When it was told last: a series tells the same again.
fn told_at(event: &Event) -> Option<Timestamp> {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let precise = series.or(event.event_time.as_ref()).map(|time| time.0);
    let coarse = event
        .last_timestamp
        .as_ref()
        .or(event.first_timestamp.as_ref())
        .map(|time| time.0);
    precise
        .max(coarse)
        .or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}
