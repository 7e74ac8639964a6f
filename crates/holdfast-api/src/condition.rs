//! Conditions in the form that kstatus reads: Ready, Reconciling, Stalled.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

pub use crate::reason::Reason;

/// The object is as its spec asks.
pub const READY: &str = "Ready";
/// Work on the object goes on.
pub const RECONCILING: &str = "Reconciling";
/// Work on the object cannot go on without help.
pub const STALLED: &str = "Stalled";

/// Sets a condition; true if that changed anything. `now` becomes `lastTransitionTime` only where the status changes.
///
/// The message is cut to what the API server takes (32 KiB).
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: bool,
    reason: Reason,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> bool {
    put(
        conditions,
        kind,
        if status { "True" } else { "False" },
        reason.as_str(),
        message,
        generation,
        now,
    )
}

/// As [`set`], for conditions whose words the original API fixed.
pub fn put(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> bool {
    let message: String = message.chars().take(8_000).collect();
    if let Some(condition) = conditions.iter_mut().find(|condition| condition.type_ == kind) {
        let turned = condition.status != status;
        let changed = turned
            || condition.reason != reason
            || condition.message != message
            || condition.observed_generation != Some(generation);
        if turned {
            condition.last_transition_time = Time(now);
        }
        status.clone_into(&mut condition.status);
        reason.clone_into(&mut condition.reason);
        condition.message = message;
        condition.observed_generation = Some(generation);
        return changed;
    }
    conditions.push(Condition {
        last_transition_time: Time(now),
        message,
        observed_generation: Some(generation),
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: kind.to_owned(),
    });
    true
}

/// Whether a condition holds.
pub fn holds(conditions: &[Condition], kind: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, READY, false, Reason::InProgress, "a", 1, early));
        assert!(!set(&mut conditions, READY, false, Reason::InProgress, "a", 1, late));
        assert!(set(&mut conditions, READY, false, Reason::ToolFailed, "b", 1, late));
        assert_eq!(conditions[0].last_transition_time, Time(early));
        assert!(set(&mut conditions, READY, true, Reason::Completed, "c", 2, late));
        assert_eq!(conditions[0].last_transition_time, Time(late));
        assert!(holds(&conditions, READY));
        assert_eq!(conditions.len(), 1);
    }
}
