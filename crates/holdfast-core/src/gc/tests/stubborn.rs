//! Volumes with Backups that can never be removed.

use std::collections::BTreeMap;

use holdfast_api::{agent::AgentResult, condition::Reason};
use kube::ResourceExt as _;
use proptest::prelude::*;

use super::{
    purge_plan::{History, Over, Purge, Step, Volume, decide},
    purging::{job, pod, purged, volume},
    *,
};

/// A volume with Backups of which some can never be removed, played until nothing changes for a long time.
struct Play {
    volume: Volume,
    history: History,
    bad: Vec<String>,
    released: Vec<String>,
    told: BTreeMap<String, usize>,
    jobs: usize,
}

impl Play {
    fn new(count: usize, bad: &[usize]) -> Self {
        let names: Vec<String> = (0..count).map(|i| format!("b{i:03}")).collect();
        Self {
            volume: volume(vec![], &names.iter().map(String::as_str).collect::<Vec<_>>()),
            history: History::default(),
            bad: bad.iter().map(|i| format!("b{i:03}")).collect(),
            released: Vec::new(),
            told: BTreeMap::new(),
            jobs: 0,
        }
    }

    /// One step at a fixed time; false when there is nothing to do.
    fn step(&mut self) -> bool {
        match decide(&self.volume, &self.history, at(20)) {
            Step::Create(batch) => {
                let mut bad = batch.entries.iter().filter(|entry| self.bad.contains(&entry.name));
                let failed = AgentResult::failed(Reason::ToolFailed, "broken");
                let (state, pod) = match bad.next() {
                    None => ("Complete", pod(&purged(u32::try_from(batch.entries.len()).unwrap()), 0)),
                    Some(_) => ("Failed", pod(&failed, 1)),
                };
                self.volume.purges.push(Purge {
                    job: job(&batch, state),
                    batch,
                    pods: vec![pod],
                });
                self.jobs += 1;
            }
            Step::Release(backup) => {
                self.volume
                    .waiting
                    .retain(|one| one.metadata.uid != backup.metadata.uid);
                self.released.push(backup.name_any());
            }
            Step::Tell { backup, reason, .. } => {
                *self.told.entry(backup.name_any()).or_default() += 1;
                let told = self
                    .volume
                    .waiting
                    .iter_mut()
                    .find(|one| one.metadata.uid == backup.metadata.uid)
                    .unwrap();
                Arc::make_mut(told).status.trouble = Some(reason.as_str().to_owned());
            }
            Step::Remove { job, batch, over, .. } => {
                self.volume
                    .purges
                    .retain(|purge| purge.job.metadata.uid != job.metadata.uid);
                if over == Over::Split {
                    self.history.failed(&batch);
                }
            }
            Step::Untell(_) => panic!("nothing to take back"),
            Step::Rest(_) => return false,
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whichever Backups cannot be removed: all others go, those are told once each and never released, a crash that
    /// loses what was remembered changes nothing of that, and a bad one costs few Jobs.
    #[test]
    fn one_that_cannot_be_removed_keeps_no_other(
        count in 1..120_usize,
        bad in prop::collection::btree_set(0..120_usize, 0..4),
        crash in prop::option::of(0..60_usize),
    ) {
        let bad: Vec<usize> = bad.into_iter().filter(|i| *i < count).collect();
        let mut play = Play::new(count, &bad);
        let mut steps = 0;
        while play.step() {
            steps += 1;
            if crash == Some(steps) {
                play.history = History::default();
            }
            prop_assert!(steps < 2_000, "it comes to an end");
        }
        prop_assert_eq!(play.released.len(), count - bad.len());
        prop_assert!(play.released.iter().all(|name| !play.bad.contains(name)));
        prop_assert!(play.told.keys().all(|name| play.bad.contains(name)));
        prop_assert!(play.told.values().all(|times| *times == 1));
        prop_assert_eq!(play.told.len(), bad.len());
        prop_assert_eq!(play.volume.purges.len(), bad.len());
        prop_assert!(play.jobs <= 3 + 26 * (bad.len() + 1), "{} jobs", play.jobs);
    }
}
