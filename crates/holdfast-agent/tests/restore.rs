//! `verify`, `restore` and `purge` with the real binary.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_api::agent::{Outcome, exit_code};
use holdfast_api::condition::Reason;
use std::fs;
use std::path::PathBuf;
use support::{Agent, Bench, Ended, read};

struct Stage {
    bench: Bench,
    digest: String,
    target: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let bench = Bench::new();
        let digest = bench.sealed();
        let target = bench.beside("target");
        fs::create_dir(&target).unwrap();
        fs::create_dir(target.join("lost+found")).unwrap();
        Self { bench, digest, target }
    }

    fn agent(&self, arguments: &[&str]) -> Agent {
        self.bench
            .agent(arguments)
            .env("HOLDFAST_DIGEST", &self.digest)
            .env("HOLDFAST_TARGETS", &self.target)
            .env("HOLDFAST_RESTORE_UID", "r-1")
            .env("TARGET", &self.target)
    }

    fn restore(&self, script: &str) -> Agent {
        self.agent(&["restore", "--", script])
    }

    fn mark(&self) -> PathBuf {
        self.target.join(".holdfast-dirty")
    }
}

fn refused(ended: &Ended, reason: Reason) {
    assert_eq!(ended.result.reason(), Some(reason), "{ended:?}");
    assert_eq!(ended.code, Some(exit_code(reason)), "{ended:?}");
}

#[test]
fn a_backup_is_verified_and_restored() {
    let stage = Stage::new();
    let verified = stage.agent(&["verify"]).run();
    assert_eq!(
        (verified.code, verified.result.outcome),
        (Some(0), Outcome::Verified),
        "{verified:?}"
    );
    assert_eq!(verified.result.bytes, Some(8));
    let script = "cp $TARGET/.holdfast-dirty $TARGET/seen && cp -r $BACKUP_DIR/d $TARGET/";
    let restored = stage.restore(script).run();
    assert_eq!(
        (restored.code, restored.result.outcome, restored.result.dirty),
        (Some(0), Outcome::Restored, false),
        "{restored:?}"
    );
    assert_eq!(read(stage.target.join("d/b")), "two\n");
    let seen = read(stage.target.join("seen"));
    assert!(seen.contains("r-1") && seen.contains("b1"), "{seen}");
    assert!(!stage.mark().exists());
}

#[test]
fn a_failed_restore_leaves_its_mark_and_may_be_tried_again() {
    let stage = Stage::new();
    let failed = stage.restore("echo half >$TARGET/half; exit 3").run();
    refused(&failed, Reason::ToolFailed);
    assert!(failed.result.dirty && stage.mark().exists());
    let emptied = stage.restore("rm $TARGET/.holdfast-dirty; exit 3").run();
    assert!(emptied.result.dirty && stage.mark().exists(), "{emptied:?}");
    let again = stage.restore("rm $TARGET/half; cp $BACKUP_DIR/a $TARGET/").run();
    assert_eq!((again.code, again.result.dirty), (Some(0), false), "{again:?}");
    assert!(!stage.mark().exists());
}

#[test]
fn a_target_with_data_is_left_alone_unless_it_may_be_replaced() {
    let stage = Stage::new();
    fs::write(stage.target.join("data"), "precious").unwrap();
    refused(&stage.agent(&["verify"]).run(), Reason::TargetHasData);
    refused(&stage.restore("rm -r $TARGET/data").run(), Reason::TargetHasData);
    assert_eq!(read(stage.target.join("data")), "precious");
    assert!(!stage.mark().exists());
    let replaced = stage
        .restore("cp $BACKUP_DIR/a $TARGET/data")
        .env("HOLDFAST_REPLACE", "true")
        .run();
    assert_eq!(replaced.code, Some(0), "{replaced:?}");
    assert_eq!(read(stage.target.join("data")), "one\n");
}

#[test]
fn a_mark_that_was_cut_off_is_no_data_and_goes() {
    let stage = Stage::new();
    for left in [".holdfast-dirty.1.new", ".holdfast-dirty.pod-1.00.new"] {
        fs::write(stage.target.join(left), "{").unwrap();
    }
    assert_eq!(stage.agent(&["verify"]).run().code, Some(0));
    let restored = stage.restore("cp $BACKUP_DIR/a $TARGET/").run();
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let mut names: Vec<_> = fs::read_dir(&stage.target)
        .unwrap()
        .map(|one| one.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "lost+found"]);
}

#[test]
fn damage_is_found_before_anything_is_touched() {
    type Harm = fn(&Stage);
    let at = |stage: &Stage, name: &str| stage.bench.at("ns/shop/b1").join(name);
    let cases: [(Harm, Reason, bool); 5] = [
        (
            |s| fs::write(s.bench.at("ns/shop/b1/a"), "eno\n").unwrap(),
            Reason::DigestMismatch,
            false,
        ),
        (
            |s| fs::write(s.bench.at("ns/shop/b1/a"), "longer\n").unwrap(),
            Reason::DigestMismatch,
            true,
        ),
        (
            |s| fs::remove_file(s.bench.at("ns/shop/b1/d/b")).unwrap(),
            Reason::DigestMismatch,
            true,
        ),
        (
            |s| fs::write(s.bench.at("ns/shop/b1/extra"), "x").unwrap(),
            Reason::DigestMismatch,
            true,
        ),
        (
            |s| fs::remove_file(s.bench.at("ns/shop/b1/holdfast.json")).unwrap(),
            Reason::SealInvalid,
            true,
        ),
    ];
    for (harm, reason, seen_by_restore) in cases {
        let stage = Stage::new();
        harm(&stage);
        refused(&stage.agent(&["verify"]).run(), reason);
        if seen_by_restore {
            refused(&stage.restore("touch $TARGET/touched").run(), reason);
            assert!(!stage.target.join("touched").exists() && !stage.mark().exists());
        }
    }
    let stage = Stage::new();
    let seal = at(&stage, "holdfast.json");
    let text = read(&seal);
    fs::write(&seal, text.replacen("\"bytes\": 8", "\"bytes\": 9", 1)).unwrap();
    refused(&stage.agent(&["verify"]).run(), Reason::SealInvalid);
    fs::write(&seal, text.replacen("\"v\": 1", "\"v\": 2", 1)).unwrap();
    refused(&stage.restore("true").run(), Reason::NewerFormat);
}

#[test]
fn only_the_backup_that_was_asked_for_is_restored() {
    let stage = Stage::new();
    refused(
        &stage.restore("true").env("HOLDFAST_DIGEST", "sha256:00").run(),
        Reason::DigestMismatch,
    );
    refused(
        &stage.restore("true").env("HOLDFAST_DIGEST", "").run(),
        Reason::BadConfiguration,
    );
    refused(
        &stage.restore("true").env("HOLDFAST_BACKUP_UID", "u-2").run(),
        Reason::PathOccupied,
    );
    refused(
        &stage.restore("true").env("HOLDFAST_REPOSITORY_ID", "other").run(),
        Reason::RepositoryMismatch,
    );
}

#[test]
fn a_purge_removes_its_own_and_tells_what_it_did_not() {
    let bench = Bench::new();
    bench.sealed();
    fs::create_dir_all(bench.at("ns/foreign")).unwrap();
    fs::write(bench.at("ns/foreign/data"), "x").unwrap();
    let list = r#"[{"uid":"u-1","path":"/ns/shop/b1","name":"b1"},{"uid":"u-2","path":"/ns/foreign","name":"foreign"},{"uid":"u-3","path":"/ns/never","name":"never"}]"#;
    let ended = bench.agent(&["purge"]).env("HOLDFAST_PURGE", list).run();
    refused(&ended, Reason::PathOccupied);
    assert_eq!(ended.result.purged, Some(2), "{ended:?}");
    // What went counts although another was refused: the eight bytes of the backup, and its seal.
    assert!(ended.result.bytes > Some(8), "{ended:?}");
    assert!(!bench.at("ns/shop").exists() && bench.at("ns/foreign/data").exists());
    let list = r#"[{"uid":"u-1","path":"/ns/shop/b1","name":"b1"}]"#;
    let again = bench.agent(&["purge"]).env("HOLDFAST_PURGE", list).run();
    assert_eq!((again.code, again.result.purged), (Some(0), Some(1)), "{again:?}");
    assert_eq!(again.result.bytes, Some(0), "{again:?}");
    assert!(again.output.contains("gone already"));
}

#[test]
fn a_purge_waits_for_a_backup_that_is_being_read() {
    let stage = Stage::new();
    let (started, go) = (stage.bench.beside("started"), stage.bench.beside("go"));
    let restore = stage
        .restore("touch $STARTED; until [ -e $GO ]; do sleep 0.05; done")
        .env("STARTED", &started)
        .env("GO", &go)
        .spawn();
    support::until("the restore runs", || started.exists());
    let list = r#"[{"uid":"u-1","path":"/ns/shop/b1","name":"b1"}]"#;
    let purge = || stage.bench.agent(&["purge"]).env("HOLDFAST_PURGE", list).run();
    let busy = purge();
    assert_eq!(
        (busy.code, busy.result.reason()),
        (Some(1), Some(Reason::PurgeFailed)),
        "{busy:?}"
    );
    fs::write(&go, "").unwrap();
    assert_eq!(restore.wait().code, Some(0));
    assert_eq!(purge().code, Some(0));
}
