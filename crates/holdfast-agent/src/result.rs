//! The answer: one line of JSON in the termination message and on standard output, and the exit code.

use crate::failure::Failure;
use crate::info::Info;
use crate::links::links_out;
use crate::log::say;
use crate::secrets;
use holdfast_api::agent::{AgentResult, Outcome, exit_code};
use holdfast_api::condition::Reason;
use holdfast_store::Seal;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// The result for a sealed backup.
pub(crate) fn of_seal(seal: &Seal, outcome: Outcome) -> AgentResult {
    let info = serde_json::from_value::<Info>(seal.info.clone()).unwrap_or_default();
    AgentResult {
        bytes: Some(seal.bytes),
        files: Some(seal.files.len() as u64),
        digest: Some(format!("sha256:{}", seal.checksum)),
        backup_log: info.backup_log,
        upload_total_size: info.upload_total_size,
        checkpoint: info.checkpoint,
        user_context: info.user_context,
        repository: Some(seal.repository.clone()),
        links_out: links_out(&seal.links),
        ..AgentResult::new(outcome)
    }
}

/// Refuses a result that does not fit, except for what is for people: the message and the names of links may go.
pub(crate) fn fitting(mut result: AgentResult) -> Result<AgentResult, Failure> {
    if result.encode().is_err() {
        result.message = None;
    }
    while result.encode().is_err() && result.links_out.as_mut().and_then(|links| links.first.pop()).is_some() {}
    match result.encode() {
        Ok(_) => Ok(result),
        Err(too_long) => Err(Failure::new(
            Reason::ResultTooLarge,
            format!("{too_long}: shorten userContext and checkpoint in backup.info"),
        )),
    }
}

/// Writes the answer and gives the exit code.
pub(crate) fn leave(outcome: Result<AgentResult, Failure>, termination_log: &Path) -> ExitCode {
    // Before anything is cut: a part of a secret would not be found.
    let hide = |text: String| secrets::known().hide(&text);
    let outcome = match outcome {
        Ok(result) => Ok(AgentResult {
            message: result.message.map(hide),
            ..result
        }),
        Err(failure) => Err(Failure {
            message: hide(failure.message),
            ..failure
        }),
    };
    let (result, code) = match outcome.and_then(fitting) {
        Ok(result) => (result, 0),
        Err(failure) => {
            say(&format!("failed ({}): {}", failure.reason.as_str(), failure.message));
            (failure.result(), exit_code(failure.reason))
        }
    };
    let line = shortest(result);
    let _ = writeln!(std::io::stdout().lock(), "{line}");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(termination_log)
        .and_then(|mut file| writeln!(file, "{line}"));
    if let Err(error) = written {
        say(&format!("cannot write {}: {error}", termination_log.display()));
    }
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// A failure's message may hold characters that JSON writes long: it gives way until the rest fits.
fn shortest(mut result: AgentResult) -> String {
    loop {
        match (result.encode(), &mut result.message) {
            (Ok(line), _) => return line,
            (Err(_), Some(message)) if !message.is_empty() => {
                let half = message.chars().count() / 2;
                *message = message.chars().take(half).collect();
            }
            (Err(_), _) => result = AgentResult::new(Outcome::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_api::agent::LinksOut;

    #[test]
    fn a_message_gives_way_and_a_context_does_not() {
        let mut result = AgentResult::new(Outcome::Sealed);
        result.message = Some("x".repeat(2000));
        assert_eq!(fitting(result.clone()).unwrap().message, None);
        let links = |first: Vec<String>| Some(LinksOut { count: 40, first });
        result.links_out = links(vec!["x".repeat(300); 4]);
        assert_eq!(
            fitting(result.clone()).unwrap().links_out,
            links(vec!["x".repeat(300); 3])
        );
        result.checkpoint = Some("x".repeat(2000));
        assert_eq!(fitting(result).unwrap_err().reason, Reason::ResultTooLarge);
    }

    #[test]
    fn every_failure_fits() {
        for text in ["\u{1}".repeat(3000), "\"".repeat(3000), "ä".repeat(3000), String::new()] {
            let line = shortest(Failure::new(Reason::RepositoryMismatch, text).result());
            let result = AgentResult::decode(&line).unwrap();
            assert_eq!(result.reason(), Some(Reason::RepositoryMismatch));
        }
    }
}
