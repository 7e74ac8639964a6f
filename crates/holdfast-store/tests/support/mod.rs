//! A repository in a temporary directory and the usual steps in it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its part; a test that cannot set up its place fails"
)]

use holdfast_store::{BackupPath, Claimant, Claimed, Error, PurgeEntry, Repository, Scan, Seal, Work, scan};
use jiff::Timestamp;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

pub const NOW: Timestamp = Timestamp::UNIX_EPOCH;

pub struct Place {
    _home: TempDir,
    pub root: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("volume");
        fs::create_dir(&root).unwrap();
        Self { _home: home, root }
    }

    pub fn repository(&self) -> Repository {
        Repository::open_or_create(&self.root, "", "repo-1", "").unwrap()
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

pub fn claimant(uid: &str, run: i32, pod: &str) -> Claimant {
    Claimant {
        uid: uid.into(),
        name: "b1".into(),
        run,
        pod_uid: pod.into(),
    }
}

pub fn claim(repository: &Repository, path: &str, who: &Claimant) -> Result<Claimed, Error> {
    repository.claim(&BackupPath::parse(path).unwrap(), who, NOW, Duration::ZERO, &|| false)
}

pub fn work(repository: &Repository, path: &str, who: &Claimant) -> Box<Work> {
    match claim(repository, path, who).unwrap() {
        Claimed::Work(work) => work,
        Claimed::Sealed(seal) => panic!("sealed by {}", seal.pod_uid),
    }
}

pub fn seal(work: &Work, who: &Claimant, path: &str) -> Result<(), Error> {
    let found = scan(
        &work.folder().unwrap().unwrap(),
        &Scan {
            sync: true,
            stop: &|| false,
        },
    )
    .unwrap();
    work.seal(&Seal {
        v: 1,
        uid: who.uid.clone(),
        name: who.name.clone(),
        run: who.run,
        pod_uid: who.pod_uid.clone(),
        path: path.into(),
        repository: "repo-1".into(),
        sealed: NOW.to_string(),
        parent: None,
        bytes: found.bytes,
        checksum: found.checksum(),
        info: Value::Null,
        spec: Value::Null,
        files: found.files,
        links: found.links,
    })
}

pub fn sealed(place: &Place, path: &str, uid: &str) {
    let repository = place.repository();
    let who = claimant(uid, 1, "pod-1");
    let work = work(&repository, path, &who);
    fs::write(place.at(&path[1..]).join("data"), "data").unwrap();
    seal(&work, &who, path).unwrap();
}

pub fn purge_entry(uid: &str, path: &str) -> PurgeEntry {
    PurgeEntry {
        uid: uid.into(),
        path: path.into(),
        name: Path::new(path).file_name().unwrap().to_str().unwrap().into(),
    }
}
