//! What a purge removes, and what it leaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_store::{Error, Outcome, PurgeEntry, SEAL_FILE, TOMB_KEPT, purge};
use jiff::SignedDuration;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::{NOW, Place, claim, claimant, purge_entry, sealed, work};

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
        Err(Error::Tombed(_))
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
    let desks = sizes(&place.at("ns/.holdfast"));
    assert!(one > 100_000 && other > 0 && desks > 0);
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
    assert_eq!(freed, 7 + one + other + desks);
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

#[test]
fn tombs_stay_a_week() {
    let place = Place::new();
    let repository = place.repository();
    let entry = PurgeEntry {
        uid: "u-1".into(),
        path: String::new(),
        name: String::new(),
    };
    assert!(matches!(purge(&repository, &entry, NOW, &mut 0), Outcome::Gone));
    assert_eq!(repository.remove_expired_tombs(NOW + TOMB_KEPT).unwrap(), 0);
    assert!(repository.is_tombed("u-1").unwrap());
    assert_eq!(
        repository
            .remove_expired_tombs(NOW + TOMB_KEPT + SignedDuration::from_secs(1))
            .unwrap(),
        1
    );
    assert!(!repository.is_tombed("u-1").unwrap());
}
