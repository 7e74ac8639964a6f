//! What holds for every repository: digests do not depend on order, seals come back as they went and show any
//! flipped byte, and no input path leads outside.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use holdfast_store::{
    BackupPath, Claimant, FileEntry, Outcome, PurgeEntry, RelPath, Repository, Scan, Seal, Waiting, checksum, purge,
    scan, verify,
};
use proptest::prelude::*;
use serde_json::json;
use std::fs;
use std::path::Path;

fn entry() -> impl Strategy<Value = FileEntry> {
    let path =
        prop::collection::vec("[^/\0]{1,8}", 1..4).prop_filter_map("a path", |parts| RelPath::new(parts.join("/")));
    let raw = prop::collection::vec(1u8.., 1..9).prop_filter_map("a path", RelPath::new);
    (prop_oneof![4 => path, 1 => raw], any::<u32>(), any::<[u8; 32]>()).prop_map(|(path, size, sha256)| FileEntry {
        path,
        size: size.into(),
        sha256,
    })
}

fn sum_of(files: &[FileEntry]) -> String {
    checksum(files.iter().map(|file| (&file.sha256, file.path.as_bytes())))
}

fn seal_of(files: Vec<FileEntry>) -> Seal {
    Seal {
        v: 1,
        uid: "u-1".into(),
        name: "b".into(),
        run: 1,
        pod_uid: "p-1".into(),
        path: "/ns/b".into(),
        repository: "r-1".into(),
        sealed: "2026-01-01T00:00:00Z".into(),
        parent: None,
        bytes: files.iter().map(|file| file.size).sum(),
        checksum: sum_of(&files),
        info: json!(null),
        spec: json!({"backup": {"x": 1.5}, "tool": ["a", null]}),
        files,
        links: Vec::new(),
    }
}

fn bytes_of(seal: &Seal) -> Vec<u8> {
    let mut bytes = Vec::new();
    seal.write_to(&mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn the_checksum_does_not_depend_on_order(files in prop::collection::vec(entry(), 0..12), seed in any::<usize>()) {
        let mut turned = files.clone();
        if !turned.is_empty() {
            let at = seed % turned.len();
            turned.rotate_left(at);
            turned.reverse();
        }
        prop_assert_eq!(sum_of(&files), sum_of(&turned));
    }

    #[test]
    fn a_seal_comes_back_as_it_went(files in prop::collection::vec(entry(), 0..8)) {
        let seal = seal_of(files);
        prop_assert_eq!(Seal::parse(&bytes_of(&seal), "seal").unwrap(), seal);
    }

    #[test]
    fn any_flipped_bit_of_a_seal_is_seen(files in prop::collection::vec(entry(), 0..4), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let mut bytes = bytes_of(&seal_of(files));
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert!(Seal::parse(&bytes, "seal").is_err());
    }

    #[test]
    fn a_cut_or_lengthened_seal_is_seen(files in prop::collection::vec(entry(), 0..4), cut in any::<prop::sample::Index>(), more in ".{1,5}") {
        let bytes = bytes_of(&seal_of(files));
        prop_assert!(Seal::parse(&bytes[..cut.index(bytes.len())], "seal").is_err());
        let longer = [&bytes[..], more.as_bytes()].concat();
        prop_assert!(Seal::parse(&longer, "seal").is_err());
    }

    #[test]
    fn any_flipped_bit_of_the_data_is_seen(content in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let home = tempfile::tempdir().unwrap();
        let dir = holdfast_store::Folder::open_root(home.path()).unwrap();
        fs::create_dir(home.path().join("sub")).unwrap();
        let file = home.path().join("sub/data");
        fs::write(&file, &content).unwrap();
        let how = Scan { sync: false, stop: &|| false };
        let seal = seal_of(scan(&dir, &how).unwrap().files);
        verify(&dir, &seal, true, &how).unwrap();
        let mut changed = content;
        let at = at.index(changed.len());
        changed[at] ^= 1u8 << bit;
        fs::write(&file, &changed).unwrap();
        prop_assert!(verify(&dir, &seal, true, &how).is_err());
    }

    #[test]
    fn no_path_leads_outside(path in prop_oneof![
        "(/(\\.\\.|\\.|\\.holdfast|tombs|a|b|out|link|)){1,7}",
        ".{0,40}",
    ]) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir_all(home.path().join("out/b")).unwrap();
        fs::write(home.path().join("out/b/kept"), "kept").unwrap();
        std::os::unix::fs::symlink("../out", root.join("link")).unwrap();
        std::os::unix::fs::symlink("../../out", root.join("a/out")).unwrap();
        let repository = Repository::open_or_create(&root, "", "id-1", "").unwrap();
        if let Ok(path) = BackupPath::parse(&path) {
            let claimant = Claimant { uid: "u-1".into(), name: "b".into(), run: 1, pod_uid: "p-1".into() };
            let _ = repository.claim(&path, &claimant, jiff::Timestamp::UNIX_EPOCH, &Waiting::NONE);
        }
        let entry = PurgeEntry { uid: "u-1".into(), path: path.clone(), name: String::new() };
        let outcome = purge(&repository, &entry, jiff::Timestamp::UNIX_EPOCH, &mut 0);
        let everything = tree(home.path());
        prop_assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        prop_assert_eq!(everything.iter().filter(|name| name.starts_with("out")).count(), 3, "{:?}", everything);
        prop_assert!(root.join("link").symlink_metadata().is_ok());
        prop_assert!(root.join(".holdfast/repository.json").exists());
    }
}

/// Names below, links not followed.
fn tree(home: &Path) -> Vec<String> {
    fn walk(home: &Path, dir: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            into.push(entry.path().strip_prefix(home).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                walk(home, &entry.path(), into);
            }
        }
    }
    let mut names = Vec::new();
    walk(home, home, &mut names);
    names
}
