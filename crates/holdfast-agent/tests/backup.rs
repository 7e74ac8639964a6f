//! `run` and `report` with the real binary: what is sealed, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_api::agent::{Outcome, exit_code};
use holdfast_api::condition::Reason;
use std::fs;
use std::process::Command;
use support::{Bench, Ended, read};

fn refused(ended: &Ended, reason: Reason) {
    assert_eq!(ended.result.outcome, Outcome::Failed, "{ended:?}");
    assert_eq!(ended.result.reason(), Some(reason), "{ended:?}");
    assert_eq!(ended.code, Some(exit_code(reason)), "{ended:?}");
}

#[test]
fn a_backup_is_sealed_and_its_checksum_is_that_of_sha256sum() {
    let bench = Bench::new();
    let ended = bench
        .backup(r#"mkdir -p "$BACKUP_DIR/d e"; echo one >$BACKUP_DIR/a; echo two >"$BACKUP_DIR/d e/b"; ln -s a $BACKUP_DIR/l; echo '{"manifests":{"backupLog":{"stopTime":"2026-01-02T03:04:05Z"},"userContext":{"k":"v"}}}' >$BACKUP_DIR/backup.info; echo done"#)
        .run();
    assert_eq!(
        (ended.code, ended.result.outcome),
        (Some(0), Outcome::Sealed),
        "{ended:?}"
    );
    assert_eq!(ended.result.files, Some(3));
    assert_eq!(ended.result.user_context["k"], "v");
    assert!(ended.result.backup_log.as_ref().unwrap().stop_time.is_some());
    assert_eq!(ended.result.repository.as_deref().map(str::len), Some(32));
    let sum = Command::new("sh")
        .args(["-c", "find . -type f ! -path ./holdfast.json -printf '%P\\0' | xargs -0 sha256sum | LC_ALL=C sort | sha256sum | cut -d' ' -f1"])
        .current_dir(bench.at("ns/shop/b1"))
        .output()
        .unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(ended.result.digest.unwrap(), format!("sha256:{}", sum.trim()));
    assert!(read(bench.at("ns/shop/.holdfast/b1/tool.log")).contains("done"));
    let seal = read(bench.at("ns/shop/b1/holdfast.json"));
    assert!(seal.contains("backupPolicyName") && seal.lines().last().unwrap().starts_with("sha256:"));
    let mut own = Command::new("sh");
    own.args(["-c", "head -n -1 holdfast.json | sha256sum | cut -d' ' -f1"]);
    let own = own.current_dir(bench.at("ns/shop/b1")).output().unwrap();
    assert!(seal.contains(&format!("sha256:{}", String::from_utf8(own.stdout).unwrap().trim())));
}

#[test]
fn a_sealed_run_is_reported_and_not_run_again() {
    let bench = Bench::new();
    let digest = bench.sealed();
    let again = bench
        .backup("echo changed >$BACKUP_DIR/a")
        .env("HOLDFAST_POD_UID", "pod-2")
        .run();
    assert_eq!(
        (again.code, again.result.digest.as_ref()),
        (Some(0), Some(&digest)),
        "{again:?}"
    );
    let report = bench.agent(&["report"]).run();
    assert_eq!(
        (report.code, report.result.digest.as_ref()),
        (Some(0), Some(&digest)),
        "{report:?}"
    );
    assert_eq!(read(bench.at("ns/shop/b1/a")), "one\n");
    refused(
        &bench.agent(&["report"]).env("HOLDFAST_RUN", "2").run(),
        Reason::SealInvalid,
    );
}

#[test]
fn an_empty_output_fails_unless_it_may_be_empty() {
    for script in [
        "true",
        ": >$BACKUP_DIR/a",
        "rm -rf $BACKUP_DIR",
        "echo '{}' >$BACKUP_DIR/backup.info",
    ] {
        let bench = Bench::new();
        refused(&bench.backup(script).run(), Reason::EmptyOutput);
        assert!(!bench.at("ns/shop/b1/holdfast.json").exists());
        let allowed = bench.backup(script).env("HOLDFAST_ALLOW_EMPTY", "true").run();
        assert_eq!(allowed.result.outcome, Outcome::Sealed, "{script}: {allowed:?}");
    }
}

#[test]
fn what_cannot_be_hashed_is_no_damaged_backup() {
    let bench = Bench::new();
    let deep = "d/".repeat(260);
    let ended = bench
        .backup(&format!("mkdir -p $BACKUP_DIR/{deep} && echo a >$BACKUP_DIR/{deep}a"))
        .run();
    refused(&ended, Reason::ToolFailed);
    assert_eq!(ended.code, Some(1), "it may be tried again");
    let message = ended.result.message.unwrap();
    assert!(message.contains("nested deeper than 256"), "{message}");
}

#[test]
fn a_failing_tool_says_why_and_may_be_tried_again() {
    let bench = Bench::new();
    let ended = bench
        .backup("echo half >$BACKUP_DIR/a; echo no such host >&2; exit 7")
        .run();
    refused(&ended, Reason::ToolFailed);
    assert_eq!(ended.code, Some(1));
    let message = ended.result.message.unwrap();
    assert!(
        message.contains("code 7") && message.contains("no such host"),
        "{message}"
    );
    // What it wrote is gone and told; claim and log stay.
    assert_eq!(ended.result.bytes, Some(5));
    assert_eq!(fs::read_dir(bench.at("ns/shop/b1")).unwrap().count(), 0);
    let beside = bench.at("ns/shop/.holdfast/b1");
    assert!(beside.join("claim.json").exists());
    assert!(read(beside.join("tool.log")).contains("no such host"));
    refused(&bench.agent(&["report"]).run(), Reason::SealInvalid);
    let again = bench.backup("ls $BACKUP_DIR; echo b >$BACKUP_DIR/b").run();
    assert_eq!(again.result.files, Some(1), "leftovers are wiped: {again:?}");
}

#[test]
fn what_a_later_run_wrote_stays_beside_what_is_sealed() {
    let bench = Bench::new();
    bench.sealed();
    let failed = bench
        .backup("echo half >$BACKUP_DIR/half; exit 7")
        .env("HOLDFAST_RUN", "2")
        .run();
    refused(&failed, Reason::ToolFailed);
    assert_eq!(failed.result.bytes, None);
    assert_eq!(read(bench.at("ns/shop/b1/a")), "one\n");
    assert_eq!(bench.agent(&["report"]).run().code, Some(0));
}

#[test]
fn links_that_lead_out_of_the_backup_are_told() {
    let bench = Bench::new();
    let script =
        "mkdir $BACKUP_DIR/d; echo a >$BACKUP_DIR/a; ln -s ../a $BACKUP_DIR/d/in; ln -s /wal $BACKUP_DIR/d/out";
    let ended = bench.backup(script).run();
    let links = ended.result.links_out.clone().unwrap();
    assert_eq!(
        (links.count, links.first),
        (1, vec!["d/out -> /wal".to_owned()]),
        "{ended:?}"
    );
    assert_eq!(bench.agent(&["report"]).run().result.links_out, ended.result.links_out);
}

#[test]
fn a_tool_that_is_not_in_its_image_is_not_tried_again() {
    let bench = Bench::new();
    let ended = bench.agent(&["run", "--", "/no/such/tool", "secret-argument"]).run();
    refused(&ended, Reason::BadConfiguration);
    assert!(ended.output.contains("`tool`") && !ended.output.contains("secret-argument"));
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let bench = Bench::new();
    for (name, value) in [
        ("HOLDFAST_BACKUP_UID", ""),
        ("HOLDFAST_POD_UID", ""),
        ("HOLDFAST_PATH", "/ns/../../etc"),
        ("HOLDFAST_PATH", "/ns/.holdfast/b1"),
        ("HOLDFAST_ASSIGNMENT", "/no/such/file"),
    ] {
        refused(
            &bench.backup("touch $BACKUP_DIR/a").env(name, value).run(),
            Reason::BadConfiguration,
        );
    }
    refused(&bench.agent(&["dance"]).run(), Reason::BadConfiguration);
    assert_eq!(fs::read_dir(&bench.root).unwrap().count(), 0);
}

#[test]
fn another_backups_directory_is_left_alone() {
    let bench = Bench::new();
    bench.sealed();
    let other = bench
        .backup("echo mine >$BACKUP_DIR/a")
        .env("HOLDFAST_BACKUP_UID", "u-2")
        .run();
    refused(&other, Reason::PathOccupied);
    assert_eq!(read(bench.at("ns/shop/b1/a")), "one\n");
}

#[test]
fn a_tombed_backup_does_not_come_back() {
    let bench = Bench::new();
    bench.sealed();
    let purged = bench
        .agent(&["purge"])
        .env("HOLDFAST_PURGE", r#"[{"uid":"u-1","path":"/ns/shop/b1","name":"b1"}]"#)
        .run();
    assert_eq!((purged.code, purged.result.purged), (Some(0), Some(1)), "{purged:?}");
    refused(&bench.backup("echo late >$BACKUP_DIR/a").run(), Reason::AlreadyDeleted);
    refused(&bench.agent(&["report"]).run(), Reason::AlreadyDeleted);
    assert!(!bench.at("ns").exists());
}

#[test]
fn another_or_emptied_volume_is_not_written_to() {
    let bench = Bench::new();
    let ended = bench
        .backup("echo a >$BACKUP_DIR/a")
        .env("HOLDFAST_REPOSITORY_ID", "0123")
        .run();
    refused(&ended, Reason::RepositoryMismatch);
    bench.sealed();
    let other = bench
        .backup("echo a >$BACKUP_DIR/a")
        .env("HOLDFAST_REPOSITORY_ID", "0123")
        .run();
    refused(&other, Reason::RepositoryMismatch);
}

#[test]
fn a_link_in_place_of_a_directory_is_not_followed() {
    let bench = Bench::new();
    fs::create_dir_all(bench.beside("outside/b1")).unwrap();
    fs::write(bench.beside("outside/b1/kept"), "kept").unwrap();
    fs::create_dir_all(bench.at("ns")).unwrap();
    std::os::unix::fs::symlink(bench.beside("outside"), bench.at("ns/shop")).unwrap();
    refused(&bench.backup("echo a >$BACKUP_DIR/a").run(), Reason::PathOccupied);
    fs::remove_file(bench.at("ns/shop")).unwrap();
    let script = format!(
        "rm -rf $BACKUP_DIR; ln -s {} $BACKUP_DIR",
        bench.beside("outside/b1").display()
    );
    refused(&bench.backup(&script).run(), Reason::PathOccupied);
    assert_eq!(read(bench.beside("outside/b1/kept")), "kept");
    assert_eq!(fs::read_dir(bench.beside("outside/b1")).unwrap().count(), 1);
}

#[test]
fn a_stolen_claim_is_not_sealed() {
    // By another attempt of the same backup, which may come right; by another backup, which never does.
    for (theft, reason) in [
        ("s/pod-1/pod-9/", Reason::ToolFailed),
        (r#"s/"uid": *"[^"]*"/"uid":"other"/"#, Reason::PathOccupied),
    ] {
        let bench = Bench::new();
        let script = format!("echo a >$BACKUP_DIR/a; sed -i '{theft}' $BACKUP_DIR/../.holdfast/b1/claim.json");
        refused(&bench.backup(&script).run(), reason);
        assert!(!bench.at("ns/shop/b1/holdfast.json").exists(), "{theft}");
    }
}

#[test]
fn what_a_tool_says_too_long_or_wrong_is_handled() {
    let bench = Bench::new();
    let huge = bench
        .backup(r"echo a >$BACKUP_DIR/a; head -c 200000 /dev/zero | tr '\0' x >$BACKUP_DIR/backup.info")
        .run();
    assert_eq!(huge.result.outcome, Outcome::Sealed, "{huge:?}");
    assert!(huge.result.message.unwrap().contains("backup.info was ignored"));
    let bench = Bench::new();
    let long = bench.backup(r#"echo a >$BACKUP_DIR/a; v=$(head -c 2000 /dev/zero | tr '\0' x); echo "{\"manifests\":{\"userContext\":{\"k\":\"$v\"}}}" >$BACKUP_DIR/backup.info"#).run();
    refused(&long, Reason::ResultTooLarge);
    assert!(!bench.at("ns/shop/b1/holdfast.json").exists());
    let bench = Bench::new();
    let forged = bench
        .backup("echo a >$BACKUP_DIR/a; echo {} >$BACKUP_DIR/holdfast.json")
        .run();
    refused(&forged, Reason::BadConfiguration);
}

#[test]
fn a_full_volume_is_called_full() {
    use nix::mount::{MsFlags, mount, umount};
    let bench = Bench::new();
    mount(
        Some("tmpfs"),
        &bench.root,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=2m"),
    )
    .unwrap();
    let tool_fails = bench.backup("head -c 8000000 /dev/zero >$BACKUP_DIR/a").run();
    let seal_fails = bench.backup("head -c 8000000 /dev/zero >$BACKUP_DIR/a; exit 0").run();
    umount(&bench.root).unwrap();
    for ended in [tool_fails, seal_fails] {
        refused(&ended, Reason::RepositoryFull);
        assert!(ended.result.message.unwrap().starts_with("repository volume is full"));
    }
}

#[test]
fn a_later_run_adds_to_what_was_sealed() {
    let bench = Bench::new();
    let first = bench.sealed();
    let second = bench
        .backup("echo more >$BACKUP_DIR/more")
        .env("HOLDFAST_RUN", "2")
        .run();
    assert_eq!((second.code, second.result.files), (Some(0), Some(3)), "{second:?}");
    assert_ne!(second.result.digest, Some(first));
    refused(&bench.backup("true").run(), Reason::PathOccupied);
}
