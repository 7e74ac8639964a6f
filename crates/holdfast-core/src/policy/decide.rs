//! What to do about a policy: its status is kept, and slots that have come are settled, one after the other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use holdfast_api::{
    Backup, BackupPolicy, BackupPolicyStatus, BackupType, ObjectMetaExt as _,
    condition::Reason,
    event::{BusEvent, BusEventKind},
    names::{ANNOTATION_ADMITTED, FINALIZER},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::json;

use super::{
    complaint,
    lack::{Lack, Name, Named, left},
    schedules::{SERVED, after_slot},
    slot::{Slot, due, is_made_for, slot_backup},
    status, validate,
};
use crate::{
    admission,
    decision::{self, Child, Event, Next, Seen, without_finalizer},
};

/// How seldom, at most, a Backup that the API server refuses, for a quota for one, is asked for again.
const REFUSED: SignedDuration = SignedDuration::from_mins(1);
/// How soon after a name was taken and free again it is tried anew.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// A slot is never looked for more often than this.
const AT_ONCE: Duration = Duration::from_millis(50);

/// What must be read from the API server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The Backup that holds back the slot of this type, into [`Observed::live`].
    Blocker(BackupType),
    /// What admission rests on, for the Backup of the slot that is due, into [`Observed::prepared`].
    Admission(BackupType),
    /// What the policy names, into [`Observed::named`].
    Named(Name),
}

/// What follows from an observation.
pub type Decision = decision::Decision<BackupPolicyStatus, Read>;
/// What shall be written.
pub type Write = decision::Write<BackupPolicyStatus>;

/// Everything that a decision about one policy rests on.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The policy.
    pub policy: Arc<BackupPolicy>,
    /// What it names.
    pub named: Named,
    /// Backups that have not ended, of whichever policy, as far as a cache knows.
    pub active: Vec<Arc<Backup>>,
    /// Backups of the policy's namespace by name, as the API server answered in this pass; none: there is none.
    pub live: BTreeMap<String, Option<Arc<Backup>>>,
    /// The Backup of a slot as it is to be created: with what admission adds, where everything is ready.
    pub prepared: Option<Backup>,
    /// The name of the Backup that this pass created.
    pub created: Option<String>,
    /// What the API server said when it refused the Backup that was asked for in this pass.
    pub refused: Option<String>,
}

impl Observed {
    /// A policy of which nothing has been read yet.
    pub fn new(policy: Arc<BackupPolicy>) -> Self {
        Self {
            policy,
            named: Named::default(),
            active: Vec::new(),
            live: BTreeMap::new(),
            prepared: None,
            created: None,
            refused: None,
        }
    }

    /// What the schedule of a type asks for now.
    pub fn slot(&self, kind: BackupType, now: Timestamp) -> Slot {
        let cached = self.active.iter().filter(|backup| !self.is_read(backup));
        let live = self.live.values().flatten();
        let active: Vec<Arc<Backup>> = cached.chain(live).cloned().collect();
        due(&self.policy, kind, &active, now)
    }

    /// When the next slot comes; one that has come and is not settled yet is the next.
    pub fn next_slot(&self, now: Timestamp) -> Option<Timestamp> {
        let next = SERVED.iter().filter_map(|kind| match self.slot(*kind, now) {
            Slot::None { next } => next,
            Slot::Due { slot, .. } | Slot::Missed { slot, .. } | Slot::Skipped { slot, .. } => Some(slot),
        });
        next.min()
    }

    fn is_read(&self, backup: &Backup) -> bool {
        backup.namespace() == self.policy.namespace() && self.live.contains_key(&backup.name_any())
    }

    /// The Backup of a name.
    fn known(&self, name: &str) -> Seen<Backup> {
        if let Some(live) = self.live.get(name) {
            return Seen::live(live.clone());
        }
        let same = |backup: &&Arc<Backup>| backup.name_any() == name && backup.namespace() == self.policy.namespace();
        Seen::cached(self.active.iter().find(same).cloned())
    }
}

/// What to do about a policy: at most one write, and when to look again.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let policy = &*observed.policy;
    if policy.is_terminating() {
        // Whatever put the finalizer there, for one the original API's controller: nothing is held by it.
        return match without_finalizer(&policy.metadata, FINALIZER) {
            Some(release) => Decision::write(Write::Metadata(release)),
            None => Decision::wait(),
        };
    }
    let lack = match validate(policy) {
        Err(_) => None,
        Ok(()) => match observed.named.lack(policy) {
            Ok(lack) => lack,
            Err(name) => return Decision::read(Read::Named(name)),
        },
    };
    let wanted = status(policy, lack.as_ref(), now);
    let left = left(&wanted, now);
    if policy.status.as_ref() != Some(&wanted) {
        return noted(policy, wanted, lack.filter(|_| left.is_none()));
    }
    let mut next: Option<Timestamp> = None;
    for kind in SERVED {
        match observed.slot(*kind, now) {
            Slot::None { next: of_kind } => next = [next, of_kind].into_iter().flatten().min(),
            slot => return settle(observed, *kind, &slot, now),
        }
    }
    let next = next.map(|next| next.duration_since(now));
    let left = [next, left].into_iter().flatten().min();
    let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
    Decision {
        next: left.map_or(Next::AwaitChange, |left| Next::After(left.max(AT_ONCE))),
        ..Decision::wait()
    }
}

/// Writes the status, and tells people what is wrong, once for each change of the policy. `lack` is what it has waited for
/// in vain.
fn noted(policy: &BackupPolicy, wanted: BackupPolicyStatus, lack: Option<Lack>) -> Decision {
    let new = policy.status.as_ref().is_none_or(|known| {
        known.observed_generation != wanted.observed_generation || known.failure_reason != wanted.failure_reason
    });
    let decision = Decision::write(Write::Status(Box::new(wanted)));
    match lack.or_else(|| complaint(policy)).filter(|_| new) {
        Some((reason, text)) => decision.with(Event::warning(reason, text)),
        None => decision,
    }
}

/// Settles a slot that has come: with a Backup, or without one and a reason.
fn settle(observed: &Observed, kind: BackupType, slot: &Slot, now: Timestamp) -> Decision {
    let policy = &*observed.policy;
    match slot {
        Slot::None { .. } => Decision::wait(),
        Slot::Due { slot: time, passed } => make(observed, kind, (slot, *time, *passed), now),
        // Before a slot is skipped, the API server itself has to say that its Backup still runs.
        Slot::Skipped { by, .. } if !observed.live.contains_key(by) => Decision::read(Read::Blocker(kind)),
        Slot::Missed { slot: time, passed } | Slot::Skipped { slot: time, passed, .. } => match slot.note() {
            Some((reason, text)) => without(policy, kind, (*time, *passed), (reason, &text), now),
            None => Decision::wait(),
        },
    }
}

/// Makes the Backup of a slot. Done twice, the second finds the first.
fn make(
    observed: &Observed,
    kind: BackupType,
    (due, slot, passed): (&Slot, Timestamp, u32),
    now: Timestamp,
) -> Decision {
    let policy = &*observed.policy;
    let wanted = slot_backup(policy, kind, slot, "");
    let name = wanted.name_any();
    let known = observed.known(&name);
    match known.get() {
        // It went in between.
        None if known.live => Decision::after(SOON),
        Some(backup) if is_made_for(backup, &wanted) => {
            let status = after_slot(policy, kind, slot, None, now);
            let mut decision = Decision::write(Write::Status(Box::new(status))).with(scheduled(backup, slot));
            let admitted = backup.annotations().contains_key(ANNOTATION_ADMITTED);
            if admitted && observed.created.as_ref() == Some(&name) {
                decision = decision.with(admission::bus(backup, BusEventKind::BackupAdmitted, Reason::Admitted));
            }
            match due.note() {
                Some((reason, text)) => missed(decision, policy, (slot, passed), (reason, &text)),
                None => decision,
            }
        }
        Some(_) if known.live => {
            let text = format!("slot {slot} was passed over: Backup {name} exists and was not made for it");
            without(policy, kind, (slot, passed), (Reason::SlotNameTaken, &text), now)
        }
        // Whether a stranger that a cache shows is still there, the API server says by its answer.
        None | Some(_) => create(observed, kind, &wanted, now.duration_since(slot)),
    }
}

/// Creates the Backup of a slot that came so long ago.
fn create(observed: &Observed, kind: BackupType, wanted: &Backup, ago: SignedDuration) -> Decision {
    if let Some(why) = &observed.refused {
        // It is tried on until the slot's deadline, less and less often.
        let text = format!("Creating backup failed, error: {why}");
        return Decision::after(ago.clamp(SOON, REFUSED)).with(Event::warning(Reason::FailedCreatedBackup, text));
    }
    match observed
        .prepared
        .as_ref()
        .filter(|prepared| is_made_for(prepared, wanted))
    {
        Some(prepared) => Decision::write(Write::Create(Child::from(prepared.clone()))),
        None => Decision::read(Read::Admission(kind)),
    }
}

/// Settles a slot without a Backup, and says so.
fn without(
    policy: &BackupPolicy,
    kind: BackupType,
    (slot, passed): (Timestamp, u32),
    (reason, text): (Reason, &str),
    now: Timestamp,
) -> Decision {
    let status = after_slot(policy, kind, slot, Some((reason, text)), now);
    let decision = Decision::write(Write::Status(Box::new(status)));
    missed(decision, policy, (slot, passed), (reason, text))
}

/// Tells users and services that slots had no Backup; `passed` of them came before `slot`.
fn missed(
    decision: Decision,
    policy: &BackupPolicy,
    (slot, passed): (Timestamp, u32),
    (reason, text): (Reason, &str),
) -> Decision {
    decision.with(Event::warning(reason, text)).with(BusEvent {
        start: Some(slot),
        data: json!({ "slot": slot.to_string(), "reason": reason.as_str(), "earlier": passed }),
        ..BusEvent::of(BusEventKind::SlotMissed, policy)
    })
}

fn scheduled(backup: &Backup, slot: Timestamp) -> BusEvent {
    BusEvent {
        start: Some(slot),
        data: json!({ "slot": slot.to_string(), "policy": backup.spec.backup_policy_name }),
        ..BusEvent::of(BusEventKind::BackupScheduled, backup)
    }
}
