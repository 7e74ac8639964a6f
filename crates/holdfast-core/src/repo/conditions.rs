//! The list of conditions while it is worked out, and what changed in it.

use holdfast_api::condition;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::RepoReason;

/// Conditions of one object, as they will be stored.
pub(super) struct Conditions {
    list: Vec<Condition>,
    generation: i64,
    now: Timestamp,
}

impl Conditions {
    pub(super) fn new(list: Vec<Condition>, generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            list,
            generation: generation.unwrap_or_default(),
            now,
        }
    }

    pub(super) fn yes(&mut self, kind: &str, reason: RepoReason, message: &str) {
        self.put(kind, "True", reason.as_str(), message);
    }

    pub(super) fn no(&mut self, kind: &str, reason: RepoReason, message: &str) {
        self.put(kind, "False", reason.as_str(), message);
    }

    pub(super) fn unknown(&mut self, kind: &str, reason: RepoReason, message: &str) {
        self.put(kind, "Unknown", reason.as_str(), message);
    }

    pub(super) fn put(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        condition::put(&mut self.list, kind, status, reason, message, self.generation, self.now);
    }

    pub(super) fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition.type_ != kind);
    }

    pub(super) fn holds(&self, kind: &str) -> bool {
        condition::holds(&self.list, kind)
    }

    pub(super) fn get(&self, kind: &str) -> Option<&Condition> {
        find(&self.list, kind)
    }

    pub(super) fn into_list(self) -> Vec<Condition> {
        self.list
    }
}

pub(super) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition has just become, for another reason than before, something else than True.
pub(super) fn turned_bad<'a>(before: &[Condition], after: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    let new = find(after, kind).filter(|condition| condition.status != "True")?;
    let old = find(before, kind);
    let same = old.is_some_and(|old| old.status == new.status && old.reason == new.reason);
    (!same).then_some(new)
}
