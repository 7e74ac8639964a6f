//! Repositories to test with, on a volume and in memory, and the usual steps in them.
#![allow(
    dead_code,
    unreachable_pub,
    unused_macros,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its part; a test that cannot set up its place fails"
)]

pub mod pods;

use holdfast_store::memory::MemoryRepo;
use holdfast_store::{
    Attempt, BackupPath, Claimant, Claimed, Error, FileEntry, Folder, Found, Held, Identity, PurgeEntry, RelPath, Repo,
    Repository, Scan, Seal, Waiting, checksum, find, scan,
};
use jiff::Timestamp;
use serde_json::Value;
use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A repository and what a tool does beside it.
pub trait Stage {
    type Repo: Repo;

    fn new() -> Self;

    fn repo(&self) -> &Self::Repo;

    /// A tool writes four bytes to a file of a claimed backup.
    fn write(&self, path: &str, file: &str);

    /// What there is in a backup's directory, its seal left out.
    fn files(&self, path: &str) -> Vec<FileEntry>;

    /// The repository has this identity now.
    fn set_identity(&self, identity: &Identity);

    /// The node of whoever holds the place is lost.
    fn break_locks(&self, path: &str);
}

/// A repository on a volume, in a temporary directory.
pub struct Place {
    _home: TempDir,
    pub root: PathBuf,
    opened: OnceCell<Repository>,
}

impl Place {
    pub fn repository(&self) -> Repository {
        Repository::open_or_create(&self.root, "", "repo-1", "").unwrap()
    }

    /// Gives up the handle of the volume.
    pub fn close(&mut self) {
        self.opened.take();
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Stage for Place {
    type Repo = Repository;

    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("volume");
        fs::create_dir(&root).unwrap();
        Self {
            _home: home,
            root,
            opened: OnceCell::new(),
        }
    }

    fn repo(&self) -> &Repository {
        self.opened.get_or_init(|| self.repository())
    }

    fn write(&self, path: &str, file: &str) {
        // Somebody may have taken the directory away.
        let _ = fs::write(self.at(path).join(file), "data");
    }

    fn files(&self, path: &str) -> Vec<FileEntry> {
        let how = Scan {
            sync: true,
            stop: &|| false,
        };
        let dir = self.at(path);
        if !dir.exists() {
            return Vec::new();
        }
        scan(&Folder::open_root(&dir).unwrap(), &how).unwrap().files
    }

    fn set_identity(&self, identity: &Identity) {
        self.repo();
        let marker = self.at(".holdfast/repository.json");
        match identity {
            Identity::Missing => fs::remove_file(marker).unwrap_or_default(),
            Identity::Damaged => fs::write(marker, "{").unwrap(),
            Identity::Is(id) => fs::write(marker, format!("{{\"v\":1,\"id\":\"{id}\"}}\n")).unwrap(),
        }
    }

    fn break_locks(&self, path: &str) {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let _ = fs::remove_file(self.at(parent).join(".holdfast").join(name).join("lock"));
    }
}

/// A repository in memory.
#[derive(Default)]
pub struct Memory(pub MemoryRepo);

impl Stage for Memory {
    type Repo = MemoryRepo;

    fn new() -> Self {
        Self::default()
    }

    fn repo(&self) -> &MemoryRepo {
        &self.0
    }

    fn write(&self, path: &str, file: &str) {
        self.0.write(&parsed(path), file, 4);
    }

    fn files(&self, path: &str) -> Vec<FileEntry> {
        let files = self.0.files(&parsed(path)).unwrap_or_default();
        let entry = |(name, size): (String, u64)| FileEntry {
            path: RelPath::new(name).unwrap(),
            size,
            sha256: [0; 32],
        };
        files.into_iter().map(entry).collect()
    }

    fn set_identity(&self, identity: &Identity) {
        self.0.set_identity(identity.clone());
    }

    fn break_locks(&self, path: &str) {
        self.0.break_locks(&parsed(path));
    }
}

/// Runs tests that are generic over the [`Stage`] on every kind of repository.
macro_rules! on_every_repository {
    ($($test:ident),* $(,)?) => {
        mod on_a_volume {
            $(#[test] fn $test() { super::$test::<crate::support::Place>(); })*
        }
        mod in_memory {
            $(#[test] fn $test() { super::$test::<crate::support::Memory>(); })*
        }
    };
}

pub fn parsed(path: &str) -> BackupPath {
    BackupPath::parse(path).unwrap()
}

pub fn claimant(uid: &str, run: i32, pod: &str) -> Claimant {
    Claimant {
        uid: uid.into(),
        name: "b1".into(),
        run,
        pod_uid: pod.into(),
    }
}

pub fn claim<R: Repo>(repo: &R, path: &str, who: &Claimant) -> Result<Claimed<Held<R::Place>>, Error> {
    Attempt::new(&parsed(path), who, NOW)?.run(repo, &Waiting::NONE)
}

pub fn work<R: Repo>(repo: &R, path: &str, who: &Claimant) -> Held<R::Place> {
    match claim(repo, path, who).unwrap() {
        Claimed::Work(work) => *work,
        Claimed::Sealed(seal) => panic!("sealed by {}", seal.pod_uid),
    }
}

pub fn found<R: Repo>(repo: &R, path: &str, uid: &str) -> Result<Found<R::Place>, Error> {
    find(repo, &parsed(path), uid)
}

/// The seal of a directory as it is.
pub fn seal_of(files: Vec<FileEntry>, who: &Claimant, path: &str) -> Seal {
    Seal {
        v: 1,
        uid: who.uid.clone(),
        name: who.name.clone(),
        run: who.run,
        pod_uid: who.pod_uid.clone(),
        path: path.into(),
        repository: "repo-1".into(),
        sealed: NOW.to_string(),
        parent: None,
        bytes: files.iter().map(|file| file.size).sum(),
        checksum: checksum(files.iter().map(|file| (&file.sha256, file.path.as_bytes()))),
        info: Value::Null,
        spec: Value::Null,
        files,
        links: Vec::new(),
    }
}

type PlaceOf<S> = <<S as Stage>::Repo as Repo>::Place;

pub fn seal<S: Stage>(stage: &S, work: &Held<PlaceOf<S>>, who: &Claimant, path: &str) -> Result<(), Error> {
    work.seal(stage.repo(), &seal_of(stage.files(path), who, path))
}

pub fn sealed<S: Stage>(stage: &S, path: &str, uid: &str) {
    let who = claimant(uid, 1, "pod-1");
    let work = work(stage.repo(), path, &who);
    stage.write(path, "data");
    seal(stage, &work, &who, path).unwrap();
}

pub fn purge_entry(uid: &str, path: &str) -> PurgeEntry {
    PurgeEntry {
        uid: uid.into(),
        path: path.into(),
        name: Path::new(path).file_name().unwrap().to_str().unwrap().into(),
    }
}
