use std::cell::Cell;

use super::*;

/// A history of so many Backups, of which every tenth has expired; one policy.
fn history(count: usize) -> Group {
    let backups = (0..count).map(|i| {
        let ended = i64::try_from(i).unwrap();
        expiring(
            &format!("b{i:05}"),
            "Completed",
            ended,
            if i % 10 == 0 { 0 } else { 1_000_000 },
        )
    });
    Group {
        backups: backups.collect(),
        limits: None,
    }
}

/// How often one decision looks at a Backup's series and asks who needs it, and how many it dooms.
fn cost(count: usize) -> (usize, usize, usize) {
    let group = history(count);
    let asked = Cell::new(0);
    LOOKS.with(|looks| looks.set(0));
    let needed = |_: &BackupSummary| {
        asked.set(asked.get() + 1);
        false
    };
    let candidates = retire(&group, &needed, at(0));
    (LOOKS.with(Cell::get), asked.get(), candidates.len())
}

#[test]
fn a_decision_looks_at_each_of_ten_thousand_backups_a_fixed_number_of_times() {
    let (looks, asked, candidates) = cost(10_000);
    assert_eq!(candidates, 1_000);
    assert!(looks <= 3 * 10_000, "{looks}");
    assert!(asked <= 1_000, "only those that would go are asked about: {asked}");
    let (fewer, _, _) = cost(1_000);
    assert!(looks <= 11 * fewer, "{looks} for 10000, {fewer} for 1000");
}

#[test]
fn a_change_concerns_its_own_policy_among_ten_thousand_backups() {
    let mut index = Index::default();
    for i in 0..10_000 {
        let policy = json!({"spec": {"backupPolicyName": format!("p{}", i % 500)}});
        index.apply(&summary(&format!("b{i}"), "Completed", i, &policy));
    }
    assert_eq!((index.len(), index.groups().len()), (10_000, 500));
    assert_eq!(index.group(&key("p7")).len(), 20);
    assert!(index.dependents(&key("b7")).is_empty());
}
