//! The order in which a slot is settled, and what each step rests on and tells.

use std::time::Duration;

use holdfast_api::event::BusEventKind;
use jiff::SignedDuration;

use super::{
    slots::{SLOT, daily, made},
    *,
};
use crate::decision::{Child, Event, Next, Notice, Seen};

/// A moment after the slot of [`daily`].
fn just_after() -> Timestamp {
    at(SLOT) + SignedDuration::from_secs(2)
}

/// The policy of [`daily`], with all slots before [`SLOT`] settled.
fn due_policy() -> BackupPolicy {
    let mut policy = daily(|_| {});
    let day_before = at(SLOT) - SignedDuration::from_hours(24);
    policy.status = Some(after_slot(&policy, BackupType::Datafile, day_before, None, day_before));
    policy
}

fn observed() -> Observed {
    Observed {
        named: there(),
        ..Observed::new(Arc::new(due_policy()))
    }
}

/// What policies name exists.
fn there() -> Named {
    Named {
        tool: Seen::cached(Some(Arc::default())),
        repo: Seen::cached(Some(Arc::default())),
    }
}

/// The Backup of the slot, as one that the caches or the API server show.
fn own(change: impl FnOnce(&mut Backup)) -> Arc<Backup> {
    let mut backup = (*made(&due_policy(), SLOT, "New")).clone();
    change(&mut backup);
    Arc::new(backup)
}

fn answered(observed: &mut Observed, backup: Arc<Backup>) {
    observed.live.insert(backup.name_any(), Some(backup));
}

fn written(decision: &Decision) -> &BackupPolicyStatus {
    match &decision.write {
        Some(Write::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

fn events(decision: &Decision) -> Vec<&Event> {
    let events = decision.notices.iter().filter_map(|notice| match notice {
        Notice::Event(event) => Some(event),
        Notice::Bus(_) => None,
    });
    events.collect()
}

fn news(decision: &Decision) -> Vec<BusEventKind> {
    let news = decision.notices.iter().filter_map(|notice| match notice {
        Notice::Event(_) => None,
        Notice::Bus(event) => Some(event.kind),
    });
    news.collect()
}

#[test]
fn what_is_wrong_is_told_once_for_each_change_whatever_the_conditions_say() {
    let mistaken = policy("invalid schedule", |_| {});
    let now = at("2026-03-01T00:00:00Z");
    let first = decide(&Observed::new(Arc::new(mistaken.clone())), now);
    assert_eq!(events(&first)[0].reason, Reason::InvalidSchedule);
    let mut known = mistaken;
    known.status = Some(written(&first).clone());
    assert_eq!(decide(&Observed::new(Arc::new(known.clone())), now), Decision::wait());
    for condition in &mut known.status.as_mut().unwrap().conditions {
        "Reworded".clone_into(&mut condition.reason);
        "in other words".clone_into(&mut condition.message);
    }
    let again = decide(&Observed::new(Arc::new(known.clone())), now);
    assert!(again.write.is_some() && again.notices.is_empty(), "{again:?}");
    known.metadata.generation = Some(2);
    assert_eq!(events(&decide(&Observed::new(Arc::new(known)), now)).len(), 1);
}

#[test]
fn the_backup_of_a_slot_is_prepared_and_created_and_then_noted() {
    let now = just_after();
    let mut seen = observed();
    assert_eq!(
        decide(&seen, now),
        Decision::read(Read::Admission(BackupType::Datafile))
    );
    let admitted = own(|backup| {
        backup
            .annotations_mut()
            .insert(ANNOTATION_ADMITTED.to_owned(), now.to_string());
    });
    seen.prepared = Some((*admitted).clone());
    let create = Decision::write(Write::Create(Child::from((*admitted).clone())));
    assert_eq!(decide(&seen, now), create);
    answered(&mut seen, Arc::clone(&admitted));
    seen.created = Some(admitted.name_any());
    let noted = decide(&seen, now);
    assert_eq!(written(&noted).last_schedule_time, Some(Time(at(SLOT))));
    assert_eq!(
        news(&noted),
        [BusEventKind::BackupScheduled, BusEventKind::BackupAdmitted]
    );
    // Whoever finds it there did not let it in.
    seen.created = None;
    assert_eq!(news(&decide(&seen, now)), [BusEventKind::BackupScheduled]);
    Arc::make_mut(&mut seen.policy).status = Some(written(&noted).clone());
    let Next::After(wait) = decide(&seen, now).next else {
        panic!("the next slot comes tomorrow")
    };
    assert_eq!(wait, Duration::from_secs(24 * 3600 - 2));
}

#[test]
fn a_backup_prepared_for_another_slot_is_not_created() {
    let mut seen = observed();
    seen.prepared = Some((*own(|_| {})).clone());
    let tomorrow = just_after() + SignedDuration::from_hours(24);
    assert_eq!(
        decide(&seen, tomorrow),
        Decision::read(Read::Admission(BackupType::Datafile))
    );
}

#[test]
fn a_slot_is_passed_over_for_a_taken_name_only_by_the_word_of_the_server() {
    let stranger = own(|backup| {
        backup.annotations_mut().clear();
    });
    let mut seen = observed();
    seen.active = vec![Arc::clone(&stranger)];
    assert_eq!(
        decide(&seen, just_after()),
        Decision::read(Read::Admission(BackupType::Datafile))
    );
    seen.prepared = Some((*own(|_| {})).clone());
    assert!(matches!(decide(&seen, just_after()).write, Some(Write::Create(_))));
    answered(&mut seen, stranger);
    let passed_over = decide(&seen, just_after());
    assert_eq!(events(&passed_over)[0].reason, Reason::SlotNameTaken);
    assert_eq!(news(&passed_over), [BusEventKind::SlotMissed]);
    assert_eq!(
        written(&passed_over).last_schedule_time,
        due_policy().status.unwrap().last_schedule_time
    );
}

#[test]
fn a_slot_is_skipped_only_by_the_word_of_the_server() {
    let earlier = made(&due_policy(), "2026-03-03T03:00:00Z", "InProgress");
    let mut seen = observed();
    seen.active = vec![Arc::clone(&earlier)];
    assert_eq!(
        decide(&seen, just_after()),
        Decision::read(Read::Blocker(BackupType::Datafile))
    );
    let mut over = seen.clone();
    answered(&mut over, made(&due_policy(), "2026-03-03T03:00:00Z", "Completed"));
    assert_eq!(
        decide(&over, just_after()),
        Decision::read(Read::Admission(BackupType::Datafile))
    );
    let mut gone = seen.clone();
    gone.live.insert(earlier.name_any(), None);
    assert_eq!(
        decide(&gone, just_after()),
        Decision::read(Read::Admission(BackupType::Datafile))
    );
    answered(&mut seen, earlier);
    assert_eq!(events(&decide(&seen, just_after()))[0].reason, Reason::SlotSkipped);
}

#[test]
fn what_is_refused_is_told_and_asked_for_again_less_and_less_often() {
    let mut seen = observed();
    seen.prepared = Some((*own(|_| {})).clone());
    seen.refused = Some("exceeded quota".to_owned());
    for (after, wait) in [(0, 1), (2, 2), (30, 30), (3600, 60)] {
        let now = at(SLOT) + SignedDuration::from_secs(after);
        let decision = decide(&seen, now);
        assert_eq!(decision.next, Next::After(Duration::from_secs(wait)), "{after}");
        let told = events(&decision);
        assert_eq!(told[0].reason, Reason::FailedCreatedBackup);
        assert!(told[0].note.contains("exceeded quota"), "{told:?}");
        // That it is overdue stays visible.
        assert_eq!(seen.next_slot(now), Some(at(SLOT)));
    }
}

#[test]
fn members_of_a_newer_version_outlive_a_changed_schedule() {
    let mut policy = daily(|_| {});
    let state = policy.status.as_mut().unwrap().schedules.get_mut("datafile").unwrap();
    state.unknown.insert("jitterSeed".to_owned(), json!(7));
    let schedule = policy.spec.schedule.as_mut().unwrap().datafile.as_mut().unwrap();
    "0 4 * * *".clone_into(&mut schedule.cron_expression);
    let state = &status(&policy, None, just_after()).schedules["datafile"];
    assert_eq!(state.expression.as_deref(), Some("0 4 * * *"));
    assert_eq!(state.unknown["jitterSeed"], json!(7));
}

/// Takes a status over as the API server does.
fn keep(seen: &mut Observed, decision: &Decision) {
    Arc::make_mut(&mut seen.policy).status = Some(written(decision).clone());
}

#[test]
fn a_policy_whose_tool_or_repository_does_not_exist_cannot_be_used() {
    let lacking = |name: Name, seen: &mut Observed| match name {
        Name::Tool => seen.named.tool = Seen::live(None),
        Name::Repo => seen.named.repo = Seen::live(None),
    };
    for (name, reason, text) in [
        (Name::Tool, Reason::ToolNotFound, "backupTool: t not found"),
        (Name::Repo, Reason::RepoNotFound, "backup repo r not found"),
    ] {
        let policy = policy("0 3 * * *", |d| {
            d["spec"]["datafile"]["backupRepoName"] = json!("r");
            d["metadata"]["creationTimestamp"] = json!("2026-03-01T12:00:00Z");
        });
        let mut seen = Observed {
            named: there(),
            ..Observed::new(Arc::new(policy))
        };
        let start = at("2026-03-01T12:00:00Z");
        let usable = decide(&seen, start);
        keep(&mut seen, &usable);
        // What a cache lacks may be there.
        lacking(name, &mut seen);
        match name {
            Name::Tool => seen.named.tool.live = false,
            Name::Repo => seen.named.repo.live = false,
        }
        assert_eq!(decide(&seen, start), Decision::read(Read::Named(name)));
        lacking(name, &mut seen);
        let waits = decide(&seen, start);
        let status = written(&waits);
        assert_eq!(status.phase, Some(BackupPolicyPhase::Available));
        assert!(
            condition::holds(&status.conditions, condition::RECONCILING),
            "{status:?}"
        );
        assert_eq!(events(&waits).len(), 0);
        keep(&mut seen, &waits);
        let soon = decide(&seen, start + SignedDuration::from_secs(10));
        assert_eq!(soon.next, Next::After(Duration::from_secs(20)));
        let in_vain = decide(&seen, start + SignedDuration::from_secs(30));
        let status = written(&in_vain);
        assert_eq!(status.phase, Some(BackupPolicyPhase::Failed));
        assert_eq!(status.failure_reason.as_deref(), Some(text));
        assert!(!condition::holds(&status.conditions, condition::READY));
        assert_eq!(events(&in_vain)[0].reason, reason);
        keep(&mut seen, &in_vain);
        assert_eq!(decide(&seen, start + SignedDuration::from_secs(40)).write, None);
        // Its schedule goes on, as its Backups tell what is lacking too.
        let slot = at("2026-03-02T03:00:01Z");
        assert_eq!(
            decide(&seen, slot),
            Decision::read(Read::Admission(BackupType::Datafile))
        );
        seen.named = there();
        let status = written(&decide(&seen, slot)).clone();
        assert_eq!(
            (status.phase, status.waiting),
            (Some(BackupPolicyPhase::Available), None)
        );
    }
}

#[test]
fn a_slot_that_is_settled_leaves_what_the_policy_waits_for() {
    let mut seen = observed();
    seen.named.tool = Seen::live(None);
    let waits = decide(&seen, at("2026-03-03T12:00:00Z"));
    keep(&mut seen, &waits);
    let settled = after_slot(&seen.policy, BackupType::Datafile, at(SLOT), None, just_after());
    assert_eq!(settled.waiting, written(&waits).waiting);
}

#[test]
fn a_deleted_policy_is_let_go() {
    let mut seen = observed();
    let meta = &mut Arc::make_mut(&mut seen.policy).metadata;
    meta.deletion_timestamp = Some(Time(just_after()));
    meta.finalizers = Some(vec![FINALIZER.to_owned(), "other".to_owned()]);
    let release = Write::Metadata(json!({"finalizers": ["other"]}));
    assert_eq!(decide(&seen, just_after()).write, Some(release));
    Arc::make_mut(&mut seen.policy).metadata.finalizers = None;
    assert_eq!(decide(&seen, just_after()), Decision::wait());
}
