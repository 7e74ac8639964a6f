//! What this version stores, and what any version ever stored: `golden/` is read for ever. A file there is never changed;
//! another shape gets files of its own beside them.

use std::{fmt::Debug, fs, path::Path};

use holdfast_api::{Backup, BackupPolicy, BackupRepo, RestoreJob, condition::Reason};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::manifests::pretty_eq;

/// Uid of the Backup in all of them.
pub(crate) const UID: &str = "3f2a9c1e-0000-4000-8000-000000000001";

/// The files: name and content.
fn stored() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |path: &Path| serde_json::from_str(&fs::read_to_string(path).unwrap()).expect("JSON");
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), read(path))).collect()
}

pub(crate) fn read<K: DeserializeOwned>(name: &str) -> K {
    let found = stored().into_iter().find(|(file, _)| file == name);
    serde_json::from_value(found.expect(name).1).expect(name)
}

/// Reads and writes it. True if this version knows every member of it.
fn comes_back<K: DeserializeOwned + Serialize + Debug>(name: &str, object: &Value) -> bool {
    let read: K = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    pretty_eq(&serde_json::to_value(&read).unwrap(), object);
    !format!("{read:?}").contains("unknown: {\"")
}

#[test]
fn what_was_stored_comes_back_whole_and_is_known_unless_it_is_newer() {
    let mut of_each = Vec::new();
    for (name, object) in stored() {
        let kind = object["kind"].as_str().unwrap();
        let known = match kind {
            "Backup" => comes_back::<Backup>(&name, &object),
            "BackupPolicy" => comes_back::<BackupPolicy>(&name, &object),
            "BackupRepo" => comes_back::<BackupRepo>(&name, &object),
            "RestoreJob" => comes_back::<RestoreJob>(&name, &object),
            other => panic!("{name}: {other}"),
        };
        let newer = ["unknown-members", "newer", "two-"]
            .iter()
            .any(|word| name.contains(word));
        assert_eq!(known, !newer, "{name}");
        of_each.push(kind.to_owned());
    }
    of_each.sort();
    of_each.dedup();
    assert_eq!(of_each, ["Backup", "BackupPolicy", "BackupRepo", "RestoreJob"]);
}

#[test]
fn members_of_a_newer_version_survive_every_object_that_is_ours() {
    for (name, count) in [
        ("backup-unknown-members", 11),
        ("restore-unknown-members", 11),
        ("policy-unknown-members", 2),
        ("repo-unknown-members", 3),
    ] {
        let (_, object) = stored().into_iter().find(|(file, _)| file == name).expect(name);
        assert_eq!(object.to_string().matches("\"later\":").count(), count, "{name}");
    }
    // They are beside what this version knows, which reads as ever.
    let backup: Backup = read("backup-unknown-members");
    let plan = backup.status.unwrap().plan.unwrap();
    assert_eq!(plan.work.job().unwrap().tool.name, "xtrabackup");
    assert_eq!(plan.location.access.claim(), Ok("pvc-nightly-7b0e4f"));
    let restore: RestoreJob = read("restore-unknown-members");
    assert_eq!(restore.status.unwrap().plan.unwrap().job().unwrap().backup.uid, UID);
}

#[test]
fn kinds_of_a_newer_version_are_refused_and_never_guessed() {
    let plan = |name: &str| read::<Backup>(name).status.unwrap().plan.unwrap();
    for (name, kind) in [("backup-newer-work", "snapshot"), ("backup-two-kinds", "stream")] {
        let refused = plan(name).work.job().unwrap_err();
        assert_eq!(
            (refused.reason(), refused.kind.as_str()),
            (Reason::NewerFormat, kind),
            "{name}"
        );
    }
    let refused = plan("backup-newer-access").location.access.claim().unwrap_err();
    assert_eq!((refused.reason(), refused.kind.as_str()), (Reason::NewerFormat, "tool"));
    for (name, kind) in [("restore-newer-step", "replay"), ("restore-two-steps", "2 steps")] {
        let refused = read::<RestoreJob>(name)
            .status
            .unwrap()
            .plan
            .unwrap()
            .job()
            .unwrap_err();
        assert_eq!(
            (refused.reason(), refused.kind.as_str()),
            (Reason::NewerFormat, kind),
            "{name}"
        );
    }
}
