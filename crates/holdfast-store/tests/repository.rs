//! A repository from the first claim to the seal, with everything that may be in the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_store::{BackupPath, Claimed, Error, Found, Outcome, Repository, SEAL_FILE, purge};
use std::fs;
use support::{NOW, Place, claim, claimant, purge_entry, seal, sealed, work};

#[test]
fn a_run_is_claimed_sealed_and_reported_again() {
    let place = Place::new();
    sealed(&place, "/ns/p/b1", "u-1");
    let repository = place.repository();
    assert!(matches!(
        claim(&repository, "/ns/p/b1", &claimant("u-1", 1, "pod-2")).unwrap(),
        Claimed::Sealed(_)
    ));
    let path = BackupPath::parse("/ns/p/b1").unwrap();
    assert!(matches!(repository.find(&path, "u-1").unwrap(), Found::Sealed(found) if found.seal.bytes == 4));
    assert!(matches!(repository.find(&path, "u-2"), Err(Error::Occupied(_))));
}

#[test]
fn leftovers_of_a_dead_attempt_are_wiped_in_the_first_run_only() {
    let place = Place::new();
    let repository = place.repository();
    drop(work(&repository, "/ns/b1", &claimant("u-1", 1, "pod-1")));
    fs::write(place.at("ns/b1/half"), "x").unwrap();
    drop(work(&repository, "/ns/b1", &claimant("u-1", 1, "pod-2")));
    assert!(!place.at("ns/b1/half").exists());
    fs::write(place.at("ns/b1/log"), "x").unwrap();
    drop(work(&repository, "/ns/b1", &claimant("u-1", 2, "pod-3")));
    assert!(place.at("ns/b1/log").exists());
    assert!(matches!(
        claim(&repository, "/ns/b1", &claimant("u-1", 1, "pod-4")),
        Err(Error::Occupied(_))
    ));
}

#[test]
fn a_later_run_replaces_the_seal_and_keeps_the_files() {
    let place = Place::new();
    sealed(&place, "/ns/b1", "u-1");
    let repository = place.repository();
    let who = claimant("u-1", 2, "pod-2");
    let work = work(&repository, "/ns/b1", &who);
    fs::write(place.at("ns/b1/more"), "more").unwrap();
    seal(&work, &who, "/ns/b1").unwrap();
    let found = repository.find(&BackupPath::parse("/ns/b1").unwrap(), "u-1");
    drop(work);
    assert!(found.is_err(), "busy while the run holds it");
    match repository.find(&BackupPath::parse("/ns/b1").unwrap(), "u-1").unwrap() {
        Found::Sealed(found) => assert_eq!((found.seal.run, found.seal.files.len()), (2, 2)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_live_holder_keeps_others_out() {
    let place = Place::new();
    let repository = place.repository();
    let held = work(&repository, "/ns/b1", &claimant("u-1", 1, "pod-1"));
    assert!(matches!(
        claim(&repository, "/ns/b1", &claimant("u-1", 1, "pod-2")),
        Err(Error::Busy(_))
    ));
    assert!(matches!(
        purge(&repository, &purge_entry("u-1", "/ns/b1"), NOW, &mut 0),
        Outcome::Failed(Error::Busy(_))
    ));
    assert!(
        matches!(held.still_ours(), Err(Error::Tombed(_))),
        "the tomb keeps the holder from sealing"
    );
}

#[test]
fn backups_do_not_nest() {
    let place = Place::new();
    sealed(&place, "/ns/a", "u-1");
    let repository = place.repository();
    assert!(matches!(
        claim(&repository, "/ns/a/b", &claimant("u-2", 1, "pod-2")),
        Err(Error::Occupied(_))
    ));
    drop(work(&repository, "/ns/x/b", &claimant("u-3", 1, "pod-3")));
    assert!(matches!(
        claim(&repository, "/ns/x", &claimant("u-4", 1, "pod-4")),
        Err(Error::Occupied(_))
    ));
}

#[test]
fn a_stolen_claim_is_not_sealed() {
    let place = Place::new();
    let repository = place.repository();
    let who = claimant("u-1", 1, "pod-1");
    let work = work(&repository, "/ns/b1", &who);
    let file = place.at("ns/.holdfast/b1/claim.json");
    let text = fs::read_to_string(&file).unwrap();
    // By another attempt of the same backup: the next one may still come right. By another backup: never.
    fs::write(&file, text.replace("pod-1", "pod-2")).unwrap();
    assert!(matches!(seal(&work, &who, "/ns/b1"), Err(Error::Busy(_))));
    fs::write(&file, text.replace("u-1", "u-2")).unwrap();
    assert!(matches!(seal(&work, &who, "/ns/b1"), Err(Error::Occupied(_))));
    assert!(!place.at("ns/b1").join(SEAL_FILE).exists());
}

#[test]
fn identity_is_given_once_and_missed_when_lost() {
    let place = Place::new();
    assert_eq!(place.repository().id(), "repo-1");
    assert_eq!(
        Repository::open_or_create(&place.root, "", "repo-2", "").unwrap().id(),
        "repo-1"
    );
    assert!(matches!(
        Repository::open(&place.root, "repo-2"),
        Err(Error::Mismatch(_))
    ));
    sealed(&place, "/ns/b1", "u-1");
    fs::remove_dir_all(place.at(".holdfast")).unwrap();
    assert!(matches!(
        Repository::open_or_create(&place.root, "repo-1", "repo-1", ""),
        Err(Error::Mismatch(_))
    ));
    assert!(matches!(
        Repository::open_or_create(&place.root, "", "repo-3", ""),
        Err(Error::Mismatch(_))
    ));
}

#[test]
fn newer_formats_are_refused() {
    let place = Place::new();
    sealed(&place, "/ns/b1", "u-1");
    let repository = place.repository();
    let path = BackupPath::parse("/ns/b1").unwrap();
    let file = place.at("ns/b1").join(SEAL_FILE);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"v\": 1", "\"v\": 2", 1)).unwrap();
    assert!(matches!(
        repository.find(&path, "u-1"),
        Err(Error::Newer { found: 2, .. })
    ));
    assert!(matches!(
        purge(&repository, &purge_entry("u-1", "/ns/b1"), NOW, &mut 0),
        Outcome::Refused(Error::Newer { .. })
    ));
    fs::write(&file, text.replacen("u-1", "u-2", 1)).unwrap();
    assert!(matches!(repository.find(&path, "u-1"), Err(Error::SealInvalid(_))));
    fs::write(place.at(".holdfast/repository.json"), "{\"v\":7}").unwrap();
    assert!(matches!(
        Repository::open(&place.root, ""),
        Err(Error::Newer { found: 7, .. })
    ));
}

#[test]
fn a_full_volume_is_called_full() {
    use nix::mount::{MsFlags, mount, umount};
    let place = Place::new();
    mount(
        Some("tmpfs"),
        &place.root,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=64k"),
    )
    .unwrap();
    let repository = place.repository();
    let work = work(&repository, "/ns/b1", &claimant("u-1", 1, "pod-1"));
    let filled = fs::write(place.at("ns/b1/data"), vec![0; 1 << 20]);
    let error = seal(&work, &claimant("u-1", 1, "pod-1"), "/ns/b1");
    drop((work, repository));
    umount(&place.root).unwrap();
    assert!(filled.is_err());
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("repository volume is full"), "{text}");
}
