//! Which Backups go because their time is over or there are too many of them. Every rule that keeps one wins.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use holdfast_api::{
    BackupPhase, BackupPolicy, BackupType,
    condition::Reason,
    names::{LABEL_AUTOBACKUP, LABEL_BACKUP_PROTECTION},
};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::BackupSummary;

/// How many scheduled, completed Backups a policy that says nothing keeps, as the API has it.
const DEFAULT_LIMIT: i32 = 7;

/// How many scheduled, Failed Backups of one type a policy keeps: enough to see what fails, whatever their time says.
const FAILED_LIMIT: usize = 3;

/// A Backup that shall go.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The Backup as it was seen: its uid and resourceVersion guard the deletion.
    pub backup: Arc<BackupSummary>,
    /// [`Reason::Expired`], [`Reason::HistoryLimitExceeded`] or [`Reason::FailedLimitExceeded`].
    pub reason: Reason,
    /// The newer good Backup of its series that allows a good one to go. Whoever deletes makes sure that this one is
    /// still there; a Backup that is no good needs none.
    pub newer_good: Option<Arc<BackupSummary>>,
}

/// How many scheduled Backups a policy keeps, by type; types that are missing or have 0 are not limited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    uid: String,
    limits: BTreeMap<BackupType, usize>,
}

impl Limits {
    /// The limits of a policy.
    pub fn of(policy: &BackupPolicy) -> Self {
        let spec = &policy.spec;
        let datafile = spec.datafile.as_ref().map(|section| section.base.backups_history_limit);
        let snapshot = spec.snapshot.as_ref().map(|section| section.base.backups_history_limit);
        let known = [(BackupType::Datafile, datafile), (BackupType::Snapshot, snapshot)];
        let limits = known.into_iter().filter_map(|(kind, limit)| {
            let limit = usize::try_from(limit?.unwrap_or(DEFAULT_LIMIT)).ok()?;
            (limit > 0).then_some((kind, limit))
        });
        Self {
            uid: policy.uid().unwrap_or_default(),
            limits: limits.collect(),
        }
    }

    /// Whether a Backup is one of those that a limit counts: scheduled, for this very policy, and over.
    fn counts(&self, backup: &BackupSummary) -> bool {
        (backup.is_good() || has_failed(backup))
            && backup
                .labels()
                .get(LABEL_AUTOBACKUP)
                .is_some_and(|value| value == "true")
            && backup.policy_uid().is_none_or(|uid| uid == self.uid)
    }

    /// How many of a kind stay. Failed ones are counted apart: they never push a good one out.
    fn of_kind(&self, (kind, good): (BackupType, bool)) -> Option<usize> {
        if good {
            self.limits.get(&kind).copied()
        } else {
            Some(FAILED_LIMIT)
        }
    }
}

/// All Backups that name one policy of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The Backups.
    pub backups: Vec<Arc<BackupSummary>>,
    /// The limits of the policy, if there is one.
    pub limits: Option<Limits>,
}

/// What a Backup is one of: its type and what was backed up. Namespace and policy are those of the group.
type Series<'a> = (BackupType, Option<&'a str>);

/// One Backup and what the rules ask about it.
struct Case<'a> {
    backup: &'a BackupSummary,
    /// The newest good one of its series.
    newest: Option<&'a Arc<BackupSummary>>,
    over_limit: bool,
    needed: &'a dyn Fn(&BackupSummary) -> bool,
    now: Timestamp,
}

type Check = fn(&Case<'_>) -> bool;

/// Why a Backup goes: the first that holds is the reason.
const RETIRE: &[(Reason, Check)] = &[
    (Reason::Expired, is_expired),
    (Reason::HistoryLimitExceeded, |case| {
        is_over_limit(case) && case.backup.is_good()
    }),
    (Reason::FailedLimitExceeded, is_over_limit),
];

/// Why it stays nevertheless: one is enough.
const KEEP: &[Check] = &[
    is_going_already,
    is_at_work,
    is_protected,
    is_newest_good_of_its_series,
    is_needed_by_one_that_stays,
];

fn is_expired(case: &Case<'_>) -> bool {
    has_expired(case.backup, case.now)
}

/// `RetainUntilExpired` says what it says: a limit does not end it.
fn is_over_limit(case: &Case<'_>) -> bool {
    case.over_limit && !protection_is(case.backup, "RetainUntilExpired")
}

fn is_going_already(case: &Case<'_>) -> bool {
    case.backup.is_going()
}

fn is_at_work(case: &Case<'_>) -> bool {
    !matches!(
        case.backup.status.phase,
        Some(BackupPhase::Completed | BackupPhase::Failed)
    )
}

fn is_protected(case: &Case<'_>) -> bool {
    protection_is(case.backup, "Retain")
}

fn is_newest_good_of_its_series(case: &Case<'_>) -> bool {
    case.newest
        .is_some_and(|newest| newest.metadata.uid == case.backup.metadata.uid)
}

/// An increment that stays needs every Backup below it.
fn is_needed_by_one_that_stays(case: &Case<'_>) -> bool {
    (case.needed)(case.backup)
}

fn has_failed(backup: &BackupSummary) -> bool {
    backup.status.phase == Some(BackupPhase::Failed) && !backup.is_going()
}

fn has_expired(backup: &BackupSummary, now: Timestamp) -> bool {
    backup.status.expiration.is_some_and(|time| time <= now)
}

fn protection_is(backup: &BackupSummary, word: &str) -> bool {
    backup
        .labels()
        .get(LABEL_BACKUP_PROTECTION)
        .is_some_and(|value| value.eq_ignore_ascii_case(word))
}

/// The Backups of a group that shall go now; `needed` tells whether an increment that stays builds on a Backup.
///
/// Derived anew each time: whatever part of it is carried out, the next answer is right for what is left. Each Backup
/// is looked at a fixed number of times, however many there are.
pub fn retire(group: &Group, needed: &dyn Fn(&BackupSummary) -> bool, now: Timestamp) -> Vec<Candidate> {
    let newest = newest_good(group);
    let over_limit = over_limit(group, &newest, now);
    let candidates = group.backups.iter().filter_map(|backup| {
        let case = Case {
            backup,
            newest: newest.get(&series(backup)).copied(),
            over_limit: over_limit.contains(backup.metadata.uid.as_deref().unwrap_or_default()),
            needed,
            now,
        };
        let (reason, _) = RETIRE.iter().find(|(_, holds)| holds(&case))?;
        let stays = KEEP.iter().any(|holds| holds(&case));
        (!stays).then(|| Candidate {
            backup: Arc::clone(backup),
            reason: *reason,
            newer_good: case.newest.filter(|_| backup.is_good()).cloned(),
        })
    });
    candidates.collect()
}

/// When the next Backup of a group expires that may go then; what is protected or at work comes back by a change.
pub fn next_expiration(group: &Group, now: Timestamp) -> Option<Timestamp> {
    let staying = group.backups.iter().filter(|backup| !backup.is_going());
    staying
        .filter_map(|backup| backup.status.expiration)
        .filter(|time| *time > now)
        .min()
}

fn newest_good(group: &Group) -> HashMap<Series<'_>, &Arc<BackupSummary>> {
    let mut newest: HashMap<Series<'_>, &Arc<BackupSummary>> = HashMap::new();
    for backup in group.backups.iter().filter(|backup| backup.is_good()) {
        let known = newest.entry(series(backup)).or_insert(backup);
        if order(backup) > order(known) {
            *known = backup;
        }
    }
    newest
}

/// Uids of the oldest scheduled Backups above their limit, by type, good and Failed ones apart.
///
/// What expires is not counted, unless a rule keeps it for good: it must not push out one whose time is not over, and
/// in whatever order the candidates go, the same ones stay.
fn over_limit<'a>(
    group: &'a Group,
    newest: &HashMap<Series<'a>, &'a Arc<BackupSummary>>,
    now: Timestamp,
) -> HashSet<&'a str> {
    let Some(limits) = &group.limits else {
        return HashSet::new();
    };
    let counts = |backup: &BackupSummary| {
        let is_newest = || {
            newest
                .get(&series(backup))
                .is_some_and(|newest| newest.metadata.uid == backup.metadata.uid)
        };
        limits.counts(backup) && (!has_expired(backup, now) || protection_is(backup, "Retain") || is_newest())
    };
    let mut scheduled: BTreeMap<(BackupType, bool), Vec<&Arc<BackupSummary>>> = BTreeMap::new();
    for backup in group.backups.iter().filter(|backup| counts(backup)) {
        let kind = (backup.spec.backup_type, backup.is_good());
        scheduled.entry(kind).or_default().push(backup);
    }
    let mut found = HashSet::new();
    for (kind, mut backups) in scheduled {
        let Some(limit) = limits.of_kind(kind) else {
            continue;
        };
        let over = backups.len().saturating_sub(limit);
        if over > 0 {
            backups.sort_by(|one, other| order(one).cmp(&order(other)));
            found.extend(
                backups
                    .iter()
                    .take(over)
                    .filter_map(|backup| backup.metadata.uid.as_deref()),
            );
        }
    }
    found
}

fn series(backup: &BackupSummary) -> Series<'_> {
    #[cfg(test)]
    super::tests::LOOKS.with(|looks| looks.set(looks.get() + 1));
    (backup.spec.backup_type, backup.source())
}

fn order(backup: &BackupSummary) -> (Option<Timestamp>, Option<&str>) {
    (backup.time(), backup.metadata.name.as_deref())
}
