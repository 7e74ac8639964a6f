//! What the container has from Secrets must not reach logs or messages, even if the tool prints it.

use crate::mask::Mask;
use holdfast_api::assignment::{SecretFiles, SecretSources};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Parts of names of variables which tell that somebody wrote a credential into a tool's own environment.
const TELLING: [&str; 9] = [
    "PASS",
    "_PWD",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "API_KEY",
    "_AUTH",
];
/// Shorter values of such variables are left: they are no more than a guess.
const SHORTEST: usize = 6;
/// How much is read of mounted Secrets: each has at most 1 MiB.
const FILES_MAX: u64 = 2 << 20;
/// How deep directories of a mounted Secret are looked into.
const DEPTH: usize = 8;
/// How long a mount is waited for that kubelet is about to fill, because it has let the container start.
const MOUNT_WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

static KNOWN: OnceLock<Mask> = OnceLock::new();

/// Reads what is to be hidden from now on; answers whether that is all. The first word counts.
pub(crate) fn learn(sources: &SecretSources) -> bool {
    let mut values: Vec<Vec<u8>> = variables(&sources.variables, std::env::vars_os()).collect();
    let mut left = FILES_MAX;
    for files in &sources.files {
        wait_for(files);
        read(Path::new(&files.path), "", files, (DEPTH, &mut left), &mut values);
    }
    let _ = KNOWN.set(Mask::new(values));
    left > 0
}

/// What is to be hidden. Before anything is learned, that is what names of variables tell.
pub(crate) fn known() -> &'static Mask {
    KNOWN.get_or_init(|| Mask::new(variables(&[], std::env::vars_os())))
}

fn variables(named: &[String], all: impl Iterator<Item = (OsString, OsString)>) -> impl Iterator<Item = Vec<u8>> {
    all.filter(|(name, value)| named.iter().any(|one| name == one.as_str()) || (value.len() >= SHORTEST && tells(name)))
        .map(|(_, value)| value.into_vec())
}

fn tells(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_uppercase();
    TELLING.iter().any(|word| name.contains(word))
}

fn wait_for(files: &SecretFiles) {
    let began = Instant::now();
    let is_empty = || fs::read_dir(&files.path).is_ok_and(|mut names| names.next().is_none());
    while files.needed && is_empty() && began.elapsed() < MOUNT_WAIT {
        sleep(PAUSE);
    }
}

/// Reads a file, or the files of a directory; kubelet's own entries, which begin with two dots, lead to the same.
fn read(at: &Path, name: &str, files: &SecretFiles, (depth, left): (usize, &mut u64), values: &mut Vec<Vec<u8>>) {
    if files.except.iter().any(|one| one == name) {
        return;
    }
    if at.is_dir() {
        let entries = fs::read_dir(at).into_iter().flatten().flatten();
        for entry in entries.map(|entry| entry.file_name()) {
            let own = entry.to_string_lossy();
            if depth > 0 && !own.starts_with("..") {
                let inner = PathBuf::from(name).join(&entry);
                read(
                    &at.join(&entry),
                    &inner.to_string_lossy(),
                    files,
                    (depth - 1, left),
                    values,
                );
            }
        }
        return;
    }
    // Never a pipe, which would be waited for.
    let file = Some(at).filter(|at| at.is_file()).and_then(|at| File::open(at).ok());
    let mut value = Vec::new();
    if let Some(file) = file {
        let _ = file.take(*left).read_to_end(&mut value);
    }
    *left = left.saturating_sub(value.len() as u64);
    values.push(value);
}
