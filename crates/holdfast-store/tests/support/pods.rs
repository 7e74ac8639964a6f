//! Pods and purges that go step by step, so that a test can put their steps in any order.

use super::{NOW, Stage, claimant, found, parsed, purge_entry, seal_of};
use holdfast_store::{Attempt, Claimant, Claimed, Discard, Error, Found, Held, Purge, Repo, Sealing, Waiting};

pub const PATH: &str = "/ns/b1";

/// From the first look to the claimed place.
pub const CLAIM_STEPS: usize = 6;
/// From there to the answer.
pub const SEAL_STEPS: usize = 5;
/// From the claimed place to the end of one whose tool fails.
pub const DISCARD_STEPS: usize = 3;
pub const POD_STEPS: usize = CLAIM_STEPS + SEAL_STEPS;
pub const PURGE_STEPS: usize = 5;
/// With a second look at what a late pod has made meanwhile.
pub const LONG_PURGE_STEPS: usize = 8;

/// A pod and how far it has come.
pub struct Pod<R: Repo> {
    pub who: Claimant,
    pub at: At<R>,
    /// Whether its tool fails.
    pub fails: bool,
}

pub enum At<R: Repo> {
    Claiming(Box<Attempt<R>>),
    Working(Held<R::Place>),
    Sealing(Held<R::Place>, Sealing<R::Staged>),
    GivingUp(Discard<R::Place>),
    Sealed,
    ToldAgain,
    /// With whether it may pass.
    Failed(bool),
}

impl<R: Repo> Pod<R> {
    pub fn new(uid: &str, name: &str) -> Self {
        let who = claimant(uid, 1, name);
        let attempt = Attempt::new(&parsed(PATH), &who, NOW).unwrap();
        Self {
            who,
            at: At::Claiming(Box::new(attempt)),
            fails: false,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.at, At::Sealed | At::ToldAgain | At::Failed(_))
    }

    pub fn has_sealed(&self) -> bool {
        matches!(self.at, At::Sealed)
    }

    /// The next step. The tool writes a file, and each pod's another one. It does so at once: nothing keeps a tool
    /// from writing where another pod has taken over, and only the digests tell.
    pub fn step<S: Stage<Repo = R>>(&mut self, stage: &S) {
        let repo = stage.repo();
        let failed = |error: Error| At::Failed(error.reason().is_none());
        self.at = match std::mem::replace(&mut self.at, At::Sealed) {
            At::Claiming(mut attempt) => match attempt.step(repo, &Waiting::NONE) {
                Ok(None) => At::Claiming(attempt),
                Ok(Some(Claimed::Work(held))) => {
                    stage.write(PATH, &self.who.pod_uid);
                    At::Working(*held)
                }
                Ok(Some(Claimed::Sealed(_))) => At::ToldAgain,
                Err(error) => failed(error),
            },
            At::Working(held) if self.fails => match held.give_up(repo) {
                Ok(Some(discard)) => At::GivingUp(discard),
                Ok(None) => At::Failed(true),
                Err(error) => failed(error),
            },
            At::GivingUp(mut discard) => match discard.step(repo, &mut 0) {
                Ok(None) => At::GivingUp(discard),
                Ok(Some(_)) => At::Failed(true),
                Err(error) => failed(error),
            },
            At::Working(held) => {
                let seal = seal_of(stage.files(PATH), &self.who, PATH);
                held.stage(repo, &seal)
                    .map_or_else(failed, |sealing| At::Sealing(held, sealing))
            }
            At::Sealing(held, mut sealing) => match sealing.step(repo, &held) {
                Ok(false) => At::Sealing(held, sealing),
                Ok(true) => At::Sealed,
                Err(error) => failed(error),
            },
            over => over,
        };
    }
}

/// A purge and whether it is over.
pub struct Purging<R: Repo>(pub Option<Purge<R>>);

impl<R: Repo> Purging<R> {
    pub fn new(uid: &str) -> Self {
        Self(Some(Purge::new(&purge_entry(uid, PATH), NOW).unwrap()))
    }

    pub fn step<S: Stage<Repo = R>>(&mut self, stage: &S) {
        let step = self.0.as_mut().map(|purge| purge.step(stage.repo(), &mut 0));
        if !matches!(step, Some(Ok(None))) {
            self.0 = None;
        }
    }
}

/// Whether the seal that stands is this pod's, with all its files as they were sealed.
pub fn stands<S: Stage>(stage: &S, who: &Claimant) -> bool {
    match found(stage.repo(), PATH, &who.uid) {
        Ok(Found::Sealed(sealed)) => sealed.seal.pod_uid == who.pod_uid && sealed.seal.files == stage.files(PATH),
        _ => false,
    }
}

/// Every order in which `a` steps of one and `b` steps of another can happen.
pub fn orders(a: usize, b: usize) -> Vec<Vec<bool>> {
    if a + b == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (first, left) in [
        (true, (a.checked_sub(1), Some(b))),
        (false, (Some(a), b.checked_sub(1))),
    ] {
        if let (Some(a), Some(b)) = left {
            all.extend(orders(a, b).into_iter().map(|rest| [vec![first], rest].concat()));
        }
    }
    all
}
