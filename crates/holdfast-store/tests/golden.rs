//! What this version stores, and what any version ever stored: `golden/` is read for ever. A file there is never
//! changed; another format gets files of its own beside them, which `HOLDFAST_GOLDEN=write` makes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_store::{
    Claim, Claimant, Error, FileEntry, Found, LinkEntry, Outcome, RelPath, Repo, Repository, Seal, Tombstone, find,
    purge,
};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use support::{NOW, Place, Stage, claimant, found, parsed, purge_entry, seal_of, work};

const UID: &str = "0b3e9c1e-5f7a-4a53-9a34-1f6f8d0a1c2b";
const POD: &str = "7d1f0a52-93c4-4d0e-8a77-2c5b6e9f3a10";
const PATH: &str = "/shop/db-7c2a/postgres/backup-1";

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// What is stored in the golden file.
fn stored(name: &str) -> Vec<u8> {
    fs::read(golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What this version writes is what lies in the golden file, byte for byte.
fn same(name: &str, written: &[u8]) {
    if std::env::var("HOLDFAST_GOLDEN").is_ok_and(|how| how == "write") && !golden(name).exists() {
        fs::write(golden(name), written).unwrap();
    }
    assert_eq!(
        String::from_utf8_lossy(written),
        String::from_utf8_lossy(&stored(name)),
        "{name}"
    );
}

fn file(path: impl Into<Vec<u8>>, size: u64) -> FileEntry {
    FileEntry {
        path: RelPath::new(path).unwrap(),
        size,
        sha256: [u8::try_from(size).unwrap(); 32],
    }
}

/// The pod and its backup.
fn pod() -> Claimant {
    Claimant {
        name: "backup-1".into(),
        ..claimant(UID, 1, POD)
    }
}

fn plain() -> Seal {
    seal_of(vec![file("backup.tar.zst", 42)], &pod(), PATH)
}

/// With everything that a seal can hold.
fn full() -> Seal {
    let files = vec![
        file("a b\n\\\"\u{e9}\u{1}", 1),
        file("d/e", 2),
        file(b"latin-\xe9".to_vec(), 3),
        file("z", 0),
    ];
    let link = |path: &[u8], target: &[u8]| LinkEntry {
        path: RelPath::new(path).unwrap(),
        target: target.to_vec(),
    };
    Seal {
        run: 2,
        parent: Some("backup-0".into()),
        info: json!({"uploadTotalSize": "1.2G", "checkpoint": "0/28", "userContext": {"gtid": "1-2"}}),
        spec: json!({
            "backup": {"spec": {"backupPolicyName": "p", "parentBackupName": "backup-0"}},
            "policy": {"retention": null, "ratio": 0.5},
            "tool": {"command": ["sh", "-c", "echo \"$BACKUP_DIR\" \u{2713}"]},
        }),
        links: vec![link(b"d/up", b"../a"), link(b"l-\xff", b"/etc/\xfe")],
        ..seal_of(files, &pod(), PATH)
    }
}

fn written(seal: &Seal) -> Vec<u8> {
    let mut bytes = Vec::new();
    seal.write_to(&mut bytes).unwrap();
    bytes
}

#[test]
fn seals_are_written_and_read_as_ever() {
    for (name, seal) in [("seal-plain.json", plain()), ("seal-full.json", full())] {
        same(name, &written(&seal));
        assert_eq!(Seal::parse(&stored(name), name).unwrap(), seal, "{name}");
    }
}

#[test]
fn what_a_seal_of_version_1_may_hold_besides_does_not_make_it_unreadable() {
    let name = "seal-unknown-members.json";
    assert_eq!(Seal::parse(&stored(name), name).unwrap(), full());
}

#[test]
fn a_seal_of_version_2_is_refused_as_newer() {
    let name = "seal-version-2.json";
    let refused = Seal::parse(&stored(name), name);
    assert!(
        matches!(refused, Err(Error::Newer { found: 2, known: 1, .. })),
        "{refused:?}"
    );
}

/// A volume with these files in it.
fn volume(files: &[(&str, &str)]) -> Place {
    let place = Place::new();
    for (path, name) in files {
        let path = place.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, stored(name)).unwrap();
    }
    place
}

const MARKER: &str = ".holdfast/repository.json";
const CLAIM: &str = "shop/db-7c2a/postgres/.holdfast/backup-1/claim.json";
const SEAL: &str = "shop/db-7c2a/postgres/backup-1/holdfast.json";

#[test]
fn marker_claim_and_tombstone_are_written_as_ever() {
    let place = Place::new();
    let id = "00112233445566778899aabbccddeeff";
    let repository = Repository::open_or_create(&place.root, "", id, POD).unwrap();
    same("marker.json", &fs::read(place.at(MARKER)).unwrap());
    drop(work(&repository, PATH, &pod()));
    same("claim.json", &fs::read(place.at(CLAIM)).unwrap());
    let outcome = purge(&repository, &purge_entry(UID, PATH), NOW, &mut 0);
    assert!(matches!(outcome, Outcome::Purged), "{outcome:?}");
    same(
        "tombstone.json",
        &fs::read(place.at(".holdfast/tombs").join(UID)).unwrap(),
    );
}

/// As it is, and with members that a later version of the format 1 may add.
const STORED: [[&str; 4]; 2] = [
    ["marker.json", "claim.json", "seal-full.json", "tombstone.json"],
    [
        "marker-unknown-members.json",
        "claim-unknown-members.json",
        "seal-unknown-members.json",
        "tombstone-unknown-members.json",
    ],
];

#[test]
fn a_volume_of_this_format_is_understood() {
    for [marker, claim, seal, tombstone] in STORED {
        let place = volume(&[(MARKER, marker), (CLAIM, claim)]);
        let repository = Repository::open(&place.root, "00112233445566778899aabbccddeeff").unwrap();
        match found(&repository, PATH, UID).unwrap() {
            Found::Claimed(Claim { run, pod_uid, time, .. }) => {
                assert_eq!((run, pod_uid.as_str(), time.as_str()), (1, POD, "1970-01-01T00:00:00Z"));
            }
            other => panic!("{other:?}"),
        }
        let place = volume(&[(MARKER, marker), (CLAIM, claim), (SEAL, seal)]);
        let repository = Repository::open(&place.root, "").unwrap();
        match find(&repository, &parsed(PATH), UID).unwrap() {
            Found::Sealed(found) => assert_eq!(found.seal, full()),
            other => panic!("{other:?}"),
        }
        assert!(!repository.has_tombstone(UID).unwrap());
        let at = format!(".holdfast/tombs/{UID}");
        let place = volume(&[(MARKER, marker), (&at, tombstone)]);
        let repository = Repository::open(&place.root, "").unwrap();
        assert!(repository.has_tombstone(UID).unwrap());
        let told = |tombstone: &Tombstone| tombstone.path == PATH && tombstone.name == "backup-1";
        assert_eq!(repository.remove_tombstones(&told).unwrap(), 1, "{tombstone}");
    }
}

#[test]
fn what_is_of_version_2_is_refused_as_newer() {
    let newer = |error: &Error| matches!(error, Error::Newer { found: 2, known: 1, .. });
    let place = volume(&[(MARKER, "marker-version-2.json")]);
    assert!(Repository::open(&place.root, "").is_err_and(|error| newer(&error)));
    for (at, name) in [(CLAIM, "claim-version-2.json"), (SEAL, "seal-version-2.json")] {
        let place = volume(&[(MARKER, "marker.json"), (CLAIM, "claim.json"), (at, name)]);
        let repository = Repository::open(&place.root, "").unwrap();
        let refused = found(&repository, PATH, UID);
        assert!(refused.is_err_and(|error| newer(&error)), "{name}");
        let refused = purge(&repository, &purge_entry(UID, PATH), NOW, &mut 0);
        assert!(
            matches!(&refused, Outcome::Refused(error) if newer(error)),
            "{name}: {refused:?}"
        );
        assert!(place.at(at).exists());
    }
}
