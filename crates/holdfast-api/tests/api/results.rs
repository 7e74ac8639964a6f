//! The agent's answer must survive the termination message, which Kubernetes cuts without a word.

use std::collections::BTreeMap;

use holdfast_api::{
    BackupLogStatus,
    agent::{AgentResult, Outcome, RESULT_MAX, TooLong, Unreadable},
    condition::Reason,
    text::printable,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use proptest::{collection::btree_map, option, prelude::*, sample::select};

const OUTCOMES: &[Outcome] = &[
    Outcome::Sealed,
    Outcome::Verified,
    Outcome::Restored,
    Outcome::Purged,
    Outcome::Failed,
];

prop_compose! {
    /// A time in whole seconds, as Kubernetes writes it.
    fn time()(second in -62_135_596_800_i64..253_402_300_800) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }
}

prop_compose! {
    fn result()(
        (outcome, reason) in (select(OUTCOMES), option::of(select(Reason::ALL))),
        message in option::of(any::<String>()),
        (bytes, files, purged) in any::<(Option<u64>, Option<u64>, Option<u32>)>(),
        digest in option::of("sha256:[0-9a-f]{64}"),
        (start, stop) in (option::of(time()), option::of(time())),
        (upload_total_size, checkpoint) in any::<(Option<String>, Option<String>)>(),
        user_context in btree_map(any::<String>(), ".{0,100}", 0..12),
        repository in option::of("[0-9a-f-]{36}"),
        dirty in any::<bool>(),
    ) -> AgentResult {
        AgentResult {
            reason: reason.map(|reason| reason.as_str().to_owned()),
            message,
            bytes,
            files,
            digest,
            backup_log: (start.is_some() || stop.is_some()).then(|| BackupLogStatus {
                start_time: start.clone(),
                stop_time: stop.clone(),
            }),
            upload_total_size,
            checkpoint,
            user_context,
            repository,
            purged,
            dirty,
            ..AgentResult::new(outcome)
        }
    }
}

proptest! {
    #[test]
    fn what_is_accepted_fits_and_reads_back_the_same(result in result(), log in ".{0,80}") {
        let whole = serde_json::to_string(&result).unwrap();
        match result.encode() {
            Ok(line) => {
                prop_assert!(line.len() <= RESULT_MAX);
                prop_assert!(!line.contains('\n'));
                prop_assert_eq!(&AgentResult::decode(&line).unwrap(), &result);
                // A log may stand before it, and the writer ends its line.
                prop_assert_eq!(AgentResult::decode(&format!("{log}\n{line}\n")).unwrap(), result);
            }
            Err(TooLong(bytes)) => {
                prop_assert!(bytes > RESULT_MAX);
                prop_assert_eq!(bytes, whole.len());
            }
        }
    }

    #[test]
    fn every_failure_fits_with_its_reason_and_the_beginning_of_its_message(
        reason in select(Reason::ALL),
        message in "(?s:.{0,40})|[\u{1}\"\\\\]{0,700}|\\PC{0,1500}",
    ) {
        let failed = AgentResult::failed(reason, &message);
        let line = failed.encode().unwrap();
        let read = AgentResult::decode(&line).unwrap();
        prop_assert_eq!(read.reason(), Some(reason));
        prop_assert_eq!(read.outcome, Outcome::Failed);
        let kept = read.message.unwrap();
        let told = printable(&message);
        prop_assert!(told.starts_with(&kept));
        // What is short to read is told whole.
        prop_assert!(told.len() > 150 || kept == told);
    }

    #[test]
    fn no_text_is_taken_for_a_result_by_accident(text in any::<String>(), version in 2_u32..) {
        prop_assert!(AgentResult::decode(&text).is_err());
        let foreign = AgentResult { v: version, ..AgentResult::new(Outcome::Sealed) };
        let line = serde_json::to_string(&foreign).unwrap();
        prop_assert!(matches!(AgentResult::decode(&line), Err(Unreadable::Version(found)) if found == version));
    }
}

#[test]
fn the_limit_is_1024_bytes_to_the_byte() {
    let of = |length: usize| AgentResult {
        checkpoint: Some("x".repeat(length)),
        ..AgentResult::new(Outcome::Sealed)
    };
    let frame = of(0).encode().unwrap().len();
    assert_eq!(of(1024 - frame).encode().unwrap().len(), 1024);
    let refused = of(1025 - frame).encode().unwrap_err();
    assert_eq!(refused, TooLong(1025));
    assert_eq!(refused.to_string(), "the result has 1025 bytes and may have 1024");
}

#[test]
fn the_form_is_the_one_that_both_sides_agreed_on() {
    let result = AgentResult {
        bytes: Some(u64::MAX),
        files: Some(2),
        digest: Some("sha256:00".to_owned()),
        backup_log: Some(BackupLogStatus {
            start_time: Some(Time(Timestamp::UNIX_EPOCH)),
            stop_time: None,
        }),
        upload_total_size: Some("1Gi".to_owned()),
        checkpoint: Some("c".to_owned()),
        user_context: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        repository: Some("r".to_owned()),
        ..AgentResult::new(Outcome::Sealed)
    };
    assert_eq!(
        result.encode().unwrap(),
        r#"{"v":1,"outcome":"Sealed","bytes":18446744073709551615,"files":2,"digest":"sha256:00","backupLog":{"startTime":"1970-01-01T00:00:00Z"},"uploadTotalSize":"1Gi","checkpoint":"c","userContext":{"a":"b"},"repository":"r"}"#
    );
    let failed = AgentResult {
        purged: Some(3),
        dirty: true,
        ..AgentResult::failed(Reason::DigestMismatch, "m")
    };
    assert_eq!(
        failed.encode().unwrap(),
        r#"{"v":1,"outcome":"Failed","reason":"DigestMismatch","message":"m","purged":3,"dirty":true}"#
    );
}
