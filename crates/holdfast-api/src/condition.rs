//! Conditions in the form that kstatus reads: the one list of their types, and the one writer.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

pub use crate::reason::{Origin, Reason, Shown};
use crate::text::printable;

/// The object is as its spec asks.
pub const READY: &str = ConditionType::Ready.as_str();
/// Work on the object goes on.
pub const RECONCILING: &str = ConditionType::Reconciling.as_str();
/// Work on the object cannot go on without help.
pub const STALLED: &str = ConditionType::Stalled.as_str();

/// The most characters of a message that are stored: the API server takes 32 KiB, and a character may have four bytes.
const MESSAGE_MAX: usize = 8_000;

macro_rules! condition_types {
    ($($name:ident: $origin:ident, $kinds:literal, $meaning:literal;)*) => {
        /// The types of conditions. The list is closed: alerts and scripts may rely on it.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum ConditionType {
            $(#[doc = $meaning] $name,)*
        }

        impl ConditionType {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in `type`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The kinds that have it, for the documents.
            pub const fn kinds(self) -> &'static str {
                match self { $(Self::$name => $kinds,)* }
            }

            /// What is so while it is True.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// Whose word it is.
            pub const fn origin(self) -> Origin {
                match self { $(Self::$name => Origin::$origin,)* }
            }
        }
    };
}

condition_types! {
    Ready: Own, "all", "The object is as its spec asks.";
    Reconciling: Own, "all", "Work on the object goes on.";
    Stalled: Own, "all", "Work on the object cannot go on without help: the message says what to do.";
    Scheduled: Own, "BackupPolicy", "A schedule of the policy is on and can be used.";
    FieldsIgnored: Own, "Backup", "Fields of the spec have no effect in this version: the message names them.";
    LinksLeadOut: Own, "Backup", "Symbolic links in the backup lead out of it: what they point to is not part of it.";
    Verified: Own, "RestoreJob", "The backup's digests are right. False: they are not, or could not be checked.";
    Writing: Own, "RestoreJob", "Volumes of the target have been given to a tool that writes them.";
    StorageProviderReady: Original, "BackupRepo", "The provider exists and is Ready.";
    ParametersChecked: Original, "BackupRepo", "Configuration and credentials are there and fit the provider.";
    StorageClassCreated: Original, "BackupRepo", "The Secret and the StorageClass were made.";
    PVCTemplateChecked: Original, "BackupRepo", "Claims can be made from the provider's template.";
    DerivedObjectsDeleted: Original, "BackupRepo", "What was made for the repository is gone. False: the message says what is not.";
    StorageClassCurrent: Own, "BackupRepo", "The StorageClass is what the templates give today.";
    ClaimsCreated: Own, "BackupRepo", "Every namespace whose Backups wait for a claim has one.";
    SharesDiskWithData: Own, "BackupRepo", "Backups are on the disk that they protect.";
    CSIDriverInstalled: Original, "StorageProvider", "The provider's CSI driver is installed, or it needs none.";
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// The word in `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The conditions of one object while a new status is worked out. Every condition goes through here: times move only
/// with the status, messages are cut to what the API server takes, and hints are added where one helps.
#[derive(Clone, Debug)]
pub struct Conditions {
    list: Vec<Condition>,
    generation: i64,
    now: Timestamp,
}

impl Conditions {
    /// Goes on from the stored conditions. `generation` is that of the object as observed; `now` becomes
    /// `lastTransitionTime` of each condition whose status changes.
    pub fn of(list: Vec<Condition>, generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            list,
            generation: generation.unwrap_or_default(),
            now,
        }
    }

    /// Says in the three conditions of every kind that the object is as its spec asks.
    pub fn ready(&mut self, reason: Reason, text: &str) -> &mut Self {
        self.summary([true, false, false], reason, text)
    }

    /// Says in the three conditions of every kind what is being done or waited for.
    pub fn reconciling(&mut self, reason: Reason, text: &str) -> &mut Self {
        self.summary([false, true, false], reason, text)
    }

    /// Says in the three conditions of every kind why nothing goes on, and what to do.
    pub fn stalled(&mut self, reason: Reason, text: &str) -> &mut Self {
        self.summary([false, false, true], reason, text)
    }

    /// Ready, Reconciling and Stalled together, so that they never contradict each other.
    fn summary(&mut self, [ready, reconciling, stalled]: [bool; 3], reason: Reason, text: &str) -> &mut Self {
        let message = message(reason, text);
        self.set(ConditionType::Ready, ready, reason, &message)
            .set(ConditionType::Reconciling, reconciling, reason, &message)
            .set(ConditionType::Stalled, stalled, reason, &message)
    }

    /// Sets one condition to exactly this text, as far as it is text and the API server takes it (32 KiB).
    pub fn set(&mut self, kind: ConditionType, status: impl Into<Status>, reason: Reason, text: &str) -> &mut Self {
        let known = self.list.iter().position(|condition| condition.type_ == kind.as_str());
        let before = known.map(|at| self.list.remove(at));
        let status = status.into().as_str();
        let since = before.filter(|before| before.status == status);
        let condition = Condition {
            last_transition_time: since.map_or(Time(self.now), |before| before.last_transition_time),
            message: printable(text).chars().take(MESSAGE_MAX).collect(),
            observed_generation: Some(self.generation),
            reason: reason.as_str().to_owned(),
            status: status.to_owned(),
            type_: kind.as_str().to_owned(),
        };
        self.list.insert(known.unwrap_or(self.list.len()), condition);
        self
    }

    /// Takes a condition away: it says nothing about the object as it is now.
    pub fn remove(&mut self, kind: ConditionType) -> &mut Self {
        self.list.retain(|condition| condition.type_ != kind.as_str());
        self
    }

    /// Whether a condition is True.
    pub fn holds(&self, kind: ConditionType) -> bool {
        holds(&self.list, kind.as_str())
    }

    /// Whether there is a condition of that type.
    pub fn has(&self, kind: ConditionType) -> bool {
        find(&self.list, kind).is_some()
    }

    /// The conditions, to be stored.
    pub fn into_list(self) -> Vec<Condition> {
        self.list
    }
}

/// What happened, and after it what to do where something is in the way.
pub fn message(reason: Reason, text: &str) -> String {
    match (reason.is_trouble(), text.is_empty()) {
        (false, _) => text.to_owned(),
        (true, false) => format!("{text}: {}", reason.hint()),
        (true, true) => reason.hint().to_owned(),
    }
}

/// The condition of a type.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let set = |list: &[Condition], ready: bool, reason, text, generation, now| {
            let mut conditions = Conditions::of(list.to_vec(), Some(generation), now);
            conditions.set(ConditionType::Ready, ready, reason, text);
            conditions.into_list()
        };
        let first = set(&[], false, Reason::InProgress, "a", 1, at(0));
        assert_eq!(set(&first, false, Reason::InProgress, "a", 1, at(60)), first);
        let second = set(&first, false, Reason::ToolFailed, "b", 1, at(60));
        assert_ne!(second, first);
        assert_eq!(second[0].last_transition_time, Time(at(0)));
        let third = set(&second, true, Reason::Completed, "c", 2, at(60));
        assert_ne!(third, second);
        assert_eq!(third[0].last_transition_time, Time(at(60)));
        assert!(holds(&third, READY));
        assert_eq!(third.len(), 1);
    }

    #[test]
    fn the_three_conditions_never_contradict_each_other() {
        let mut conditions = Conditions::of(Vec::new(), Some(3), at(1));
        conditions.reconciling(Reason::InProgress, "at work");
        let list = conditions.into_list();
        let mut conditions = Conditions::of(list, Some(3), at(9));
        conditions.stalled(Reason::ToolFailed, "exit 1");
        let list = conditions.into_list();
        let rows: Vec<_> = list
            .iter()
            .map(|one| (one.type_.as_str(), one.status.as_str(), one.last_transition_time.0))
            .collect();
        let expected = [
            ("Ready", "False", at(1)),
            ("Reconciling", "False", at(9)),
            ("Stalled", "True", at(9)),
        ];
        assert_eq!(rows, expected);
        assert!(list.iter().all(|one| one.observed_generation == Some(3)));
    }

    #[test]
    fn a_hint_follows_where_something_is_to_be_done() {
        let mut conditions = Conditions::of(Vec::new(), None, at(0));
        conditions.stalled(Reason::ToolFailed, "exit 1");
        let stalled = find(&conditions.list, ConditionType::Stalled).unwrap();
        assert_eq!(stalled.message, format!("exit 1: {}", Reason::ToolFailed.hint()));
        conditions.ready(Reason::Completed, "sealed");
        assert_eq!(find(&conditions.list, ConditionType::Ready).unwrap().message, "sealed");
        conditions.set(ConditionType::Verified, Status::Unknown, Reason::ToolFailed, "as it is");
        assert_eq!(
            find(&conditions.list, ConditionType::Verified).unwrap().message,
            "as it is"
        );
        let long = "ä".repeat(2 * MESSAGE_MAX);
        conditions.set(ConditionType::Verified, false, Reason::ToolFailed, &long);
        let cut = &find(&conditions.list, ConditionType::Verified).unwrap().message;
        assert_eq!(cut.chars().count(), MESSAGE_MAX);
        conditions.set(ConditionType::Verified, false, Reason::ToolFailed, "\x1b[31mred\0");
        let raw = &find(&conditions.list, ConditionType::Verified).unwrap().message;
        assert_eq!(raw, "\\x1b[31mred\\x00");
        assert!(conditions.has(ConditionType::Verified) && !conditions.holds(ConditionType::Verified));
        assert!(!conditions.remove(ConditionType::Verified).has(ConditionType::Verified));
    }
}
