//! How a volume becomes a repository: once, whoever comes at the same time and whatever was left by a crash.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_store::{Claimed, Error, Repository, SEAL_FILE};
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use support::{Place, Stage, claim, claimant, sealed, work};

const ROUNDS: usize = 60;
const PODS: usize = 3;

/// Pods that begin their first backup at the same moment; the identities that they found.
fn first_backups(root: &Path, round: usize) -> Vec<String> {
    let start = Barrier::new(PODS);
    let pod = |number: usize| {
        let pod = format!("pod-{number}");
        start.wait();
        let repository = Repository::open_or_create(root, "", &format!("id-{round}-{number}"), &pod).unwrap();
        let who = claimant(&format!("u-{number}"), 1, &pod);
        let claimed = claim(&repository, &format!("/ns/b{number}"), &who).unwrap();
        assert!(matches!(claimed, Claimed::Work(_)));
        repository.id().to_owned()
    };
    thread::scope(|scope| {
        let pods: Vec<_> = (0..PODS).map(|number| scope.spawn(move || pod(number))).collect();
        pods.into_iter().map(|pod| pod.join().unwrap()).collect()
    })
}

#[test]
fn first_backups_at_once_agree_on_one_identity() {
    for round in 0..ROUNDS {
        let place = Place::new();
        if round % 2 == 1 {
            // As a crash of an older version left it.
            fs::create_dir(place.at(".holdfast")).unwrap();
            fs::write(place.at(".holdfast/repository.json"), "").unwrap();
        }
        let ids = first_backups(&place.root, round);
        let stands = Repository::open(&place.root, "").unwrap();
        assert!(ids.iter().all(|id| id == stands.id()), "{ids:?}, {}", stands.id());
        let left = fs::read_dir(place.at(".holdfast")).unwrap().count();
        assert_eq!(left, 1, "nothing but the marker stays");
    }
}

#[test]
fn what_a_crash_left_beside_the_marker_is_no_matter() {
    let place = Place::new();
    fs::create_dir(place.at(".holdfast")).unwrap();
    for left in ["repository.json.1.new", "repository.json.pod-1.00.new"] {
        fs::write(place.at(".holdfast").join(left), "{\"v\":").unwrap();
    }
    let repository = Repository::open_or_create(&place.root, "", "repo-1", "pod-1").unwrap();
    assert_eq!(repository.id(), "repo-1");
}

#[test]
fn what_a_crash_left_beside_the_claim_goes_with_the_next_attempt() {
    let place = Place::new();
    let repository = place.repository();
    let who = claimant("u-1", 1, "pod-1");
    drop(work(&repository, "/ns/b1", &who));
    let metadata = place.at("ns/.holdfast/b1");
    for left in [
        "claim.json.1.new",
        "claim.json.pod-1.00.new",
        "seal.new",
        "seal.pod-1.00.new",
    ] {
        fs::write(metadata.join(left), "half").unwrap();
    }
    let work = work(&repository, "/ns/b1", &who);
    fs::write(place.at("ns/b1/data"), "data").unwrap();
    support::seal(&place, &work, &who, "/ns/b1").unwrap();
    let mut names: Vec<_> = fs::read_dir(&metadata)
        .unwrap()
        .map(|one| one.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["claim.json", "lock"]);
}

#[test]
fn a_damaged_marker_is_made_anew_only_where_no_backup_is() {
    for damaged in ["", "{\"v\":1,\"id\":\"", "{\"v\":1,\"id\":\"../x\"}"] {
        let place = Place::new();
        let marker = place.at(".holdfast/repository.json");
        drop(place.repository());
        fs::write(&marker, damaged).unwrap();
        // Who was told an identity does not take another one for it.
        for expected in ["repo-1", "other"] {
            let opened = Repository::open_or_create(&place.root, expected, "repo-2", "pod-1");
            assert!(matches!(opened, Err(Error::Mismatch(_))), "{damaged}");
        }
        // Who only reads does not mend.
        assert!(matches!(Repository::open(&place.root, ""), Err(Error::Mismatch(_))));
        let anew = Repository::open_or_create(&place.root, "", "repo-2", "pod-1").unwrap();
        assert_eq!(anew.id(), "repo-2");

        sealed(&place, "/ns/b1", "u-1");
        fs::write(&marker, damaged).unwrap();
        let opened = Repository::open_or_create(&place.root, "", "repo-3", "pod-1");
        assert!(matches!(opened, Err(Error::Mismatch(_))), "{damaged}");
        assert_eq!(fs::read_to_string(&marker).unwrap(), damaged);
        assert!(place.at("ns/b1").join(SEAL_FILE).exists());
    }
}

#[test]
fn a_claim_alone_keeps_a_damaged_marker_from_being_made_anew() {
    let place = Place::new();
    drop(work(&place.repository(), "/ns/b1", &claimant("u-1", 1, "pod-1")));
    fs::write(place.at(".holdfast/repository.json"), "").unwrap();
    let opened = Repository::open_or_create(&place.root, "", "repo-2", "pod-1");
    assert!(matches!(opened, Err(Error::Mismatch(_))));
}
