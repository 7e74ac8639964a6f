//! What a purge removes, and what it leaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[macro_use]
mod support;

use holdfast_store::{
    Access, Claim, Error, Found, Outcome, Purge, PurgeEntry, Repo, SEAL_FILE, TOMBSTONE_KEPT, purge,
    remove_expired_tombstones,
};
use jiff::SignedDuration;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::{NOW, Place, Stage, claim, claimant, found, parsed, purge_entry, sealed, work};

on_every_repository!(
    another_backups_place_is_never_touched,
    a_purged_backup_does_not_come_back,
    what_is_read_is_not_purged,
    a_purge_that_was_cut_off_goes_on_where_it_was,
    tombs_stay_a_week,
);

fn another_backups_place_is_never_touched<S: Stage>() {
    let stage = S::new();
    drop(work(stage.repo(), "/ns/b1", &claimant("u-1", 1, "pod-1")));
    sealed(&stage, "/ns/b2", "u-2");
    // Claim and seal must both be ours.
    sealed(&stage, "/ns/b3", "u-3");
    let place = stage
        .repo()
        .open_place(&parsed("/ns/b3"), Access::Read)
        .unwrap()
        .unwrap();
    let claim_of_another = Claim {
        uid: "u-9".into(),
        ..stage.repo().read_claim(&place).unwrap().unwrap()
    };
    stage.repo().put_claim(&place, &claim_of_another).unwrap();
    drop(place);
    for path in ["/ns/b1", "/ns/b2", "/ns/b3"] {
        let refused = purge(stage.repo(), &purge_entry("u-9", path), NOW, &mut 0);
        assert!(matches!(refused, Outcome::Refused(Error::Occupied(_))), "{path}");
    }
    assert!(matches!(found(stage.repo(), "/ns/b1", "u-1"), Ok(Found::Claimed(_))));
    assert!(matches!(found(stage.repo(), "/ns/b2", "u-2"), Ok(Found::Sealed(_))));
    assert_eq!(stage.files("/ns/b3").len(), 1);
}

fn a_purged_backup_does_not_come_back<S: Stage>() {
    let stage = S::new();
    sealed(&stage, "/ns/p/b1", "u-1");
    let purged = || purge(stage.repo(), &purge_entry("u-1", "/ns/p/b1"), NOW, &mut 0);
    assert!(matches!(purged(), Outcome::Purged));
    assert!(matches!(purged(), Outcome::Gone));
    assert!(matches!(found(stage.repo(), "/ns/p/b1", "u-1"), Ok(Found::Nothing)));
    assert!(matches!(
        claim(stage.repo(), "/ns/p/b1", &claimant("u-1", 1, "pod-9")),
        Err(Error::AlreadyDeleted(_))
    ));
    // The place is free for another.
    sealed(&stage, "/ns/p/b1", "u-2");
}

fn what_is_read_is_not_purged<S: Stage>() {
    let stage = S::new();
    sealed(&stage, "/ns/b1", "u-1");
    let readers = [(); 2].map(|()| found(stage.repo(), "/ns/b1", "u-1").unwrap());
    let purged = || purge(stage.repo(), &purge_entry("u-1", "/ns/b1"), NOW, &mut 0);
    assert!(matches!(purged(), Outcome::Failed(Error::Busy(_))));
    drop(readers);
    assert!(matches!(purged(), Outcome::Purged));
}

fn a_purge_that_was_cut_off_goes_on_where_it_was<S: Stage>() {
    for steps in 0..5 {
        let stage = S::new();
        sealed(&stage, "/ns/b1", "u-1");
        let entry = purge_entry("u-1", "/ns/b1");
        let mut cut = Purge::new(&entry, NOW).unwrap();
        for _ in 0..steps {
            assert!(cut.step(stage.repo(), &mut 0).unwrap().is_none(), "{steps}");
        }
        drop(cut);
        let again = purge(stage.repo(), &entry, NOW, &mut 0);
        let gone = matches!(again, Outcome::Gone);
        assert!(gone || matches!(again, Outcome::Purged), "{steps}: {again:?}");
        assert_eq!(gone, steps == 4, "{steps}");
        assert!(matches!(found(stage.repo(), "/ns/b1", "u-1"), Ok(Found::Nothing)));
    }
}

#[test]
fn foreign_directories_are_never_touched() {
    let place = Place::new();
    let repository = place.repository();
    drop(work(&repository, "/ns/b1", &claimant("u-1", 1, "pod-1")));
    fs::create_dir_all(place.at("ns/b2")).unwrap();
    fs::write(place.at("ns/b2/mine"), "x").unwrap();
    for path in ["/ns/b1", "/ns/b2"] {
        let refused = claim(&repository, path, &claimant("u-9", 1, "pod-9"));
        assert!(matches!(refused, Err(Error::Occupied(_))), "{path}");
    }
    for path in ["/ns/b1", "/ns/b2"] {
        let refused = purge(&repository, &purge_entry("u-9", path), NOW, &mut 0);
        assert!(matches!(refused, Outcome::Refused(_)), "{path}");
    }
    assert!(place.at("ns/b2/mine").exists() && place.at("ns/.holdfast/b1/claim.json").exists());
}

#[test]
fn a_purge_removes_everything_and_its_empty_parents() {
    let place = Place::new();
    sealed(&place, "/ns/p/b1", "u-1");
    sealed(&place, "/ns/q/b2", "u-2");
    let repository = place.repository();
    assert!(matches!(
        purge(&repository, &purge_entry("u-1", "/ns/p/b1"), NOW, &mut 0),
        Outcome::Purged
    ));
    assert!(matches!(
        purge(&repository, &purge_entry("u-1", "/ns/p/b1"), NOW, &mut 0),
        Outcome::Gone
    ));
    assert!(!place.at("ns/p").exists() && place.at("ns/q/b2").join(SEAL_FILE).exists());
    assert!(matches!(
        claim(&repository, "/ns/p/b1", &claimant("u-1", 1, "pod-9")),
        Err(Error::AlreadyDeleted(_))
    ));
    assert!(matches!(
        purge(&repository, &purge_entry("u-2", "/ns/q/b2"), NOW, &mut 0),
        Outcome::Purged
    ));
    assert!(!place.at("ns").exists());
}

#[test]
fn a_purge_follows_no_link_and_crosses_no_name() {
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("b1")).unwrap();
    fs::write(outside.path().join("b1/kept"), "x").unwrap();
    sealed(&place, "/ns/b0", "u-1");
    let repository = place.repository();
    symlink(outside.path(), place.at("ns/b0/inside")).unwrap();
    symlink(outside.path(), place.at("link")).unwrap();
    symlink(outside.path().join("b1"), place.at("ns/b1")).unwrap();
    assert!(matches!(
        purge(&repository, &purge_entry("u-1", "/ns/b0"), NOW, &mut 0),
        Outcome::Purged
    ));
    assert!(matches!(
        purge(&repository, &purge_entry("u-2", "/link/b1"), NOW, &mut 0),
        Outcome::Refused(Error::NotPlain(..))
    ));
    assert!(matches!(
        purge(&repository, &purge_entry("u-2", "/ns/b1"), NOW, &mut 0),
        Outcome::Refused(Error::NotPlain(..))
    ));
    let mut entry = purge_entry("u-1", "/ns/b0");
    entry.name = "other".into();
    assert!(matches!(purge(&repository, &entry, NOW, &mut 0), Outcome::Refused(_)));
    assert!(outside.path().join("b1/kept").exists());
}

/// Sizes of all regular files below a directory.
fn sizes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata().unwrap() {
            meta if meta.is_dir() => sizes(&entry.path()),
            meta if meta.is_file() => meta.len(),
            _ => 0,
        })
        .sum()
}

#[test]
fn a_purge_counts_what_it_removed_and_nothing_else() {
    let place = Place::new();
    for (path, uid) in [("/ns/b1", "u-1"), ("/ns/b2", "u-2")] {
        sealed(&place, path, uid);
    }
    let dir = place.at("ns/b1");
    fs::create_dir_all(dir.join("deep/er")).unwrap();
    fs::write(dir.join("deep/er/data"), vec![0; 100_000]).unwrap();
    symlink("deep/er/data", dir.join("link")).unwrap();
    let (one, other) = (sizes(&place.at("ns/b1")), sizes(&place.at("ns/b2")));
    let metadata = sizes(&place.at("ns/.holdfast"));
    assert!(one > 100_000 && other > 0 && metadata > 0);
    // A file that another name still holds is not freed; one whose names all go is freed once.
    fs::hard_link(dir.join("deep/er/data"), dir.join("twice")).unwrap();
    fs::write(place.at("elsewhere"), vec![0; 5_000]).unwrap();
    fs::hard_link(place.at("elsewhere"), dir.join("kept")).unwrap();
    let repository = place.repository();
    let mut freed = 7;
    for (path, uid) in [("/ns/b1", "u-1"), ("/ns/b1", "u-1"), ("/ns/b2", "u-2")] {
        let outcome = purge(&repository, &purge_entry(uid, path), NOW, &mut freed);
        assert!(matches!(outcome, Outcome::Purged | Outcome::Gone), "{outcome:?}");
    }
    assert_eq!(freed, 7 + one + other + metadata);
}

#[test]
fn a_purge_that_stops_half_way_has_counted_what_is_gone() {
    let place = Place::new();
    sealed(&place, "/ns/b1", "u-1");
    let dir = place.at("ns/b1");
    fs::write(dir.join("a"), vec![0; 3_000]).unwrap();
    // Deeper than what is gone through.
    let mut deep = dir.join("z");
    for _ in 0..300 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    let before = sizes(&dir);
    let mut freed = 0;
    let outcome = purge(&place.repository(), &purge_entry("u-1", "/ns/b1"), NOW, &mut freed);
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    assert_eq!((freed, sizes(&dir)), (before, 0));
}

#[test]
fn a_purge_that_was_cut_off_goes_on() {
    let place = Place::new();
    sealed(&place, "/ns/b1", "u-1");
    fs::remove_file(place.at("ns/b1").join(SEAL_FILE)).unwrap();
    let repository = place.repository();
    assert!(matches!(
        purge(&repository, &purge_entry("u-1", "/ns/b1"), NOW, &mut 0),
        Outcome::Purged
    ));
    sealed(&place, "/ns/b2", "u-2");
    fs::remove_dir_all(place.at("ns/b2")).unwrap();
    assert!(matches!(
        purge(&repository, &purge_entry("u-2", "/ns/b2"), NOW, &mut 0),
        Outcome::Purged
    ));
    assert!(!place.at("ns").exists());
}

fn tombs_stay_a_week<S: Stage>() {
    let stage = S::new();
    let entry = PurgeEntry {
        uid: "u-1".into(),
        path: String::new(),
        name: String::new(),
    };
    assert!(matches!(purge(stage.repo(), &entry, NOW, &mut 0), Outcome::Gone));
    // A second purge does not make it younger.
    let later = NOW + SignedDuration::from_hours(24);
    assert!(matches!(purge(stage.repo(), &entry, later, &mut 0), Outcome::Gone));
    assert_eq!(
        remove_expired_tombstones(stage.repo(), NOW + TOMBSTONE_KEPT).unwrap(),
        0
    );
    assert!(stage.repo().has_tombstone("u-1").unwrap());
    assert_eq!(
        remove_expired_tombstones(stage.repo(), NOW + TOMBSTONE_KEPT + SignedDuration::from_secs(1)).unwrap(),
        1
    );
    assert!(!stage.repo().has_tombstone("u-1").unwrap());
}
