//! A repository from the first claim to the seal, with everything that may be in the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[macro_use]
mod support;

use holdfast_store::{
    Access, BackupPath, Claim, Claimed, Error, Found, Identity, Outcome, Repo, Repository, SEAL_FILE, Waiting,
    establish, identify, purge,
};
use std::fs;
use std::time::Duration;
use support::{NOW, Place, Stage, claim, claimant, found, parsed, purge_entry, seal, sealed, work};

on_every_repository!(
    a_run_is_claimed_sealed_and_reported_again,
    leftovers_of_a_dead_attempt_are_wiped_in_the_first_run_only,
    a_later_run_replaces_the_seal_and_keeps_the_files,
    a_live_holder_keeps_others_out,
    backups_do_not_nest,
    a_stolen_claim_is_not_sealed,
    a_deleted_backup_is_not_sealed,
    a_seal_is_respected_whatever_the_claim_says,
    an_identity_is_given_once_and_missed_when_lost,
);

fn a_run_is_claimed_sealed_and_reported_again<S: Stage>() {
    let stage = S::new();
    sealed(&stage, "/ns/p/b1", "u-1");
    assert!(matches!(
        claim(stage.repo(), "/ns/p/b1", &claimant("u-1", 1, "pod-2")).unwrap(),
        Claimed::Sealed(_)
    ));
    let of = |uid| found(stage.repo(), "/ns/p/b1", uid);
    assert!(matches!(of("u-1").unwrap(), Found::Sealed(found) if found.seal.bytes == 4));
    assert!(matches!(of("u-2"), Err(Error::Occupied(_))));
}

fn leftovers_of_a_dead_attempt_are_wiped_in_the_first_run_only<S: Stage>() {
    let stage = S::new();
    drop(work(stage.repo(), "/ns/b1", &claimant("u-1", 1, "pod-1")));
    stage.write("/ns/b1", "half");
    drop(work(stage.repo(), "/ns/b1", &claimant("u-1", 1, "pod-2")));
    assert!(stage.files("/ns/b1").is_empty());
    stage.write("/ns/b1", "log");
    drop(work(stage.repo(), "/ns/b1", &claimant("u-1", 2, "pod-3")));
    assert_eq!(stage.files("/ns/b1").len(), 1);
    assert!(matches!(
        claim(stage.repo(), "/ns/b1", &claimant("u-1", 1, "pod-4")),
        Err(Error::Occupied(_))
    ));
}

fn a_later_run_replaces_the_seal_and_keeps_the_files<S: Stage>() {
    let stage = S::new();
    sealed(&stage, "/ns/b1", "u-1");
    let who = claimant("u-1", 2, "pod-2");
    let work = work(stage.repo(), "/ns/b1", &who);
    stage.write("/ns/b1", "more");
    seal(&stage, &work, &who, "/ns/b1").unwrap();
    let busy = found(stage.repo(), "/ns/b1", "u-1").is_err();
    drop(work);
    assert!(busy, "busy while the run holds it");
    match found(stage.repo(), "/ns/b1", "u-1").unwrap() {
        Found::Sealed(found) => assert_eq!((found.seal.run, found.seal.files.len()), (2, 2)),
        _ => panic!("it is sealed"),
    }
}

fn a_live_holder_keeps_others_out<S: Stage>() {
    let stage = S::new();
    let held = work(stage.repo(), "/ns/b1", &claimant("u-1", 1, "pod-1"));
    assert!(matches!(
        claim(stage.repo(), "/ns/b1", &claimant("u-1", 1, "pod-2")),
        Err(Error::Busy(_))
    ));
    assert!(matches!(
        purge(stage.repo(), &purge_entry("u-1", "/ns/b1"), NOW, &mut 0),
        Outcome::Failed(Error::Busy(_))
    ));
    assert!(
        matches!(held.still_ours(stage.repo()), Err(Error::AlreadyDeleted(_))),
        "the tombstone keeps the holder from sealing"
    );
}

fn backups_do_not_nest<S: Stage>() {
    let stage = S::new();
    sealed(&stage, "/ns/a", "u-1");
    assert!(matches!(
        claim(stage.repo(), "/ns/a/b", &claimant("u-2", 1, "pod-2")),
        Err(Error::Occupied(_))
    ));
    drop(work(stage.repo(), "/ns/x/b", &claimant("u-3", 1, "pod-3")));
    assert!(matches!(
        claim(stage.repo(), "/ns/x", &claimant("u-4", 1, "pod-4")),
        Err(Error::Occupied(_))
    ));
}

/// Another claim in place of the one that is there.
fn steal<S: Stage>(stage: &S, path: &str, change: impl FnOnce(&mut Claim)) {
    let place = stage.repo().open_place(&parsed(path), Access::Read).unwrap().unwrap();
    let mut claim = stage.repo().read_claim(&place).unwrap().unwrap();
    change(&mut claim);
    stage.repo().put_claim(&place, &claim).unwrap();
}

fn a_stolen_claim_is_not_sealed<S: Stage>() {
    let stage = S::new();
    let who = claimant("u-1", 1, "pod-1");
    let work = work(stage.repo(), "/ns/b1", &who);
    stage.write("/ns/b1", "data");
    // By another attempt of the same backup: the next one may still come right. By another backup: never.
    steal(&stage, "/ns/b1", |claim| claim.pod_uid = "pod-2".into());
    assert!(matches!(seal(&stage, &work, &who, "/ns/b1"), Err(Error::Busy(_))));
    steal(&stage, "/ns/b1", |claim| claim.uid = "u-2".into());
    assert!(matches!(seal(&stage, &work, &who, "/ns/b1"), Err(Error::Occupied(_))));
    assert!(matches!(found(stage.repo(), "/ns/b1", "u-2"), Ok(Found::Claimed(_))));
}

fn a_deleted_backup_is_not_sealed<S: Stage>() {
    let stage = S::new();
    let who = claimant("u-1", 1, "pod-1");
    let work = work(stage.repo(), "/ns/b1", &who);
    stage.write("/ns/b1", "data");
    let _ = purge(stage.repo(), &purge_entry("u-1", "/ns/b1"), NOW, &mut 0);
    assert!(matches!(
        seal(&stage, &work, &who, "/ns/b1"),
        Err(Error::AlreadyDeleted(_))
    ));
    assert!(matches!(found(stage.repo(), "/ns/b1", "u-1"), Ok(Found::Claimed(_))));
}

fn a_seal_is_respected_whatever_the_claim_says<S: Stage>() {
    let stage = S::new();
    sealed(&stage, "/ns/b1", "u-1");
    let refused = |who| matches!(claim(stage.repo(), "/ns/b1", &who), Err(Error::Occupied(_)));
    assert!(refused(claimant("u-2", 1, "pod-2")));
    steal(&stage, "/ns/b1", |claim| claim.uid = "u-2".into());
    assert!(refused(claimant("u-2", 1, "pod-2")), "the seal is another backup's");
    steal(&stage, "/ns/b1", |claim| (claim.uid, claim.run) = ("u-1".into(), 0));
    assert!(refused(claimant("u-1", 0, "pod-2")), "the seal is a later run's");
}

fn an_identity_is_given_once_and_missed_when_lost<S: Stage>() {
    let stage = S::new();
    stage.set_identity(&Identity::Missing);
    assert_eq!(identify(stage.repo(), "").unwrap(), "");
    assert!(matches!(identify(stage.repo(), "repo-1"), Err(Error::Mismatch(_))));
    assert!(matches!(
        establish(stage.repo(), "repo-1", "repo-1"),
        Err(Error::Mismatch(_))
    ));
    for (state, id) in [(Identity::Missing, "repo-1"), (Identity::Damaged, "repo-2")] {
        stage.set_identity(&state);
        assert_eq!(establish(stage.repo(), "", id).unwrap(), id);
        assert_eq!(establish(stage.repo(), "", "another").unwrap(), id);
        assert_eq!(identify(stage.repo(), id).unwrap(), id);
        assert!(matches!(identify(stage.repo(), "another"), Err(Error::Mismatch(_))));
    }
    sealed(&stage, "/ns/b1", "u-1");
    for state in [Identity::Missing, Identity::Damaged] {
        stage.set_identity(&state);
        for expected in ["", "repo-2"] {
            assert!(matches!(
                establish(stage.repo(), expected, "repo-3"),
                Err(Error::Mismatch(_))
            ));
        }
    }
}

#[test]
fn the_agent_works_in_a_claimed_directory() {
    let place = Place::new();
    let repository = place.repository();
    let (path, who) = (BackupPath::parse("/ns/b1").unwrap(), claimant("u-1", 1, "pod-1"));
    let waiting = Waiting {
        wait: Duration::ZERO,
        stop: &|| false,
    };
    let work = match repository.claim(&path, &who, NOW, &waiting).unwrap() {
        Claimed::Work(work) => work,
        Claimed::Sealed(seal) => panic!("{seal:?}"),
    };
    assert!(work.metadata().label().ends_with("/ns/.holdfast/b1"));
    work.still_ours().unwrap();
    fs::remove_dir(place.at("ns/b1")).unwrap();
    let gone = work.seal(&support::seal_of(Vec::new(), &who, "/ns/b1"));
    assert!(work.folder().unwrap().is_none() && matches!(gone, Err(Error::Occupied(_))));
    assert!(work.make_folder().unwrap().is_empty().unwrap());
    work.seal(&support::seal_of(Vec::new(), &who, "/ns/b1")).unwrap();
    assert!(matches!(
        repository.claim(&path, &who, NOW, &waiting),
        Err(Error::Busy(_))
    ));
    drop(work);
    assert!(matches!(
        repository.claim(&path, &who, NOW, &waiting).unwrap(),
        Claimed::Sealed(_)
    ));
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
    let file = place.at("ns/b1").join(SEAL_FILE);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"v\": 1", "\"v\": 2", 1)).unwrap();
    assert!(matches!(
        found(&repository, "/ns/b1", "u-1"),
        Err(Error::Newer { found: 2, .. })
    ));
    assert!(matches!(
        purge(&repository, &purge_entry("u-1", "/ns/b1"), NOW, &mut 0),
        Outcome::Refused(Error::Newer { .. })
    ));
    fs::write(&file, text.replacen("u-1", "u-2", 1)).unwrap();
    assert!(matches!(
        found(&repository, "/ns/b1", "u-1"),
        Err(Error::SealInvalid(_))
    ));
    fs::write(place.at(".holdfast/repository.json"), "{\"v\":7}").unwrap();
    assert!(matches!(
        Repository::open(&place.root, ""),
        Err(Error::Newer { found: 7, .. })
    ));
}

#[test]
fn a_full_volume_is_called_full() {
    use nix::mount::{MsFlags, mount, umount};
    let mut place = Place::new();
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
    let error = seal(&place, &work, &claimant("u-1", 1, "pod-1"), "/ns/b1");
    drop((work, repository));
    place.close();
    umount(&place.root).unwrap();
    assert!(filled.is_err());
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("repository volume is full"), "{text}");
}
