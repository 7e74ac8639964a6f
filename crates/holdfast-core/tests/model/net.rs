//! What lies between a service and the API server: answers that are lost, writes that come late or twice.

use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};
use serde_json::Value;

use crate::api::{Api, Refused, Request};

/// Chance, from a seed.
pub(crate) struct Chance(TestRng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.next_u64()).unwrap_or_default() % limit.max(1)
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Why a service got no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Refused(Refused),
    /// The write may have happened, or may still happen.
    Lost,
}

pub(crate) struct Net {
    pub(crate) api: Api,
    pub(crate) chance: Chance,
    /// Whether anything goes wrong at all.
    pub(crate) faults: bool,
    /// Writes of processes that froze, to be delivered when they wake up.
    pub(crate) late: Vec<Request>,
    /// What happened, to be read when a run fails.
    pub(crate) trace: Vec<String>,
}

impl Net {
    /// Sends a write for a service.
    pub(crate) fn send(&mut self, who: &str, request: &Request) -> Result<Value, Failure> {
        let fate = if self.faults { self.chance.below(16) } else { 15 };
        let (word, answer) = match fate {
            0 => ("lost before", Err(Failure::Lost)),
            1 | 2 => {
                let _ = self.api.send(request);
                ("lost after", Err(Failure::Lost))
            }
            3 | 4 => {
                self.late.push(request.clone());
                ("frozen", Err(Failure::Lost))
            }
            5 => {
                let answer = self.api.send(request).map_err(Failure::Refused);
                let _ = self.api.send(request);
                ("twice", answer)
            }
            _ => ("", self.api.send(request).map_err(Failure::Refused)),
        };
        self.note(&format!("{who}: {} {word} -> {}", brief(request), outcome(&answer)));
        answer
    }

    /// A process wakes up and sends what it was about to send.
    pub(crate) fn deliver(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let which = self.chance.below(self.late.len());
        let request = self.late.swap_remove(which);
        let answer = self.api.send(&request).map_err(Failure::Refused);
        self.note(&format!("late: {} -> {}", brief(&request), outcome(&answer)));
    }

    pub(crate) fn note(&mut self, line: &str) {
        self.trace.push(format!("{} {line}", self.api.now));
    }
}

fn outcome(answer: &Result<Value, Failure>) -> String {
    match answer {
        Ok(object) => format!("ok {}", object["metadata"]["resourceVersion"]),
        Err(failure) => format!("{failure:?}"),
    }
}

fn brief(request: &Request) -> String {
    let at = |object: &Value, place: &str| crate::api::text(object, place);
    match request {
        Request::Create(object) => format!("create {} {}", at(object, "/kind"), at(object, "/metadata/name")),
        Request::Status(object) => format!(
            "status {} {} {} ({})",
            at(object, "/kind"),
            at(object, "/metadata/name"),
            at(object, "/status/phase"),
            reasons(object),
        ),
        Request::Patch { of, change } => format!("patch {} {} {change}", of.kind, of.name),
        Request::Delete { of } => format!("delete {} {} {}", of.kind, of.name, of.uid),
    }
}

/// The reasons of all conditions.
fn reasons(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let reasons: Vec<String> = conditions.iter().map(|one| crate::api::text(one, "/reason")).collect();
    reasons.join(" ")
}
