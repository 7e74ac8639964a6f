//! One history: a cluster, the services, and what happens to them.

use std::collections::BTreeSet;

use holdfast_api::{Backup, BackupPolicy};
use jiff::SignedDuration;
use serde_json::json;

use crate::{
    POLICY, Scenario,
    api::{Api, Guard, Request},
    cluster::Cluster,
    net::{Chance, Net, Rule},
    pods,
    process::{Process, Service},
};

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) scenario: Scenario,
    pub(crate) net: Net,
    pub(crate) cluster: Cluster,
    /// Two of each service: an old leader and a new one.
    processes: Vec<Process>,
    /// How many things the users have asked for.
    pub(crate) asked: usize,
    /// How many replicas the user wants.
    pub(crate) replicas: i64,
    /// What was checked: the state of the API server and of the volumes.
    pub(crate) checked: (usize, u64),
    /// Whether a user has scaled the workload while a restore held it: what comes of that is the user's doing.
    pub(crate) meddled: bool,
    /// The restores, by uid, beside which the database ran while they wrote.
    pub(crate) beside: BTreeSet<String>,
}

/// Steps in which anything may go wrong, and rounds in which all must come to rest.
const STEPS: usize = 400;
const ROUNDS: usize = 500;
/// What waits gives up after at most so many rounds.
const STILL: usize = 40;

/// What becomes of a history: what it came to, or the rule that was broken.
pub(crate) type Outcome = Result<BTreeSet<&'static str>, String>;

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario) -> Self {
        let mut api = Api::new("2025-01-01T00:00:00Z".parse().expect("a time"));
        api.guarded = scenario.without != Some(Rule::Guard);
        let net = Net {
            api,
            chance: Chance::new(seed),
            faults: false,
            without: scenario.without,
            late: Vec::new(),
            leads: Service::ALL.into_iter().map(|service| (service, 0)).collect(),
            retired: BTreeSet::new(),
            deleted: BTreeSet::new(),
            trace: Vec::new(),
            reached: BTreeSet::new(),
            broken: None,
        };
        let both = |service| [Process::start(service, 0), Process::start(service, 1)];
        let mut world = Self {
            seed,
            scenario,
            net,
            cluster: Cluster::default(),
            processes: Service::ALL.into_iter().flat_map(both).collect(),
            asked: 0,
            replicas: 3,
            checked: (0, 0),
            meddled: false,
            beside: BTreeSet::new(),
        };
        world.furnish();
        world
    }

    pub(crate) fn run(mut self) -> Outcome {
        // Before anything goes wrong there is something to restore, or, in most histories, at least the repository.
        let calm = if self.scenario.restores > 0 {
            self.ask();
            20
        } else if self.seed.is_multiple_of(4) {
            0
        } else {
            8
        };
        for _ in 0..calm {
            self.settle(false);
        }
        self.net.faults = true;
        for _ in 0..STEPS {
            self.happen();
            self.check()?;
        }
        self.net.faults = false;
        for _ in 0..8 {
            self.settle(true);
            self.check()?;
        }
        // All start anew, with caches from any time.
        for process in &mut self.processes {
            process.crash(&mut self.net);
            process.work(&mut self.net, 60);
        }
        self.come_to_rest()?;
        if self.scenario.delete && self.net.chance.one_in(2) {
            for backup in self.net.api.list::<Backup>() {
                self.remove(Guard::of(&backup));
            }
            self.come_to_rest()?;
        }
        // Only now wakes up what froze.
        while !self.net.late.is_empty() {
            self.net.deliver();
        }
        self.cluster.wake(&mut self.net);
        self.come_to_rest()?;
        self.judge()?;
        self.look_back();
        Ok(self.net.reached)
    }

    fn come_to_rest(&mut self) -> Result<(), String> {
        if self.scenario.slots {
            // The slots that have come are settled, and no others come.
            self.settle(false);
            let policy = self.net.api.get::<BackupPolicy>(POLICY).expect("the policy");
            let of = Guard::of(&policy);
            let change = json!({"spec": {"schedule": {"datafile": {"enable": false}}}});
            let _ = self.net.api.send(&Request::Patch { of, change });
        }
        if self.scenario.reworded {
            self.reword();
        }
        let mut still = 0;
        for _ in 0..ROUNDS {
            let before = self.net.api.revision();
            self.settle(true);
            self.check()?;
            if still > 6 {
                // What waits has a deadline.
                self.pass(120);
            }
            still = if self.net.api.revision() == before {
                still + 1
            } else {
                0
            };
            if still > STILL && self.asked == self.scenario.backups + self.scenario.restores {
                return Ok(());
            }
        }
        Err(self.story("it does not come to rest"))
    }

    /// One thing happens, to somebody.
    fn happen(&mut self) {
        if self.scenario.scales
            && self.seed.is_multiple_of(4)
            && self.cluster.writers() > 0
            && self.net.chance.one_in(2)
        {
            self.scale();
            return Cluster::database(&mut self.net);
        }
        match self.net.chance.below(26) {
            0 => self.ask(),
            1 if self.net.chance.one_in(6) => self.delete(),
            1 if self.scenario.scales && self.net.chance.one_in(2) => self.scale(),
            1 if self.scenario.reworded => self.reword(),
            2 if self.net.chance.one_in(3) => self.cluster.wake(&mut self.net),
            2 => self.net.deliver(),
            3 => {
                let long = self.net.chance.one_in(if self.scenario.expiry { 3 } else { 24 });
                let seconds = 1 + self.net.chance.below(if long { 1500 } else { 90 });
                self.pass(seconds);
            }
            4 if self.net.chance.one_in(2) => self.net.elect(),
            4 => {
                let which = self.net.chance.below(self.processes.len());
                self.processes[which].crash(&mut self.net);
            }
            5 | 6 => {
                for process in &mut self.processes {
                    process.site.catch_up(&mut self.net);
                }
            }
            7 => self.net.api.collect(),
            8 if self.net.chance.one_in(2) => self.cluster.volumes(&mut self.net),
            8 if self.net.chance.one_in(3) => pods::drain(&mut self.net),
            8 => Cluster::database(&mut self.net),
            9..=11 => {
                for _ in 0..3 {
                    self.cluster.work(&mut self.net);
                }
            }
            12 | 13 => self.cluster.jobs(&mut self.net),
            14 => self.work(Service::Manager),
            15 | 16 => self.work(Service::Scheduler),
            17..=20 => self.work(Service::Executor),
            21 | 22 => self.work(Service::Gc),
            _ => self.work(Service::Restore),
        }
    }

    /// One of the two processes of a service does a few steps.
    fn work(&mut self, service: Service) {
        let number = self.net.chance.below(2);
        let steps = 1 + self.net.chance.below(40);
        let mut of_service = self
            .processes
            .iter_mut()
            .filter(|process| process.site.service == service);
        if let Some(process) = of_service.nth(number) {
            process.work(&mut self.net, steps);
        }
    }

    fn pass(&mut self, seconds: usize) {
        self.net.api.now += SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(1));
    }

    /// All do their work, in turn, and nothing goes wrong.
    fn settle(&mut self, ask: bool) {
        let newest = self.net.api.revision();
        for service in Service::ALL {
            self.net.leads.entry(service).or_insert(0);
        }
        for process in &mut self.processes {
            process.site.show(newest);
        }
        if ask {
            self.ask();
        }
        self.cluster.volumes(&mut self.net);
        for process in &mut self.processes {
            process.finish(&mut self.net);
        }
        self.cluster.jobs(&mut self.net);
        for _ in 0..8 {
            self.cluster.work(&mut self.net);
        }
        Cluster::database(&mut self.net);
        self.net.api.collect();
        self.pass(20);
    }
}
