use std::collections::BTreeSet;

use holdfast_api::{
    BackupPhase, BackupPolicy,
    condition::Reason,
    names::{ANNOTATION_POLICY_UID, LABEL_AUTOBACKUP, LABEL_BACKUP_PROTECTION},
};
use kube::ResourceExt as _;
use proptest::prelude::*;

use super::*;

fn limits(limit: &Value) -> Option<Limits> {
    let policy: BackupPolicy = serde_json::from_value(json!({
        "apiVersion": "v", "kind": "BackupPolicy", "metadata": {"name": "p", "uid": "pu"},
        "spec": {"datafile": {"target": {"labelsSelector": {}}, "backupsHistoryLimit": limit}}
    }))
    .unwrap();
    Some(Limits::of(&policy))
}

pub(super) fn group(backups: &[Arc<BackupSummary>], limit: Option<&Value>) -> Group {
    Group {
        backups: backups.to_vec(),
        limits: limit.and_then(limits),
    }
}

/// What retires, with the needs that an index of the same Backups knows.
pub(super) fn retired(group: &Group, now: i64) -> Vec<Candidate> {
    let index = index(&group.backups);
    retire(
        group,
        &|backup| !index.dependents(&key(&backup.name_any())).is_empty(),
        at(now),
    )
}

pub(super) fn names(candidates: &[Candidate]) -> Vec<(String, Reason)> {
    candidates
        .iter()
        .map(|candidate| (candidate.backup.name_any(), candidate.reason))
        .collect()
}

pub(super) fn pairs(wanted: &[(&str, Reason)]) -> Vec<(String, Reason)> {
    wanted
        .iter()
        .map(|(name, reason)| ((*name).to_owned(), *reason))
        .collect()
}

#[test]
fn what_gc_does_not_read_is_not_kept() {
    let backup = summary(
        "a",
        "Completed",
        0,
        &json!({"metadata": {"managedFields": [{"manager": "m"}], "annotations": {"kubeblocks.io/cluster-snapshot": "{}", ANNOTATION_POLICY_UID: "pu"}, "labels": {"more": "x"}},
            "status": {"plan": {"policyUid": "other", "tool": {"unknown": []}}, "conditions": [{"type": "Stalled", "status": "False", "reason": "Purging"}]}}),
    );
    assert_eq!(backup.metadata.managed_fields, None);
    assert_eq!(backup.annotations().len(), 1);
    assert!(!backup.labels().contains_key("more"));
    assert_eq!(backup.policy_uid(), Some("pu"));
    assert_eq!(backup.status.trouble, None);
}

#[test]
fn expired_backups_go_but_the_newest_good_one() {
    let group = group(
        &[
            expiring("old", "Completed", 1, 10),
            expiring("failed", "Failed", 5, 10),
            expiring("newest", "Completed", 3, 10),
            expiring("running", "InProgress", 4, 10),
            summary("for-ever", "Failed", 0, &json!({})),
        ],
        None,
    );
    let candidates = retired(&group, 10);
    assert_eq!(
        names(&candidates),
        pairs(&[("old", Reason::Expired), ("failed", Reason::Expired)])
    );
    let newer_good = candidates[0]
        .newer_good
        .as_ref()
        .map(|newer_good| newer_good.name_any());
    assert_eq!(newer_good.as_deref(), Some("newest"));
    assert_eq!(candidates[1].newer_good, None);
    assert!(retired(&group, 9).is_empty());
    assert_eq!(next_expiration(&group, at(9)), Some(at(10)));
    assert_eq!(next_expiration(&group, at(10)), None);
}

#[test]
fn each_source_keeps_its_own_newest_good_one() {
    let of = |name: &str, ended: i64, labels: Value| {
        summary(
            name,
            "Completed",
            ended,
            &json!({"metadata": {"labels": labels}, "status": {"expiration": at(5).to_string()}}),
        )
    };
    let uid = "dataprotection.kubeblocks.io/cluster-uid";
    let group = group(
        &[
            of("a1", 1, json!({uid: "u1"})),
            of("a2", 2, json!({uid: "u1"})),
            of("b1", 0, json!({uid: "u2"})),
            of("c1", 0, json!({})),
        ],
        None,
    );
    assert_eq!(names(&retired(&group, 10)), pairs(&[("a1", Reason::Expired)]));
}

#[test]
fn only_completed_scheduled_backups_of_this_policy_count_towards_the_limit() {
    let manual = json!({"metadata": {"labels": {LABEL_AUTOBACKUP: "false"}}});
    let former = json!({"metadata": {"annotations": {ANNOTATION_POLICY_UID: "former"}}});
    let planned = json!({"status": {"plan": {"policyUid": "former"}}});
    let mine = json!({"metadata": {"annotations": {ANNOTATION_POLICY_UID: "pu"}}});
    let backups = [
        summary("b1", "Completed", 1, &json!({})),
        summary("b2", "Completed", 2, &mine),
        summary("f3", "Failed", 3, &json!({})),
        summary("f4", "Failed", 4, &json!({})),
        summary("manual", "Completed", 0, &manual),
        summary("former", "Completed", 0, &former),
        summary("planned", "Completed", 0, &planned),
        summary("b5", "Completed", 5, &json!({})),
    ];
    let with = |limit: &Value| names(&retired(&group(&backups, Some(limit)), 10));
    assert_eq!(with(&json!(2)), pairs(&[("b1", Reason::HistoryLimitExceeded)]));
    assert_eq!(
        with(&json!(1)),
        pairs(&[
            ("b1", Reason::HistoryLimitExceeded),
            ("b2", Reason::HistoryLimitExceeded)
        ])
    );
    for unlimited in [json!(0), json!(3), json!(-1), Value::Null] {
        assert!(with(&unlimited).is_empty(), "{unlimited}");
    }
    assert!(retired(&group(&backups, None), 10).is_empty());
    let many: Vec<_> = (0..9)
        .map(|i| summary(&format!("m{i}"), "Completed", i, &json!({})))
        .collect();
    assert_eq!(
        retired(&group(&many, Some(&Value::Null)), 10).len(),
        2,
        "seven are kept where nothing is said"
    );
}

#[test]
fn what_expires_pushes_nothing_out_whose_time_is_not_over() {
    let backups = [
        summary("older", "Completed", 0, &json!({})),
        expiring("expired", "Completed", 14, 0),
        summary("newest", "Completed", 15, &json!({})),
    ];
    let group = group(&backups, Some(&json!(2)));
    assert_eq!(names(&retired(&group, 20)), pairs(&[("expired", Reason::Expired)]));
}

#[test]
fn protected_backups_stay() {
    let protected = |name: &str, word: &str| {
        let change = json!({"metadata": {"labels": {LABEL_BACKUP_PROTECTION: word}}, "status": {"expiration": at(50).to_string()}});
        summary(name, "Completed", 1, &change)
    };
    let backups = [
        protected("one", "Retain"),
        protected("two", "RETAIN"),
        protected("until", "retainuntilexpired"),
        protected("free", "Delete"),
        summary("newest", "Completed", 4, &json!({})),
    ];
    let group = group(&backups, Some(&json!(1)));
    assert_eq!(
        names(&retired(&group, 10)),
        pairs(&[("free", Reason::HistoryLimitExceeded)])
    );
    assert_eq!(
        names(&retired(&group, 50)),
        pairs(&[("until", Reason::Expired), ("free", Reason::Expired)])
    );
}

#[test]
fn what_a_kept_increment_builds_on_stays_also_across_policies_and_deleted_ones() {
    let child = |name: &str, phase: &str, parent: &str, change: &Value| {
        let mut whole = json!({"spec": {"parentBackupName": parent, "backupPolicyName": "other"}});
        merge(&mut whole, change);
        summary(name, phase, 5, &whole)
    };
    let deleted = json!({"metadata": {"deletionTimestamp": at(6).to_string()}});
    let known = |leaf: &str| {
        index(&[
            expiring("base", "Completed", 1, 5),
            child("middle", "Completed", "base", &deleted),
            child("leaf", leaf, "middle", &json!({})),
        ])
    };
    assert_eq!(known("Completed").dependents(&key("base")), ["leaf"]);
    assert_eq!(known("InProgress").dependents(&key("base")), ["leaf"]);
    assert!(known("Failed").dependents(&key("base")).is_empty());
    let base = expiring("base", "Completed", 1, 5);
    let group = group(&[base, summary("newest", "Completed", 9, &json!({}))], None);
    let needed = |index: &Index, backup: &BackupSummary| !index.dependents(&key(&backup.name_any())).is_empty();
    let (kept, free) = (known("Completed"), known("Failed"));
    assert!(retire(&group, &|backup| needed(&kept, backup), at(10)).is_empty());
    assert_eq!(retire(&group, &|backup| needed(&free, backup), at(10)).len(), 1);
    let leaf = kept.get(&key("leaf")).unwrap();
    let above: Vec<String> = kept.ancestors(leaf).iter().map(|one| one.name_any()).collect();
    assert_eq!(above, ["middle", "base"]);
}

#[test]
fn backups_that_build_on_each_other_in_a_circle_do_no_harm() {
    let on = |name: &str, parent: &str| summary(name, "Completed", 1, &json!({"spec": {"parentBackupName": parent}}));
    let index = index(&[on("a", "b"), on("b", "a"), on("self", "self")]);
    assert_eq!(index.dependents(&key("a")), ["b"]);
    assert!(index.dependents(&key("self")).is_empty());
    assert_eq!(index.ancestors(index.get(&key("a")).unwrap()).len(), 1);
}

#[test]
fn an_index_forgets_what_changed_or_left() {
    let mut index = index(&[
        waiting("a"),
        summary("b", "Completed", 1, &json!({"spec": {"parentBackupName": "a"}})),
    ]);
    assert_eq!(
        (index.waiting(&key("repo")).len(), index.volumes(), index.len()),
        (1, vec![key("repo")], 2)
    );
    index.apply(&summary(
        "b",
        "Completed",
        1,
        &json!({"spec": {"backupPolicyName": "q"}}),
    ));
    assert_eq!((index.group(&key("p")).len(), index.group(&key("q")).len()), (1, 1));
    assert!(index.dependents(&key("a")).is_empty());
    index.remove(&waiting("a"));
    assert_eq!((index.groups(), index.len()), (vec![key("q")], 1));
    assert!(index.waiting(&key("repo")).is_empty() && index.volumes().is_empty());
}

#[derive(Clone, Debug)]
struct Any {
    phase: usize,
    ended: i64,
    expires: Option<i64>,
    auto: bool,
    protected: bool,
    going: bool,
    source: usize,
    parent: Option<usize>,
}

fn any_backup() -> impl Strategy<Value = Any> {
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let times = (0..100_i64, prop::option::weighted(0.7, 0..150_i64));
    (
        0..5_usize,
        times,
        flags,
        0..2_usize,
        prop::option::weighted(0.3, 0..12_usize),
    )
        .prop_map(
            |(phase, (ended, expires), (auto, protected, going), source, parent)| Any {
                phase,
                ended,
                expires,
                auto,
                protected,
                going,
                source,
                parent,
            },
        )
}

fn made(any: &[Any]) -> Vec<Arc<BackupSummary>> {
    let phases = ["Completed", "Completed", "Completed", "Failed", "InProgress"];
    let one = |(i, any): (usize, &Any)| {
        let parent = any
            .parent
            .filter(|parent| *parent < i)
            .map(|parent| format!("b{parent}"));
        let change = json!({
            "metadata": {
                "deletionTimestamp": any.going.then(|| at(0).to_string()),
                "labels": {LABEL_AUTOBACKUP: any.auto.to_string(), LABEL_BACKUP_PROTECTION: if any.protected { "retain" } else { "" },
                    "app.kubernetes.io/instance": format!("s{}", any.source)},
            },
            "spec": {"parentBackupName": parent},
            "status": {"expiration": any.expires.map(|expires| at(expires).to_string())},
        });
        summary(&format!("b{i}"), phases[any.phase], any.ended, &change)
    };
    any.iter().enumerate().map(one).collect()
}

fn good_of(backups: &[Arc<BackupSummary>], source: Option<&str>) -> Option<String> {
    let good = backups
        .iter()
        .filter(|backup| backup.is_good() && backup.source() == source);
    good.max_by_key(|backup| (backup.time(), backup.name_any()))
        .map(|backup| backup.name_any())
}

proptest! {
    /// Whatever the ages, phases, parents and limits, and whichever part of a decision is carried out: the newest good
    /// one of each source stays, so does what is protected, at work or needed; the end is the same, and within limits.
    #[test]
    fn retention_keeps_what_it_must_and_comes_to_one_end(
        any in prop::collection::vec(any_backup(), 0..12),
        limit in 0..4_i32,
        now in 0..160_i64,
        order in any::<u64>(),
    ) {
        let limit = json!(limit);
        let all = made(&any);
        let mut ends = Vec::new();
        for partly in [false, true] {
            let (mut left, mut random) = (all.clone(), order);
            loop {
                let candidates = retired(&group(&left, Some(&limit)), now);
                if candidates.is_empty() {
                    break;
                }
                for one in &candidates {
                    let backup = &one.backup;
                    prop_assert!(matches!(backup.status.phase, Some(BackupPhase::Completed | BackupPhase::Failed)));
                    prop_assert_ne!(backup.labels()[LABEL_BACKUP_PROTECTION].as_str(), "retain");
                    prop_assert_ne!(good_of(&left, backup.source()), Some(backup.name_any()));
                    prop_assert_eq!(one.newer_good.is_some(), backup.is_good());
                    let kept_child = left.iter().any(|other| other.is_kept() && other.parent() == Some(&backup.name_any()));
                    prop_assert!(!kept_child, "{} is needed", backup.name_any());
                }
                // A crash may leave any part of it undone, but something is done.
                let pick = usize::try_from(random % candidates.len() as u64).unwrap();
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let gone: BTreeSet<String> = candidates.iter().enumerate()
                    .filter(|(i, _)| !partly || *i == pick)
                    .map(|(_, one)| one.backup.name_any()).collect();
                left.retain(|backup| !gone.contains(&backup.name_any()));
            }
            for source in [Some("s0"), Some("s1")] {
                prop_assert_eq!(good_of(&left, source), good_of(&all, source));
            }
            ends.push(left.iter().map(|backup| backup.name_any()).collect::<Vec<_>>());
            within_limit(&left, &limit, now)?;
        }
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}

/// Of those that the limit counts, more are left only where a rule keeps each of those above it.
fn within_limit(left: &[Arc<BackupSummary>], limit: &Value, now: i64) -> Result<(), TestCaseError> {
    let limit = usize::try_from(limit.as_u64().unwrap()).unwrap();
    let is_kept = |backup: &BackupSummary| {
        let protected = backup.labels()[LABEL_BACKUP_PROTECTION] == "retain";
        protected || good_of(left, backup.source()) == Some(backup.name_any())
    };
    let counted = |backup: &&Arc<BackupSummary>| {
        let expired = backup.status.expiration.is_some_and(|time| time <= at(now));
        backup.is_good() && backup.labels()[LABEL_AUTOBACKUP] == "true" && (!expired || is_kept(backup))
    };
    let mut counted: Vec<_> = left.iter().filter(counted).collect();
    counted.sort_by_key(|backup| (backup.time(), backup.name_any()));
    let index = index(left);
    let above = if limit == 0 {
        0
    } else {
        counted.len().saturating_sub(limit)
    };
    for backup in counted.iter().take(above) {
        let needed = !index.dependents(&key(&backup.name_any())).is_empty();
        prop_assert!(is_kept(backup) || needed, "{} is one too many", backup.name_any());
    }
    Ok(())
}
