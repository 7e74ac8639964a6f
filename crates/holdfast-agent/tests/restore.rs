//! `verify`, `restore` and `purge` with the real binary.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_api::agent::{Outcome, exit_code};
use holdfast_api::condition::Reason;
use std::fs;
use std::path::PathBuf;
use support::{Agent, Bench, Ended, read};

const MARK: &str = "user.holdfast.dirty";

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

    /// The mark as earlier versions set it, and as it is where there are no attributes.
    fn mark_file(&self) -> PathBuf {
        self.target.join(".holdfast-dirty")
    }

    /// What the mark says, none without one.
    fn mark(&self) -> Option<String> {
        let mut buffer = vec![0; 4096];
        match rustix::fs::getxattr(&self.target, MARK, &mut buffer) {
            Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn set_mark(&self, restore: &str) {
        let mark = format!(r#"{{"v":1,"restoreUid":"{restore}","backup":"b1","backupUid":"u-1","since":""}}"#);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&self.target, MARK, mark.as_bytes(), flags).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.target).unwrap();
        let mut names: Vec<_> = names
            .map(|one| one.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
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
    let go = stage.bench.beside("go");
    let script = "cp -r $BACKUP_DIR/d $TARGET/ && until [ -e $GO ]; do sleep 0.05; done";
    let restore = stage.restore(script).env("GO", &go).spawn();
    support::until("the tool has written", || stage.target.join("d/b").exists());
    let mark = stage.mark().unwrap();
    assert!(mark.contains("r-1") && mark.contains("b1"), "{mark}");
    fs::write(&go, "").unwrap();
    let restored = restore.wait();
    assert_eq!(
        (restored.code, restored.result.outcome, restored.result.dirty),
        (Some(0), Outcome::Restored, false),
        "{restored:?}"
    );
    assert_eq!(read(stage.target.join("d/b")), "two\n");
    assert_eq!(stage.mark(), None);
}

#[test]
fn a_tool_that_wants_an_empty_directory_finds_one() {
    let stage = Stage::new();
    fs::remove_dir(stage.target.join("lost+found")).unwrap();
    let script = r#"[ -z "$(ls -A $TARGET)" ] && cp $BACKUP_DIR/a $TARGET/"#;
    // Also after an earlier attempt was cut off before it wrote.
    stage.set_mark("r-1");
    let restored = stage.restore(script).run();
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!((stage.names(), stage.mark()), (vec!["a".to_owned()], None));
}

#[test]
fn a_mark_counts_only_for_its_restore_and_one_that_takes_it_over() {
    let overwrite = "cp $BACKUP_DIR/a $TARGET/data";
    for (mark, takes_over, may) in [
        ("r-0", "", false),
        ("r-0", "r-8,r-9", false),
        ("", "", false),
        ("r-1", "", true),
        ("r-0", "r-8,r-0", true),
    ] {
        for legacy in [false, true] {
            let stage = Stage::new();
            fs::write(stage.target.join("data"), "precious").unwrap();
            if legacy {
                fs::write(
                    stage.mark_file(),
                    format!(r#"{{"v":1,"restoreUid":"{mark}","backup":"b1","backupUid":"u-1","since":""}}"#),
                )
                .unwrap();
            } else {
                stage.set_mark(mark);
            }
            let run = |agent: Agent| agent.env("HOLDFAST_TAKES_OVER", takes_over).run();
            let (checked, ended) = (run(stage.agent(&["verify"])), run(stage.restore(overwrite)));
            if may {
                assert_eq!(
                    (checked.code, ended.code),
                    (Some(0), Some(0)),
                    "{mark} {takes_over} {legacy}: {ended:?}"
                );
                assert_eq!(
                    (stage.names(), stage.mark()),
                    (vec!["data".to_owned(), "lost+found".to_owned()], None)
                );
            } else {
                refused(&checked, Reason::TargetHasData);
                refused(&ended, Reason::TargetHasData);
                assert_eq!(read(stage.target.join("data")), "precious");
            }
        }
    }
}

#[test]
fn where_there_are_no_attributes_the_mark_is_a_file() {
    let stage = Stage::new();
    let none: Option<&str> = None;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("ramfs"), &stage.target, Some("ramfs"), flags, none).unwrap();
    let failed = stage
        .restore("cp $TARGET/.holdfast-dirty $TARGET/half && rm $TARGET/.holdfast-dirty; exit 3")
        .run();
    let marked = stage.mark_file().exists();
    let again = stage.restore("mv $TARGET/half $TARGET/seen").run();
    let (names, seen) = (stage.names(), fs::read_to_string(stage.target.join("seen")));
    nix::mount::umount(&stage.target).unwrap();
    assert!(failed.result.dirty && marked, "{failed:?}");
    assert_eq!((again.code, names), (Some(0), vec!["seen".to_owned()]), "{again:?}");
    assert!(seen.unwrap().contains("r-1"));
}

#[test]
fn a_failed_restore_leaves_its_mark_and_may_be_tried_again() {
    let stage = Stage::new();
    let failed = stage.restore("echo half >$TARGET/half; exit 3").run();
    refused(&failed, Reason::ToolFailed);
    assert!(failed.result.dirty && stage.mark().is_some());
    let emptied = stage
        .restore("rm -r $TARGET/* $TARGET/.[!.]*; echo half >$TARGET/half; exit 3")
        .run();
    assert!(emptied.result.dirty && stage.mark().is_some(), "{emptied:?}");
    let again = stage.restore("rm $TARGET/half; cp $BACKUP_DIR/a $TARGET/").run();
    assert_eq!((again.code, again.result.dirty), (Some(0), false), "{again:?}");
    assert_eq!(stage.mark(), None);
}

#[test]
fn a_target_with_data_is_left_alone_unless_it_may_be_replaced() {
    let stage = Stage::new();
    fs::write(stage.target.join("data"), "precious").unwrap();
    refused(&stage.agent(&["verify"]).run(), Reason::TargetHasData);
    refused(&stage.restore("rm -r $TARGET/data").run(), Reason::TargetHasData);
    assert_eq!(read(stage.target.join("data")), "precious");
    assert_eq!(stage.mark(), None);
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
    assert_eq!(stage.names(), ["a", "lost+found"]);
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
            assert!(!stage.target.join("touched").exists() && stage.mark().is_none());
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
