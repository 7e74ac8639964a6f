//! Checks the closed lists of `holdfast-api` against the sources: their words are typed nowhere else, since a word that is
//! typed again is one that a change forgets, and each is used, since people wait for what is listed.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use holdfast_api::{
    condition::{ConditionType, Reason},
    event::{BusEventKind, SUBJECTS},
    metric,
};

use crate::check::{collect, is_test, report, without_tests};

/// Stands in the line, or in a comment before it, where a word means what Kubernetes means by it.
const KUBERNETES: &str = "Kubernetes' own word";
/// Crates whose sources are not looked at: the one that declares, and what only tests use.
const LEFT_OUT: &[&str] = &["holdfast-api", "holdfast-testkit"];

/// Fails if a source file, tests left out, holds a word of the lists as text, or none uses a word.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let words = words();
    let mut sources = Vec::new();
    collect(&root.join("crates"), &mut sources)?;
    let mut wrong = Vec::new();
    let mut unused = variants();
    for path in sources {
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        if is_test(&name) || LEFT_OUT.iter().any(|left| name.starts_with(&format!("crates/{left}/"))) {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        unused.retain(|variant| !uses(&text, variant));
        wrong.extend(
            found(&text, &words)
                .into_iter()
                .map(|(line, what)| format!("{name}:{line} types {what}")),
        );
    }
    wrong.extend(
        unused
            .into_iter()
            .map(|variant| format!("{variant} is listed and never given")),
    );
    report(&wrong)
}

/// How each word is written where it is used.
fn variants() -> Vec<String> {
    let reasons = Reason::ALL.iter().map(|reason| format!("Reason::{reason:?}"));
    // The builder in holdfast-api itself gives these to every kind.
    let summary = [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled];
    let types = ConditionType::ALL.iter().filter(|kind| !summary.contains(kind));
    let types = types.map(|kind| format!("ConditionType::{kind:?}"));
    let events = BusEventKind::ALL.iter().map(|kind| format!("BusEventKind::{kind:?}"));
    reasons.chain(types).chain(events).collect()
}

fn uses(text: &str, variant: &str) -> bool {
    let mut parts = text.split(variant).skip(1);
    parts.any(|rest| !rest.starts_with(|char: char| char.is_alphanumeric()))
}

/// Each word and what it is.
fn words() -> BTreeMap<String, &'static str> {
    let reasons = Reason::ALL.iter().map(|reason| (reason.as_str().to_owned(), "Reason"));
    let types = ConditionType::ALL
        .iter()
        .map(|kind| (kind.as_str().to_owned(), "ConditionType"));
    let events = BusEventKind::ALL
        .iter()
        .map(|kind| (format!("{}.{}", kind.kind(), kind.verb()), "BusEventKind"));
    let metrics = metric::ALL.iter().map(|metric| (metric.name.to_owned(), "metric"));
    reasons.chain(types).chain(events).chain(metrics).collect()
}

/// The lines of a file that hold a word as text, and what it should be instead.
fn found(text: &str, words: &BTreeMap<String, &'static str>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut excused_by_comment = false;
    for (number, line) in without_tests(text).lines().enumerate() {
        let comment = line.trim_start().starts_with("//");
        let excused = excused_by_comment || line.contains(KUBERNETES);
        excused_by_comment = comment && line.contains(KUBERNETES);
        if excused || comment {
            continue;
        }
        for literal in literals(line) {
            if let Some((kind, word)) = listed(literal, words) {
                found.push((
                    number + 1,
                    format!("\"{literal}\" where the {kind} {word} of holdfast-api belongs"),
                ));
            }
        }
    }
    found
}

/// The word of a list that a text holds, and which list that is: the word itself, any subject of the bus, or the full name
/// of a metric.
fn listed<'a>(literal: &str, words: &'a BTreeMap<String, &'static str>) -> Option<(&'static str, &'a str)> {
    let of_bus = literal.contains(SUBJECTS);
    let subject = literal.trim_start_matches(SUBJECTS).trim_start_matches('.');
    let full_metric = literal.starts_with("holdfast_");
    let is = |word: &str, kind: &str| match kind {
        "BusEventKind" => subject.starts_with(word),
        "metric" => literal == word || (full_metric && literal.ends_with(&format!("_{word}"))),
        _ => literal == word,
    };
    let found = words.iter().find(|(word, kind)| is(word, kind));
    found
        .map(|(word, kind)| (*kind, word.as_str()))
        .or(of_bus.then_some(("BusEventKind", "filter or subject")))
}

/// The texts between quotes in a line.
fn literals(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = None;
    let mut escaped = false;
    for (at, char) in line.char_indices() {
        match (char, start) {
            _ if escaped => escaped = false,
            ('\\', _) => escaped = true,
            ('"', None) if !line.get(..at).is_some_and(|before| before.ends_with('\'')) => start = Some(at + 1),
            ('"', Some(from)) => {
                found.extend(line.get(from..at));
                start = None;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_words_are_found_and_tests_comments_and_foreign_words_are_not() {
        let text = concat!(
            "let a = \"NameTaken\";\n",
            "// \"NameTaken\"\n",
            "let b = (\"x\\\"y\", '\"', \"Ready\");\n",
            "let c = \"Ready\"; // Kubernetes' own word: a pod's.\n",
            "bus.wake(&[\"backup.completed.>\", \"holdfast.v1.repo.ready.x\"]);\n",
            "counter(\"slots_total\");\n",
            "let d = \"the NameTaken reason\";\n",
            "format!(\"holdfast.v1.backup.{verb}\"); alert(\"holdfast_scheduler_slots_total\");\n",
            "let e = \"holdfast_slots\";\n",
            "#[cfg(test)]\nmod tests {\n    let e = \"NameTaken\";\n}\n",
        );
        assert!(uses("x(Reason::NotFound)", "Reason::NotFound") && !uses("Reason::NotFoundHere", "Reason::NotFound"));
        let lines: Vec<usize> = found(text, &words()).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 3, 5, 5, 6, 8, 8]);
    }
}
