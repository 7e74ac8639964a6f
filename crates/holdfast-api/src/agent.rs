//! What the agent answers: one line of JSON in the termination message, and an exit code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BackupLogStatus, condition::Reason, text::printable};

/// The largest result, in bytes. Kubernetes keeps 4 KiB of a container's message and 12 KiB of a pod's,
/// and cuts what is longer without a word.
pub const RESULT_MAX: usize = 1024;

/// The tool failed; the Job may try again.
pub const EXIT_TOOL_FAILED: i32 = 1;
/// First of the exit codes after which trying again cannot help.
pub const EXIT_PERMANENT_FIRST: i32 = 80;
/// Last of them.
pub const EXIT_PERMANENT_LAST: i32 = 99;

/// Whether trying again cannot help after this exit code.
pub const fn is_permanent(code: i32) -> bool {
    code >= EXIT_PERMANENT_FIRST && code <= EXIT_PERMANENT_LAST
}

/// The exit code for a reason; [`EXIT_TOOL_FAILED`] for those that may pass.
pub fn exit_code(reason: Reason) -> i32 {
    reason.exit_code().unwrap_or(EXIT_TOOL_FAILED)
}

/// How an agent's work ended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Outcome {
    /// The backup is sealed.
    Sealed,
    /// The seal and all digests are right.
    Verified,
    /// The volumes are restored.
    Restored,
    /// The files are gone.
    Purged,
    /// None of these.
    #[default]
    Failed,
}

/// The result of an agent's work.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentResult {
    /// Version of this form: 1.
    pub v: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, as a [`Reason`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Sum of the files' sizes; after a purge, of those that were removed, also by one that failed; after a failed run,
    /// of what it had written and is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Number of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// `sha256:` and the checksum over all files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// From `backup.info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_log: Option<BackupLogStatus>,
    /// From `backup.info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_total_size: Option<String>,
    /// From `backup.info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// From `backup.info`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_context: BTreeMap<String, String>,
    /// Identity of the repository's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Symbolic links in the backup that lead out of it: what they point to is not part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links_out: Option<LinksOut>,
    /// How many backups were removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<u32>,
    /// Whether target volumes were left half written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
}

/// Links that lead out of a backup.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinksOut {
    /// How many there are.
    pub count: u64,
    /// The first of them, as `path -> target`, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
}

/// The result does not fit.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the result has {0} bytes and may have {RESULT_MAX}")]
pub struct TooLong(pub usize);

/// No result can be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// There is no text.
    #[error("the agent left no result")]
    Missing,
    /// The text is not a result.
    #[error("the agent's result cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The result is of another version.
    #[error("the agent's result has version {0}, and this one reads version 1")]
    Version(u32),
}

impl AgentResult {
    /// A result of that outcome.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            v: 1,
            outcome,
            ..Self::default()
        }
    }

    /// A failure, with a message cut so that the result fits.
    pub fn failed(reason: Reason, message: &str) -> Self {
        let mut failed = Self {
            reason: Some(reason.as_str().to_owned()),
            message: Some(printable(message).chars().take(300).collect()),
            ..Self::new(Outcome::Failed)
        };
        // JSON writes some characters as six bytes.
        while failed.encode().is_err() && failed.message.as_mut().and_then(String::pop).is_some() {}
        failed
    }

    /// The result as one line.
    pub fn encode(&self) -> Result<String, TooLong> {
        let text = serde_json::to_string(self).unwrap_or_default();
        if text.len() > RESULT_MAX {
            Err(TooLong(text.len()))
        } else {
            Ok(text)
        }
    }

    /// Reads the last line of a termination message; logs may stand before it.
    pub fn decode(message: &str) -> Result<Self, Unreadable> {
        let line = message
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .ok_or(Unreadable::Missing)?;
        let result: Self = serde_json::from_str(line.trim())?;
        if result.v == 1 {
            Ok(result)
        } else {
            Err(Unreadable::Version(result.v))
        }
    }

    /// The reason, if it is one of ours.
    pub fn reason(&self) -> Option<Reason> {
        Reason::parse(self.reason.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_as_they_went() {
        let mut result = AgentResult::new(Outcome::Sealed);
        result.bytes = Some(42);
        result.user_context.insert("a".to_owned(), "b".to_owned());
        let text = format!("log\n{}\n\n", result.encode().unwrap());
        assert_eq!(AgentResult::decode(&text).unwrap(), result);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut result = AgentResult::new(Outcome::Sealed);
        result.checkpoint = Some("x".repeat(1100));
        assert!(result.encode().is_err());
        assert!(
            AgentResult::failed(Reason::ToolFailed, &"ä".repeat(5000))
                .encode()
                .is_ok()
        );
    }

    #[test]
    fn foreign_text_is_no_result() {
        for text in [
            "",
            "\n \n",
            "panic!",
            "{}",
            r#"{"v":2,"outcome":"Sealed"}"#,
            r#"{"v":1,"outcome":"Nonsense"}"#,
        ] {
            assert!(AgentResult::decode(text).is_err(), "{text}");
        }
    }

    /// Runbooks and alerts name these numbers: a test that has to be changed here is a promise that is broken.
    #[test]
    fn permanent_reasons_have_permanent_codes_of_their_own() {
        let pinned = [
            (80, Reason::BadConfiguration),
            (81, Reason::PathOccupied),
            (82, Reason::AlreadyDeleted),
            (83, Reason::EmptyOutput),
            (84, Reason::ResultTooLarge),
            (85, Reason::RepositoryMismatch),
            (86, Reason::NewerFormat),
            (87, Reason::SealInvalid),
            (88, Reason::DigestMismatch),
            (89, Reason::TargetHasData),
        ];
        let mut coded: Vec<(i32, Reason)> = Reason::ALL
            .iter()
            .filter_map(|reason| Some((reason.exit_code()?, *reason)))
            .collect();
        coded.sort_unstable();
        assert_eq!(coded, pinned);
        assert!(coded.iter().all(|(code, _)| is_permanent(*code)));
        assert_eq!(exit_code(Reason::PathOccupied), 81);
        assert_eq!(exit_code(Reason::ToolFailed), EXIT_TOOL_FAILED);
    }
}
