//! What holds in every history of attempts and purges, whatever comes between their steps; and that the repository in
//! memory, in which models run, answers as one on a volume does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_store::memory::MemoryRepo;
use holdfast_store::{Claimant, Claimed, Error, Found, Held, Outcome, Repo, purge};
use proptest::prelude::*;
use support::pods::{
    At, CLAIM_STEPS, LONG_PURGE_STEPS, PATH, POD_STEPS, PURGE_STEPS, Pod, Purging, SEAL_STEPS, orders, stands,
};
use support::{Memory, NOW, Place, Stage, claim, claimant, found, purge_entry, seal, sealed, work};

/// A pod and a purge, in this order, without the help of locks; whether anything of the backup is there at the end.
fn pod_against_purge<S: Stage>(stage: &S, order: &[bool]) -> bool {
    let (mut pod, mut purge) = (Pod::new("u-1", "pod-1"), Purging::new("u-1"));
    for pods_turn in order {
        stage.break_locks(PATH);
        if *pods_turn {
            pod.step(stage);
        } else {
            purge.step(stage);
        }
    }
    assert!(pod.is_over() && purge.0.is_none(), "{order:?}");
    drop(pod);
    !matches!(found(stage.repo(), PATH, "u-1"), Ok(Found::Nothing)) || !stage.files(PATH).is_empty()
}

#[test]
fn no_late_pod_brings_back_what_a_purge_removes() {
    for order in orders(POD_STEPS, LONG_PURGE_STEPS) {
        assert!(!pod_against_purge(&Memory::new(), &order), "{order:?}");
        let stage = Memory::new();
        // An earlier attempt has left something.
        drop(work(stage.repo(), PATH, &claimant("u-1", 1, "pod-0")));
        stage.write(PATH, "half");
        assert!(!pod_against_purge(&stage, &order), "after another, {order:?}");
    }
}

#[test]
fn without_tombstones_one_does() {
    let forgetful = || Memory(MemoryRepo::without_tombstones());
    let all = orders(POD_STEPS, LONG_PURGE_STEPS);
    assert!(all.iter().any(|order| pod_against_purge(&forgetful(), order)));
}

/// Two pods of one run, in this order, without the help of locks; the first has worked for `ahead` steps before. At the
/// most one may say that it sealed the backup, and what was said stays true.
fn two_pods<S: Stage>(stage: &S, ahead: usize, order: &[bool]) {
    let mut pods = ["pod-1", "pod-2"].map(|name| Pod::new("u-1", name));
    for first in std::iter::repeat_n(&true, ahead).chain(order) {
        stage.break_locks(PATH);
        pods[usize::from(!first)].step(stage);
    }
    assert!(pods.iter().all(Pod::is_over), "{order:?}");
    let told: Vec<&Pod<_>> = pods.iter().filter(|pod| pod.has_sealed()).collect();
    stage.break_locks(PATH);
    assert!(told.len() <= 1, "{order:?}");
    assert!(told.iter().all(|pod| stands(stage, &pod.who)), "{order:?}");
}

#[test]
fn of_two_pods_one_seals_at_the_most_and_its_seal_stays() {
    for ahead in [0, CLAIM_STEPS] {
        // From the start both have the same steps to go: the first of them is to be the first pod's.
        let left = if ahead == 0 { CLAIM_STEPS } else { SEAL_STEPS };
        for order in orders(left, POD_STEPS) {
            let rest = std::iter::repeat_n(true, POD_STEPS - ahead - left);
            two_pods(
                &Memory::new(),
                ahead,
                &order.into_iter().chain(rest).collect::<Vec<_>>(),
            );
        }
    }
}

#[test]
fn a_late_purge_leaves_the_next_backup_of_that_name_alone() {
    for order in orders(PURGE_STEPS, PURGE_STEPS + POD_STEPS) {
        let stage = Memory::new();
        sealed(&stage, PATH, "u-1");
        let (mut late, mut purge) = (Purging::new("u-1"), Purging::new("u-1"));
        let mut pod = Pod::new("u-2", "pod-2");
        for lates_turn in &order {
            stage.break_locks(PATH);
            if *lates_turn {
                late.step(&stage);
            } else if purge.0.is_some() {
                purge.step(&stage);
            } else {
                pod.step(&stage);
            }
        }
        stage.break_locks(PATH);
        assert!(!pod.has_sealed() || stands(&stage, &pod.who), "{order:?}");
        assert!(!matches!(pod.at, At::Failed(false)), "{order:?}");
    }
}

#[test]
fn a_late_pod_leaves_the_next_backup_of_that_name_alone() {
    // It sleeps twice; meanwhile its backup is purged, and another one of that name begins.
    for (first, then) in (0..=POD_STEPS).flat_map(|first| (first..=POD_STEPS).map(move |then| (first, then))) {
        for between in 0..=PURGE_STEPS + POD_STEPS {
            let stage = Memory::new();
            let (mut late, mut purge) = (Pod::new("u-1", "pod-1"), Purging::new("u-1"));
            let mut pod = Pod::new("u-2", "pod-2");
            let others = |count| std::iter::repeat_n(false, count);
            let lates = |count| std::iter::repeat_n(true, count);
            let rest = PURGE_STEPS + POD_STEPS - between;
            let order = lates(first).chain(others(between)).chain(lates(then - first));
            for lates_turn in order.chain(others(rest)).chain(lates(POD_STEPS - then)) {
                stage.break_locks(PATH);
                if lates_turn {
                    late.step(&stage);
                } else if purge.0.is_some() {
                    purge.step(&stage);
                } else {
                    pod.step(&stage);
                }
            }
            stage.break_locks(PATH);
            assert!(
                !pod.has_sealed() || stands(&stage, &pod.who),
                "{first}, {between}, {then}"
            );
        }
    }
}

/// Something that happens to a repository.
#[derive(Clone, Copy, Debug)]
enum Event {
    Claim { uid: usize, run: i32, pod: usize },
    Write { file: usize },
    Seal,
    GiveUp,
    Drop,
    Break,
    Find { uid: usize },
    Purge { uid: usize },
}

const PATHS: [&str; 3] = ["/ns/b1", "/ns/b2", "/ns/p/b1"];
const UIDS: [&str; 3] = ["u-1", "u-2", "u-3"];

fn event() -> impl Strategy<Value = Event> {
    let uid = 0..UIDS.len();
    prop_oneof![
        6 => (uid.clone(), 1..3i32, 0..3usize).prop_map(|(uid, run, pod)| Event::Claim { uid, run, pod }),
        4 => (0..3usize).prop_map(|file| Event::Write { file }),
        5 => Just(Event::Seal),
        2 => Just(Event::GiveUp),
        2 => Just(Event::Drop),
        1 => Just(Event::Break),
        4 => uid.clone().prop_map(|uid| Event::Find { uid }),
        2 => uid.prop_map(|uid| Event::Purge { uid }),
    ]
}

/// The kind of an error; the words differ.
fn kind(error: &Error) -> String {
    let debug = format!("{error:?}");
    debug.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

/// A place that somebody works in.
type AtWork<R> = Option<(Held<<R as Repo>::Place>, Claimant)>;

/// What a repository answers to an event at a path.
fn answer<S: Stage>(stage: &S, path: &str, event: Event, at_work: &mut AtWork<S::Repo>) -> String {
    match event {
        Event::Claim { uid, run, pod } => {
            let who = claimant(UIDS[uid], run, &format!("pod-{pod}"));
            match claim(stage.repo(), path, &who) {
                Ok(Claimed::Work(held)) => {
                    *at_work = Some((*held, who));
                    "claimed".to_owned()
                }
                Ok(Claimed::Sealed(seal)) => format!("sealed by {} of {}", seal.pod_uid, seal.uid),
                Err(error) => kind(&error),
            }
        }
        Event::Write { file } => {
            if at_work.is_some() {
                stage.write(path, &format!("file-{file}"));
            }
            String::new()
        }
        Event::Seal => match at_work {
            None => String::new(),
            // Where the place is gone or made anew, each kind of repository fails in its own way.
            Some((held, who)) => match seal(stage, held, who, path) {
                Err(Error::Io { .. }) => "Occupied".to_owned(),
                Err(error) => kind(&error),
                Ok(()) => "sealed".to_owned(),
            },
        },
        Event::GiveUp => at_work.take().map_or(String::new(), |(held, _)| give_up(stage, held)),
        Event::Drop => {
            *at_work = None;
            String::new()
        }
        Event::Break => {
            stage.break_locks(path);
            String::new()
        }
        Event::Find { uid } => match found(stage.repo(), path, UIDS[uid]) {
            Ok(Found::Sealed(found)) => format!("{} files of run {}", found.seal.files.len(), found.seal.run),
            Ok(Found::Claimed(claim)) => format!("claimed by {}", claim.pod_uid),
            Ok(Found::Nothing) => "nothing".to_owned(),
            Err(error) => kind(&error),
        },
        Event::Purge { uid } => match purge(stage.repo(), &purge_entry(UIDS[uid], path), NOW, &mut 0) {
            Outcome::Refused(error) | Outcome::Failed(error) => kind(&error),
            done => format!("{done:?}"),
        },
    }
}

fn give_up<S: Stage>(stage: &S, held: Held<<S::Repo as Repo>::Place>) -> String {
    let (repo, mut freed) = (stage.repo(), 0);
    let mut discard = match held.give_up(repo) {
        Ok(Some(discard)) => discard,
        Ok(None) => return "not its own".to_owned(),
        Err(error) => return kind(&error),
    };
    loop {
        match discard.step(repo, &mut freed) {
            Ok(None) => {}
            Ok(Some(gone)) => return format!("{gone}, {freed} bytes"),
            Err(error) => return kind(&error),
        }
    }
}

fn history<S: Stage>(events: &[(usize, Event)]) -> Vec<String> {
    let stage = S::new();
    let mut at_work: [AtWork<S::Repo>; PATHS.len()] = Default::default();
    let mut told = Vec::new();
    for (which, event) in events {
        let path = PATHS[*which];
        let answer = answer(&stage, path, *event, &mut at_work[*which]);
        let files = stage.files(path).len();
        told.push(format!("{path} {event:?}: {answer}, {files} files"));
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn memory_answers_as_a_volume_does(events in prop::collection::vec((0..PATHS.len(), event()), 1..25)) {
        prop_assert_eq!(history::<Place>(&events), history::<Memory>(&events));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn on_a_volume_too_nothing_late_comes_back(turns in prop::collection::vec(any::<bool>(), POD_STEPS + PURGE_STEPS), ahead in 0..=CLAIM_STEPS) {
        let rest = [[true; POD_STEPS], [false; POD_STEPS]].concat();
        let order = [&turns[..], &rest].concat();
        prop_assert!(!pod_against_purge(&Place::new(), &order), "{:?}", turns);
        two_pods(&Place::new(), ahead, &order);
    }
}
