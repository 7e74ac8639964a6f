//! The retirement of one policy's Backups: the next deletion as the one decision that brings it about.

use std::collections::HashMap;

use holdfast_api::{
    BackupStatus,
    condition::Reason,
    event::{BusEvent, BusEventKind},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::json;

use super::{BackupSummary, Candidate, Group, InUse, next_expiration, retire};
use crate::decision::{self, Event, Kind, Target};

/// How soon the watch should have shown what a live read found.
const SOON: SignedDuration = SignedDuration::from_secs(2);

/// How often it is looked whether a restore still needs what would go.
const RESTORING: SignedDuration = SignedDuration::from_mins(1);

/// What must be read from the API server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The policy: its limits may have been raised a moment ago.
    Policy,
    /// The `RestoreJob`s of the namespace: what they name stays until they are over.
    Restores,
    /// The newer good Backup that lets the next one go.
    NewerGood,
}

/// What follows from an observation.
pub type Decision = decision::Decision<BackupStatus, Read>;
/// What shall be written.
pub type Write = decision::Write<BackupStatus>;

/// Everything that the next deletion rests on.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The Backups of the policy, and its limits.
    pub group: Group,
    /// Whether the limits are what the API server said just now.
    pub limits_live: bool,
    /// What shall still go, the next one last.
    pub left: Vec<Candidate>,
    /// By uid: whether a newer good Backup was found good just now.
    newer_goods: HashMap<String, bool>,
    /// What restores need, as the API server said just now; none: that was not read yet.
    in_use: Option<InUse>,
}

impl Observed {
    /// A group, with what shall go of it now; `needed` as for [`retire`].
    pub fn of(group: Group, limits_live: bool, needed: &dyn Fn(&BackupSummary) -> bool, now: Timestamp) -> Self {
        let mut left = retire(&group, needed, now);
        left.reverse();
        Self {
            group,
            limits_live,
            left,
            newer_goods: HashMap::new(),
            in_use: None,
        }
    }

    /// Takes in what restores need.
    pub fn know_restores(&mut self, in_use: InUse) {
        self.in_use = Some(in_use);
    }

    /// The one that goes next.
    pub fn next(&self) -> Option<&Candidate> {
        let free = |candidate: &&Candidate| !self.is_in_use(candidate);
        self.left.iter().rev().find(free)
    }

    /// The one that goes next is not to be looked at again.
    pub fn pop(&mut self) -> Option<Candidate> {
        let at = self.left.iter().rposition(|candidate| !self.is_in_use(candidate))?;
        Some(self.left.remove(at))
    }

    fn is_in_use(&self, candidate: &Candidate) -> bool {
        let name = candidate.backup.metadata.name.as_deref().unwrap_or_default();
        self.in_use.as_ref().is_some_and(|in_use| in_use.by(name).is_some())
    }

    /// Takes in what a read of the next one's newer good Backup found under its name.
    pub fn know_newer_good(&mut self, found: Option<&BackupSummary>) {
        let Some(newer) = self.next().and_then(|next| next.newer_good.as_ref()) else {
            return;
        };
        let good = found.is_some_and(|found| found.is_good() && found.metadata.uid == newer.metadata.uid);
        let uid = newer.uid().unwrap_or_default();
        self.newer_goods.insert(uid, good);
    }

    /// Whether a newer good Backup is there still, so that this one may go; none: that was not read yet.
    fn may_go(&self, candidate: &Candidate) -> Option<bool> {
        match &candidate.newer_good {
            None => Some(true),
            Some(newer) => self.newer_goods.get(newer.metadata.uid.as_deref()?).copied(),
        }
    }
}

/// Decides about one policy's Backups: at most one deletion, and when to look again. A good one goes only while a newer one
/// is there.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let Some(candidate) = observed.next() else {
        let next = next_expiration(&observed.group, now).map(|time| time.duration_since(now));
        let withheld = (!observed.left.is_empty()).then_some(RESTORING);
        let next = next.into_iter().chain(withheld).min();
        return next.map_or_else(Decision::wait, Decision::after);
    };
    let by_limit = |candidate: &Candidate| candidate.reason != Reason::Expired;
    if !observed.limits_live && observed.left.iter().any(by_limit) {
        return Decision::read(Read::Policy);
    }
    if observed.in_use.is_none() {
        return Decision::read(Read::Restores);
    }
    match observed.may_go(candidate) {
        None => Decision::read(Read::NewerGood),
        Some(false) => Decision::after(SOON),
        Some(true) => delete(candidate),
    }
}

fn delete(candidate: &Candidate) -> Decision {
    let (backup, reason) = (&*candidate.backup, candidate.reason);
    let note = match reason {
        Reason::Expired => "its retention is over",
        Reason::FailedLimitExceeded => "there are newer scheduled backups that failed",
        _ => "there are more scheduled backups than backupsHistoryLimit",
    };
    let event = BusEvent {
        data: json!({ "reason": reason.as_str() }),
        ..BusEvent::of(BusEventKind::BackupExpired, backup)
    };
    Decision::write(Write::Delete(Target::exactly(Kind::Backup, backup)))
        .with(Event::normal(reason, note))
        .with(event)
}
