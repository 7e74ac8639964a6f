//! The processes of the services: what each is at, and what it remembers. A crash drops both.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    api::Stored,
    executor, gc, manager,
    net::{Net, Rule},
    restorer, scheduler,
};

/// The kinds that are watched.
const KINDS: [&str; 12] = [
    "Backup",
    "BackupPolicy",
    "BackupRepo",
    "BackupTool",
    "CSIDriver",
    "Job",
    "PersistentVolumeClaim",
    "Pod",
    "RestoreJob",
    "Secret",
    "StorageClass",
    "StorageProvider",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Scheduler,
    Executor,
    Manager,
    Gc,
    Restore,
}

impl Service {
    pub(crate) const ALL: [Self; 5] = [Self::Scheduler, Self::Executor, Self::Manager, Self::Gc, Self::Restore];

    /// What there is to look at now, by name.
    fn works(self, net: &Net, site: &Site) -> Vec<(String, Box<dyn Task>)> {
        match self {
            Self::Scheduler => scheduler::works(net, site),
            Self::Executor => executor::works(net, site),
            Self::Manager => manager::works(net, site),
            Self::Gc => gc::works(net, site),
            Self::Restore => restorer::works(net, site),
        }
    }
}

/// Where a piece of work is done: one process, and what it remembers.
pub(crate) struct Site {
    pub(crate) service: Service,
    number: usize,
    /// The state of the API server that its caches show, one for each of [`KINDS`]: watches know nothing of each other.
    caches: [usize; KINDS.len()],
    pub(crate) executor: executor::Memory,
    pub(crate) gc: gc::Memory,
}

impl Site {
    /// Whether it leads, or needs not to.
    pub(crate) fn leads(&self, net: &Net) -> bool {
        self.service == Service::Executor || net.leads.get(&self.service) == Some(&self.number)
    }

    /// Whether it goes before the other processes of its service about the object of that uid.
    pub(crate) fn is_first(&self, uid: &str) -> bool {
        let sum: usize = uid.bytes().map(usize::from).sum();
        sum % 2 == self.number
    }

    /// The state of a kind that the cache of it shows; what has none is as it is.
    pub(crate) fn cached<K: Stored>(&self) -> usize {
        let index = KINDS.iter().position(|kind| *kind == K::kind(&()));
        index.map_or(usize::MAX, |index| self.caches[index])
    }

    /// All objects of a kind that the cache shows.
    pub(crate) fn shown<K: Stored>(&self, net: &Net) -> Vec<K> {
        net.api.list_at(self.cached::<K>())
    }

    /// The state that a read from the API server shows.
    pub(crate) fn live<K: Stored>(&self, net: &Net) -> usize {
        if net.without(Rule::LiveRead) {
            self.cached::<K>()
        } else {
            net.api.revision()
        }
    }

    /// What is read from the API server itself.
    pub(crate) fn read<K: Stored>(&self, net: &Net, name: &str) -> Option<K> {
        net.api.get_at(self.live::<K>(net), name)
    }

    /// All objects of a kind, read from the API server itself.
    pub(crate) fn list<K: Stored>(&self, net: &Net) -> Vec<K> {
        net.api.list_at(self.live::<K>(net))
    }

    /// All caches show this.
    pub(crate) fn show(&mut self, revision: usize) {
        self.caches = [revision; KINDS.len()];
    }

    /// Caches catch up, some more and some less, never back.
    pub(crate) fn catch_up(&mut self, net: &mut Net) {
        let newest = net.api.revision();
        for cached in &mut self.caches {
            if !net.chance.one_in(3) {
                *cached = newest - net.chance.below(newest - *cached + 1);
            }
        }
    }

    /// What all caches show, if it is the same.
    fn same(&self) -> Option<usize> {
        let first = self.caches[0];
        self.caches.iter().all(|cached| *cached == first).then_some(first)
    }
}

/// How a piece of work goes on.
pub(crate) enum Step {
    Goes,
    /// It is through, and is to be looked at again then; none: when something changes.
    Rests(Option<Duration>),
    /// An answer was lost: it begins anew.
    Lost,
}

pub(crate) trait Task {
    fn step(&mut self, net: &mut Net, site: &mut Site) -> Step;
}

/// One of the processes of a service.
pub(crate) struct Process {
    pub(crate) site: Site,
    tasks: BTreeMap<String, Box<dyn Task>>,
    /// What is through: what its caches showed, and when it is to be looked at again.
    resting: BTreeMap<String, (usize, Option<Timestamp>)>,
    /// What the caches showed when all of it was looked at.
    looked: Option<usize>,
}

impl Process {
    /// One that has just started, with empty caches.
    pub(crate) fn start(service: Service, number: usize) -> Self {
        let site = Site {
            service,
            number,
            caches: [0; KINDS.len()],
            executor: executor::Memory::default(),
            gc: gc::Memory::default(),
        };
        Self {
            site,
            tasks: BTreeMap::new(),
            resting: BTreeMap::new(),
            looked: None,
        }
    }

    /// It starts anew, with caches of whatever state.
    pub(crate) fn crash(&mut self, net: &mut Net) {
        *self = Self::start(self.site.service, self.site.number);
        self.site.catch_up(net);
    }

    /// Takes up whatever there is; with `due`, only what has changed or whose time has come.
    fn wake(&mut self, net: &Net, due: bool) {
        let (now, revision) = (net.api.now, net.api.revision());
        let mut resting = BTreeMap::new();
        for (name, work) in self.site.service.works(net, &self.site) {
            let known = self.resting.remove(&name);
            let rests = known.is_some_and(|(known, wake)| known == revision && wake.is_none_or(|wake| wake > now));
            resting.extend(known.map(|known| (name.clone(), known)));
            if !(due && rests) {
                self.tasks.entry(name).or_insert(work);
            }
        }
        self.resting = resting;
    }

    fn step(&mut self, net: &mut Net, which: usize) {
        let Some(name) = self.tasks.keys().nth(which).cloned() else {
            return;
        };
        let Some(task) = self.tasks.get_mut(&name) else { return };
        let step = task.step(net, &mut self.site);
        if let Step::Goes = step {
            return;
        }
        self.tasks.remove(&name);
        self.resting.remove(&name);
        if let Step::Rests(wait) = step {
            let wake = wait.map(|wait| net.api.now.checked_add(wait).expect("a time"));
            self.resting.extend(self.site.same().map(|shown| (name, (shown, wake))));
        }
    }

    /// Does a few steps of whatever there is.
    pub(crate) fn work(&mut self, net: &mut Net, steps: usize) {
        self.wake(net, false);
        for _ in 0..steps {
            if net.faults && net.chance.one_in(100) {
                net.elect();
            }
            let which = net.chance.below(self.tasks.len());
            self.step(net, which);
        }
    }

    /// Does all that is to be done now.
    pub(crate) fn finish(&mut self, net: &mut Net) {
        let due = self
            .resting
            .values()
            .filter_map(|(_, wake)| *wake)
            .any(|wake| wake <= net.api.now);
        if self.tasks.is_empty() && !due && self.looked == Some(net.api.revision()) {
            return;
        }
        self.looked = self.site.same();
        self.wake(net, true);
        while !self.tasks.is_empty() {
            self.step(net, 0);
        }
    }
}
