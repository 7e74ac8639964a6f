//! How the schedules of a policy stand: what its status remembers of each, and the condition that follows from it.

use holdfast_api::{
    BackupPolicy, BackupPolicyStatus, BackupType, MissedSlot, ScheduleStatus,
    condition::{ConditionType, Conditions, Reason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{one_type, schedule, shared};

/// The types whose schedules are run by this version.
pub const SERVED: &[BackupType] = &[BackupType::Datafile];

/// Up to when all slots of a type are settled; none where its schedule is off.
pub(super) fn settled(status: &BackupPolicyStatus, kind: BackupType) -> Option<Timestamp> {
    let state = status.schedules.get(kind.as_str()).filter(|state| state.enabled)?;
    Some(state.settled_until.as_ref()?.0)
}

/// Notes since when each schedule is as it is: one that is switched on or changed makes up for nothing. A policy that
/// is seen for the first time had its schedules from the beginning.
///
/// Each type is judged by itself: a mistake about snapshots or logs does not end the backups of data files.
pub(super) fn note(policy: &BackupPolicy, status: &mut BackupPolicyStatus, now: Timestamp) {
    let created = policy.metadata.creation_timestamp.as_ref().map(|time| time.0.min(now));
    let from = created.filter(|_| status.schedules.is_empty()).unwrap_or(now);
    // Whoever noted this, what was made is not made again.
    let made = status.last_schedule_time.as_ref().map_or(from, |time| time.0);
    for kind in SERVED {
        let usable = shared(policy).and_then(|()| one_type(policy, *kind)).is_ok();
        let on = schedule(policy, *kind).filter(|_| usable);
        let expression = on.map(|schedule| schedule.cron_expression.clone());
        let same = |known: &ScheduleStatus| known.enabled == on.is_some() && known.expression == expression;
        let known = status.schedules.get(kind.as_str());
        if known.is_some_and(same) {
            continue;
        }
        let state = ScheduleStatus {
            enabled: on.is_some(),
            expression,
            settled_until: Some(Time(from.max(made))),
            missed: None,
            unknown: known.map(|known| known.unknown.clone()).unwrap_or_default(),
        };
        status.schedules.insert(kind.as_str().to_owned(), state);
    }
}

/// The status after a slot of a type was made (`reason` none), or was missed or skipped for a reason.
pub fn after_slot(
    policy: &BackupPolicy,
    kind: BackupType,
    slot: Timestamp,
    reason: Option<(Reason, &str)>,
    now: Timestamp,
) -> BackupPolicyStatus {
    let mut status = policy.status.clone().unwrap_or_default();
    if reason.is_none() {
        let newest = status.last_schedule_time.as_ref().map_or(slot, |time| time.0.max(slot));
        status.last_schedule_time = Some(Time(newest));
    }
    let state = status.schedules.entry(kind.as_str().to_owned()).or_default();
    state.settled_until = Some(Time(slot));
    state.missed = reason.map(|(reason, text)| MissedSlot {
        reason: reason.as_str().to_owned(),
        message: text.to_owned(),
        ..MissedSlot::default()
    });
    let conditions = std::mem::take(&mut status.conditions);
    let mut conditions = Conditions::of(conditions, policy.metadata.generation, now);
    say(&status, &mut conditions);
    status.conditions = conditions.into_list();
    status
}

/// Says in a condition which schedules are on, and what their newest slots came to.
pub(super) fn say(status: &BackupPolicyStatus, conditions: &mut Conditions) {
    let known = SERVED.iter().filter_map(|kind| status.schedules.get(kind.as_str()));
    let on: Vec<&ScheduleStatus> = known.filter(|state| state.enabled).collect();
    let texts: Vec<String> = on.iter().map(|state| text(state)).collect();
    let missed = on.iter().find_map(|state| state.missed.as_ref());
    let reason = missed.map_or(Reason::Available, |missed| {
        Reason::parse(&missed.reason).unwrap_or(Reason::SlotMissed)
    });
    if on.is_empty() {
        let text = "the datafile schedule is off, or cannot be used";
        conditions.set(ConditionType::Scheduled, false, Reason::Available, text);
    } else {
        conditions.set(ConditionType::Scheduled, true, reason, &texts.join("; "));
    }
}

fn text(state: &ScheduleStatus) -> String {
    let by = format!("by \"{}\" (UTC)", state.expression.as_deref().unwrap_or_default());
    match &state.missed {
        None => by,
        Some(missed) => format!("{by}; {}", missed.message),
    }
}
