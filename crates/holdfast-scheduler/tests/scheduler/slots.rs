use std::time::Duration;

use holdfast_api::{BackupPhase, BackupType, names::ANNOTATION_SLOT};
use holdfast_core::policy::slot_backup;
use holdfast_testkit::{eventually, never, sample};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::json;

use crate::world::{POLICY, SOON, World, YEARLY, is_admitted, schedule_reason, shared, slot};

#[tokio::test]
async fn policies_that_come_due_together_make_a_complete_backup_each() {
    let world = World::new("due").await;
    for name in ["one", "two"] {
        world.overdue(name, |_| {}).await;
    }
    let (one, two) = (world.made("one").await, world.made("two").await);
    assert_ne!(one.name_any(), two.name_any());
    for (backup, policy) in [(&one, "one"), (&two, "two")] {
        let start = format!("backup-{}-{}-", world.namespace, sample::INSTANCE);
        assert!(backup.name_any().starts_with(&start), "{}", backup.name_any());
        assert_eq!(backup.annotations()[ANNOTATION_SLOT], slot().to_string());
        assert_eq!(backup.labels()["dataprotection.kubeblocks.io/autobackup"], "true");
        // It was created as it is: nobody has written it since.
        assert!(is_admitted(backup), "{backup:?}");
        assert_eq!(backup.metadata.generation, Some(1));
        world.slot_noted(policy).await;
    }
    never(Duration::from_secs(2), "a second backup", || async {
        (world.backups("one").await.len() > 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_scheduled_backup_waits_for_what_is_not_ready() {
    let world = World::new("wait").await;
    world.set_ready("shop-0", false).await;
    world.overdue(POLICY, |_| {}).await;
    let name = world.made(POLICY).await.name_any();
    world.waits_for(&name, "TargetPodNotReady").await;
    world.set_ready("shop-0", true).await;
    world.admitted(&name).await;
}

#[tokio::test]
async fn a_slot_is_skipped_while_an_earlier_backup_runs_and_successes_are_noted() {
    let world = World::new("forbid").await;
    let policy = world
        .policy(POLICY, |d| {
            d["spec"]["schedule"] = json!({"datafile": {"cronExpression": YEARLY, "enable": true}});
        })
        .await;
    let seen = world
        .policy_where(POLICY, "to be scheduled", |policy| schedule_reason(policy).is_some())
        .await;
    // As the schedule makes them: that of the day before the slot runs when it comes.
    let backup = slot_backup(
        &policy,
        BackupType::Datafile,
        slot() - SignedDuration::from_hours(24),
        "",
    );
    let first = world.create(&world.api(), &backup).await.name_any();
    world.admitted(&first).await;
    world.set_phase(&first, BackupPhase::InProgress).await;
    world.make_due(&seen).await;
    world
        .policy_where(POLICY, "telling of the slot", |policy| {
            schedule_reason(policy) == Some("SlotSkipped")
        })
        .await;
    let note = world.warned(&policy, "SlotSkipped").await;
    assert!(note.contains(&first) && note.contains(&slot().to_string()), "{note}");
    assert_eq!(world.backups(POLICY).await.len(), 1);
    world.set_phase(&first, BackupPhase::Completed).await;
    world
        .policy_where(POLICY, "with its success noted", |policy| {
            policy
                .status
                .as_ref()
                .is_some_and(|status| status.last_successful_time.is_some())
        })
        .await;
    let (_, scheduler) = shared().await;
    let labels = [("namespace", world.namespace.as_str()), ("policy", POLICY)];
    eventually(SOON, "the success to be measured", || async {
        scheduler.metric("last_success_timestamp_seconds", &labels)
    })
    .await;
    let skipped = [labels[0], labels[1], ("outcome", "SlotSkipped")];
    assert!(scheduler.metric("slots_total", &skipped) >= Some(1.0));
}

#[tokio::test]
async fn a_slot_is_missed_after_its_deadline() {
    let world = World::new("deadline").await;
    let policy = world
        .overdue(POLICY, |d| d["spec"]["schedule"]["startingDeadlineMinutes"] = json!(10))
        .await;
    let note = world.warned(&policy, "SlotMissed").await;
    assert!(note.contains(&slot().to_string()), "{note}");
    world
        .policy_where(POLICY, "telling of the slot", |policy| {
            schedule_reason(policy) == Some("SlotMissed")
        })
        .await;
    assert!(world.backups(POLICY).await.is_empty());
}

#[tokio::test]
async fn a_name_that_is_taken_is_never_touched() {
    let world = World::new("taken").await;
    // Known before the policy is due, since its name follows from the uid of the policy.
    let policy = world
        .policy(POLICY, |d| {
            d["spec"]["schedule"] = json!({"datafile": {"cronExpression": YEARLY, "enable": true}});
        })
        .await;
    let name = slot_backup(&policy, BackupType::Datafile, slot(), "").name_any();
    let stranger = world.backup(&name, POLICY).await;
    world.admitted(&name).await;
    let scheduled = world
        .policy_where(POLICY, "to be scheduled", |policy| schedule_reason(policy).is_some())
        .await;
    world.make_due(&scheduled).await;
    let note = world.warned(&policy, "SlotNameTaken").await;
    assert!(note.contains(&name), "{note}");
    world
        .policy_where(POLICY, "telling of the name", |policy| {
            schedule_reason(policy) == Some("SlotNameTaken")
        })
        .await;
    let found = world.backups(POLICY).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].uid(), stranger.uid());
    assert!(!found[0].annotations().contains_key(ANNOTATION_SLOT));
}

#[tokio::test]
async fn a_slot_comes_on_time() {
    let world = World::new("time").await;
    world
        .policy(POLICY, |d| {
            d["spec"]["schedule"] = json!({"datafile": {"cronExpression": "* * * * *", "enable": true}});
        })
        .await;
    // The next whole minute is at most one away.
    let backup = eventually(SOON * 2, "a backup of the next minute", || async {
        world.backups(POLICY).await.pop()
    })
    .await;
    let slot: Timestamp = backup.annotations()[ANNOTATION_SLOT].parse().expect("a time");
    let made = backup.creation_timestamp().expect("a time").0;
    let late = made.duration_since(slot);
    assert_eq!(slot.as_second() % 60, 0);
    assert!((0..10).contains(&late.as_secs()), "{late} after its slot");
    world
        .change_policy(POLICY, &json!({"spec": {"schedule": {"datafile": {"enable": false}}}}))
        .await;
}
