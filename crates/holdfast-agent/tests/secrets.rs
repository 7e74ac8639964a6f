//! What the container has from Secrets, whatever a tool does with it; and commands of any length.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use holdfast_api::agent::{AgentResult, Outcome};
use holdfast_api::condition::Reason;
use serde_json::{Value, json};
use std::fs;
use support::{Agent, Bench, Ended, read};

/// A password with what JSON, shells and kubelet take for their own.
const CANARY: &str = r#"a"b\$(x)"#;

#[test]
fn credentials_do_not_reach_log_or_message() {
    let bench = Bench::new();
    let ended = bench
        .backup("echo using $DB_PASSWORD; exit 1")
        .env("DB_PASSWORD", "hunter22")
        .run();
    assert!(
        !ended.output.contains("hunter22") && ended.output.contains("using ******"),
        "{ended:?}"
    );
    assert!(!read(bench.at("ns/shop/.holdfast/b1/tool.log")).contains("hunter22"));
}

/// A tool whose password comes from a Secret under a name that tells nothing.
fn with_password(bench: &Bench, script: &str, password: &str) -> Agent {
    let assignment = json!({"command": ["sh", "-c", script], "secrets": {"variables": ["KEPT"]}});
    bench.assigned(&["run"], &assignment).env("KEPT", password)
}

/// Everything that the agent leaves for people.
fn told(bench: &Bench, ended: &Ended) -> String {
    let log = read(bench.at("ns/shop/.holdfast/b1/tool.log"));
    format!("{}\n{:?}\n{log}", ended.output, ended.result)
}

#[test]
fn a_password_is_masked_in_every_form_in_which_a_tool_prints_it() {
    let script = r#"
        printf '%s\n' "raw $KEPT"
        printf '%s' "$KEPT" | sed 's/["\\]/\\&/g; s/^/json "/; s/$/"/'; echo
        printf 'url %s\n' 'a%22b%5C%24%28x%29'
        printf 'lower %s\n' 'a%22b%5c$(x)'
        printf '%s' "$KEPT" | base64
        printf '%s\n' "$KEPT" | base64
        printf '%s' "root:$KEPT" | base64
        printf '%s' "postgres:$KEPT and more than a line of base64 has, so that it is broken" | base64
        printf 'in pieces '; for c in a '"' b '\' '$' '(' x ')'; do printf '%s' "$c"; sleep 0.01; done; echo
        echo "ends with $KEPT" >&2
        exit 1"#;
    let bench = Bench::new();
    let ended = with_password(&bench, script, CANARY).run();
    assert_eq!(ended.result.reason(), Some(Reason::ToolFailed), "{ended:?}");
    let told = told(&bench, &ended);
    let encoded = ["a%22b%5", "YSJiXCQoeC", "EiYlwkKHgp", "hImJcJCh4K"];
    for form in [CANARY, r#"a\"b\\"#].iter().chain(&encoded) {
        assert!(!told.contains(form), "{form} in {told}");
    }
    for line in [
        "raw ******",
        "json \"******\"",
        "url ******",
        "lower ******",
        "in pieces ******",
        "ends with ******",
    ] {
        assert!(told.contains(line), "{line} is not in {told}");
    }
    assert!(ended.result.message.unwrap().contains("ends with ******"));
}

#[test]
fn short_values_are_masked_between_word_borders_only() {
    let bench = Bench::new();
    let script = "echo \"xabc12 abc123 '$KEPT' user:$KEPT@host u%3A${KEPT}%40h $KEPT\"; echo a >$BACKUP_DIR/a";
    let ended = with_password(&bench, script, "abc12\n").run();
    assert_eq!(ended.result.outcome, Outcome::Sealed, "{ended:?}");
    let log = read(bench.at("ns/shop/.holdfast/b1/tool.log"));
    assert_eq!(
        log,
        "xabc12 abc123 '******\n' user:******\n@host u%3A******\n%40h ******\n\n"
    );
}

#[test]
fn values_with_several_lines_are_masked_whole_and_line_by_line() {
    let bench = Bench::new();
    let key = "-----BEGIN-----\nfirst-line-of-it\nab\nlast-line-of-it\n-----END-----\n";
    let ended = with_password(&bench, "echo \"$KEPT\"; echo one last-line-of-it; echo ab; exit 1", key).run();
    let told = told(&bench, &ended);
    assert!(
        !told.contains("line-of-it") && told.contains("******\n\none ******\nab"),
        "{told}"
    );
}

#[test]
fn mounted_secrets_are_masked_except_the_users_name() {
    let bench = Bench::new();
    let mounted = bench.beside("secret");
    // As kubelet lays it out.
    fs::create_dir_all(mounted.join("..data_1")).unwrap();
    for (name, value) in [
        ("username", "postgres"),
        ("uri", "db://only-here-4711"),
        ("pin", "4711\n"),
    ] {
        fs::write(mounted.join("..data_1").join(name), value).unwrap();
        std::os::unix::fs::symlink(format!("..data/{name}"), mounted.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("..data_1", mounted.join("..data")).unwrap();
    let single = bench.beside("one-file");
    fs::write(&single, "sub-path-value").unwrap();
    let files =
        json!([{"path": mounted, "except": ["username"], "needed": true}, {"path": single}, {"path": "/no/such"}]);
    let script = "cat $MOUNTED/username; echo; cat $MOUNTED/uri; echo; cat $MOUNTED/pin $SINGLE; exit 1";
    let ended = bench
        .assigned(
            &["run"],
            &json!({"command": ["sh", "-c", script], "secrets": {"files": files}}),
        )
        .env("MOUNTED", &mounted)
        .env("SINGLE", &single)
        .run();
    assert_eq!(
        read(bench.at("ns/shop/.holdfast/b1/tool.log")),
        "postgres\n******\n******\n******",
        "{ended:?}"
    );
}

#[test]
fn a_field_that_holds_a_secret_is_refused_by_name_and_nothing_in_it_is_rewritten() {
    let bench = Bench::new();
    let info = r#"{"manifests":{"backupTool":{"checkpoint":"at only-here-4711","uploadTotalSize":"12"},"userContext":{"url":"u:only-here-4711@h","gtid":"1"}}}"#;
    let script = format!("echo a >\"$BACKUP_DIR/only-here-4711\"; printf '%s' '{info}' >$BACKUP_DIR/backup.info");
    let ended = with_password(&bench, &script, "only-here-4711").run();
    assert_eq!(ended.result.outcome, Outcome::Sealed, "{ended:?}");
    let AgentResult {
        checkpoint,
        upload_total_size,
        user_context,
        message,
        ..
    } = ended.result;
    assert_eq!((checkpoint, upload_total_size.as_deref()), (None, Some("12")));
    assert_eq!(user_context.keys().collect::<Vec<_>>(), ["gtid"]);
    let message = message.unwrap();
    assert!(
        message.contains("checkpoint in") && message.contains("userContext.url in"),
        "{message}"
    );
    assert!(!ended.output.contains("only-here"), "{}", ended.output);
    // Data are the user's, and their names with them.
    assert_eq!(read(bench.at("ns/shop/b1/only-here-4711")), "a\n");
    assert_eq!(read(bench.at("ns/shop/b1/backup.info")), info);
    let seal: String = read(bench.at("ns/shop/b1/holdfast.json"))
        .lines()
        .filter(|line| !line.starts_with("sha256:"))
        .collect();
    let seal: Value = serde_json::from_str(&seal).unwrap();
    assert_eq!(seal["info"]["checkpoint"], Value::Null);
}

#[test]
fn what_users_write_reaches_tool_and_seal_as_it_is() {
    let bench = Bench::new();
    let script = "printf '%s' '$(KEPT)' \"$KEPT\" >$BACKUP_DIR/a; echo $((1 + 1)) $(echo x) >>$BACKUP_DIR/a";
    let recorded = json!({"tool": {"name": "t", "spec": {"backupCommands": ["sh", "-c", script], "env": [{"name": "DSN", "value": "$(KEPT) $$"}]}}});
    let ended = bench
        .assigned(
            &["run"],
            &json!({"record": recorded, "secrets": {"variables": ["KEPT"]}}),
        )
        .env("KEPT", CANARY)
        .run();
    assert_eq!(ended.result.outcome, Outcome::Sealed, "{ended:?}");
    // As kubelet expands the command of a container, which tools of the original count on.
    assert_eq!(read(bench.at("ns/shop/b1/a")), format!("{CANARY}{CANARY}2 x\n"));
    let seal = read(bench.at("ns/shop/b1/holdfast.json"));
    assert!(!seal.contains(r#"a\"b"#) && !seal.contains("a\"b"), "{seal}");
    assert!(seal.contains("$(KEPT) $$"), "{seal}");
}

#[test]
fn a_script_of_200_kb_runs_and_what_no_shell_reads_is_refused() {
    let bench = Bench::new();
    let long = format!(
        "# {}\nset -e\nprintf '%s' \"$0 $1\" >$BACKUP_DIR/a\n",
        "\"x\" ".repeat(50_000)
    );
    assert!(long.len() > 200_000);
    for shell in [&["sh", "-ec"][..], &["timeout", "60", "bash", "-c"]] {
        let arguments = [&["run", "--"], shell, &[&long, "zero", "one"]].concat();
        let bench = Bench::new();
        let ended = bench.agent(&arguments).run();
        assert_eq!(ended.result.outcome, Outcome::Sealed, "{ended:?}");
        assert_eq!(read(bench.at("ns/shop/b1/a")), "zero one");
    }
    let failing = bench.backup(&format!("{long}exit 7")).run();
    assert!(failing.result.message.unwrap().contains("code 7"));
    for command in [&["printf", &long][..], &["sh", "-c", &long, &long], &["sh", &long]] {
        let ended = Bench::new().agent(&[&["run", "--"], command].concat()).run();
        assert_eq!(ended.result.reason(), Some(Reason::BadConfiguration), "{ended:?}");
        let message = ended.result.message.unwrap();
        assert!(message.contains(&format!("{} bytes", long.len())), "{message}");
    }
}

#[test]
fn a_restore_masks_what_its_tool_prints_and_takes_a_long_script() {
    let bench = Bench::new();
    let digest = bench.sealed();
    let target = bench.beside("target");
    fs::create_dir(&target).unwrap();
    let long = "# \n".repeat(70_000);
    let restore = |end: &str| {
        let script = format!("{long}echo \"with $KEPT\"; cp $BACKUP_DIR/a $TARGET; {end}");
        bench
            .assigned(
                &["restore"],
                &json!({"command": [script], "secrets": {"variables": ["KEPT"]}}),
            )
            .env("KEPT", CANARY)
            .env("TARGET", &target)
            .env("HOLDFAST_DIGEST", &digest)
            .env("HOLDFAST_TARGETS", &target)
            .env("HOLDFAST_RESTORE_UID", "r-1")
            .run()
    };
    let failed = restore("echo \"without $KEPT\"; exit 1");
    let message = failed.result.message.unwrap();
    assert!(message.contains("without ******"), "{message}");
    assert!(!failed.output.contains("a\"b"), "{}", failed.output);
    let restored = restore("true");
    assert_eq!(restored.result.outcome, Outcome::Restored, "{restored:?}");
    assert_eq!(read(target.join("a")), "one\n");
}
