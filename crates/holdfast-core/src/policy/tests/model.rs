//! A scheduler that looks irregularly, crashes between its two writes, decides by what it saw before, and whose clock is
//! turned back.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Time passes, in seconds.
    Pass(i64),
    /// The clock is set back by so many seconds.
    Back(i64),
    /// The scheduler looks and acts.
    Look,
    /// It creates the Backup, and ends before it notes that.
    Crash,
    /// It decides by an older copy of the policy and of the Backups.
    Stale,
    /// All Backups end.
    End,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1i64..2000).prop_map(Step::Pass),
        1 => (1i64..300).prop_map(Step::Back),
        6 => Just(Step::Look),
        2 => Just(Step::Crash),
        2 => Just(Step::Stale),
        3 => Just(Step::End),
    ];
    proptest::collection::vec(step, 1..80)
}

struct World {
    now: Timestamp,
    /// The latest time that was ever shown.
    latest: Timestamp,
    policy: BackupPolicy,
    /// What a lagging cache still shows.
    before: (BackupPolicy, Vec<Arc<Backup>>),
    backups: BTreeMap<String, Arc<Backup>>,
    /// Slots by how they were settled.
    settled: BTreeMap<Timestamp, &'static str>,
    passed: u32,
}

impl World {
    fn new(start: Timestamp) -> Self {
        let policy = policy("*/10 * * * *", |d| {
            d["metadata"]["creationTimestamp"] = json!(start.to_string())
        });
        let policy = seen(policy, start);
        Self {
            now: start,
            latest: start,
            before: (policy.clone(), Vec::new()),
            policy,
            backups: BTreeMap::new(),
            settled: BTreeMap::new(),
            passed: 0,
        }
    }

    fn active(&self) -> Vec<Arc<Backup>> {
        self.backups.values().cloned().collect()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Pass(seconds) => self.now += SignedDuration::from_secs(*seconds),
            Step::Back(seconds) => self.now -= SignedDuration::from_secs(*seconds),
            Step::Look => self.look(true),
            Step::Crash => self.look(false),
            Step::Stale => {
                let (policy, active) = self.before.clone();
                if let Slot::Due { slot, .. } = due(&policy, BackupType::Datafile, &active, self.now) {
                    // The note that follows meets a conflict.
                    self.create(&policy, slot);
                }
            }
            Step::End => {
                let ended: BackupStatus = serde_json::from_value(json!({"phase": "Completed"})).unwrap();
                for backup in self.backups.values_mut() {
                    Arc::make_mut(backup).status = Some(ended.clone());
                }
            }
        }
        self.latest = self.latest.max(self.now);
    }

    /// Creates the Backup as the API server would: a name is taken once.
    fn create(&mut self, policy: &BackupPolicy, slot: Timestamp) {
        let wanted = slot_backup(policy, BackupType::Datafile, slot, "");
        let found = self
            .backups
            .entry(wanted.name_any())
            .or_insert_with(|| Arc::new(wanted.clone()));
        assert!(is_made_for(found, &wanted));
    }

    fn look(&mut self, to_the_end: bool) {
        self.before = (self.policy.clone(), self.active());
        let found = due(&self.policy, BackupType::Datafile, &self.active(), self.now);
        let (slot, passed, how) = match &found {
            Slot::None { next } => {
                assert!(next.is_some_and(|next| next > self.now));
                return;
            }
            Slot::Due { slot, passed } => (*slot, *passed, "made"),
            Slot::Missed { slot, passed } => (*slot, *passed, "missed"),
            Slot::Skipped { slot, passed, .. } => (*slot, *passed, "skipped"),
        };
        if how == "made" {
            self.create(&self.policy.clone(), slot);
        }
        if !to_the_end {
            return;
        }
        let note = found.note();
        let reason = note
            .as_ref()
            .filter(|_| how != "made")
            .map(|(reason, text)| (*reason, text.as_str()));
        self.policy.status = Some(after_slot(&self.policy, BackupType::Datafile, slot, reason, self.now));
        assert_eq!(self.settled.insert(slot, how), None, "{slot} was settled twice");
        self.passed += passed;
    }
}

proptest! {
    /// Each slot is settled exactly once: made, skipped or passed over, and all that were made have their one Backup.
    #[test]
    fn slots_are_neither_lost_nor_doubled(steps in steps()) {
        let start = at("2026-03-01T00:00:30Z");
        let mut world = World::new(start);
        for step in &steps {
            world.step(step);
        }
        world.now = world.latest;
        world.look(true);
        let cron = Cron::parse("*/10 * * * *").unwrap();
        let all = cron.between(start, world.latest + SignedDuration::from_secs(1), u32::MAX);
        prop_assert_eq!(u32::try_from(world.settled.len()).unwrap() + world.passed, all);
        for (slot, how) in &world.settled {
            let name = slot_backup(&world.policy, BackupType::Datafile, *slot, "").name_any();
            prop_assert!(*how != "made" || world.backups.contains_key(&name), "{} is lost", slot);
        }
        let made = world.settled.iter().filter(|(_, how)| **how == "made").map(|(slot, _)| *slot).max();
        let noted = world.policy.status.as_ref().unwrap().last_schedule_time.as_ref().map(|time| time.0);
        prop_assert_eq!(made, noted);
    }
}
