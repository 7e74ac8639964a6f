//! Who goes first: all executors see all Backups, and each gives way to those that rank before it.
//!
//! A rank is only a courtesy. A wrong list of peers costs a conflict or a delay; a dead executor's work is taken over
//! after a few seconds.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::discovery::v1::EndpointSlice;

/// How long each rank waits for the one before it.
const STEP: Duration = Duration::from_secs(4);
/// No rank waits longer than this many steps.
const LAST: u32 = 3;
/// After this long, an intent that was not heard of again is forgotten.
const FORGET: Duration = Duration::from_mins(2);

/// What an executor would do, and since when it sees that it is to be done.
pub(crate) struct TurnTaking {
    me: String,
    intents: Mutex<HashMap<String, Intent>>,
}

struct Intent {
    what: String,
    since: Instant,
    heard: Instant,
}

impl TurnTaking {
    /// For the executor in the pod of that name.
    pub(crate) fn new(me: String) -> Self {
        Self {
            me,
            intents: Mutex::default(),
        }
    }

    /// How long to wait before doing `what` about the object of that uid; none when it is this executor's turn.
    pub(crate) fn wait(&self, uid: &str, what: &str, peers: &[Arc<EndpointSlice>]) -> Option<Duration> {
        let rank = rank(uid, &self.me, &ready(peers));
        let turn = STEP * rank.min(LAST);
        let now = Instant::now();
        let mut intents = self.intents.lock().unwrap_or_else(PoisonError::into_inner);
        intents.retain(|_, intent| now.duration_since(intent.heard) < FORGET);
        let intent = intents.entry(uid.to_owned()).or_insert_with(|| Intent {
            what: what.to_owned(),
            since: now,
            heard: now,
        });
        intent.heard = now;
        if intent.what != what {
            // Somebody has done something meanwhile: what is wanted now is new.
            what.clone_into(&mut intent.what);
            intent.since = now;
        }
        turn.checked_sub(now.duration_since(intent.since))
            .filter(|left| !left.is_zero())
    }

    /// Nothing is to be done about an object any more.
    pub(crate) fn settled(&self, uid: &str) {
        self.intents.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// The pods behind a Service that are ready.
fn ready(slices: &[Arc<EndpointSlice>]) -> Vec<&str> {
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter());
    let ready = endpoints.filter(|endpoint| {
        endpoint
            .conditions
            .as_ref()
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true)
    });
    ready
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.as_deref())
        .collect()
}

/// The rank of `me` by rendezvous hashing: each peer's weight for an object is the hash of both, so that peers that
/// come and go move only their own share.
fn rank(uid: &str, me: &str, peers: &[&str]) -> u32 {
    let mine = weight(uid, me);
    let before = peers
        .iter()
        .filter(|peer| **peer != me && weight(uid, peer) > mine)
        .count();
    u32::try_from(before).unwrap_or(LAST)
}

/// FNV-1a: the same in every build, unlike the standard library's hashers.
struct Fnv(u64);

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        // The last bytes hardly reach the upper bits, by which weights are compared; this spreads them.
        let mut mixed = self.0;
        mixed ^= mixed >> 33;
        mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^= mixed >> 33;
        mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

fn weight(uid: &str, peer: &str) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    hasher.write(uid.as_bytes());
    hasher.write(b"/");
    hasher.write(peer.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slices(ready: &[(&str, bool)]) -> Vec<Arc<EndpointSlice>> {
        let endpoints: Vec<_> = ready
            .iter()
            .map(|(name, ready)| {
                json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready},
                    "targetRef": {"kind": "Pod", "name": name}})
            })
            .collect();
        let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": endpoints});
        vec![Arc::new(serde_json::from_value(slice).expect("a slice"))]
    }

    #[test]
    fn every_object_has_each_rank_once_and_shares_are_even() {
        let peers = ["e-a", "e-b", "e-c"];
        let mut first = HashMap::new();
        for number in 0..3000 {
            let uid = format!("uid-{number}");
            let mut ranks: Vec<u32> = peers.iter().map(|me| rank(&uid, me, &peers)).collect();
            let leader = peers[ranks.iter().position(|rank| *rank == 0).expect("a first one")];
            *first.entry(leader).or_insert(0) += 1;
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2]);
        }
        assert!(first.values().all(|count| (800..1200).contains(count)), "{first:?}");
    }

    #[test]
    fn a_peer_that_leaves_moves_only_its_own_share() {
        let all = ["e-a", "e-b", "e-c"];
        for number in 0..500 {
            let uid = format!("uid-{number}");
            if rank(&uid, "e-a", &all) == 0 {
                assert_eq!(rank(&uid, "e-a", &["e-a", "e-b"]), 0);
            }
        }
    }

    #[test]
    fn who_is_not_ready_is_not_waited_for() {
        let turns = TurnTaking::new("e-a".to_owned());
        let uid = (0..100)
            .map(|number| format!("uid-{number}"))
            .find(|uid| rank(uid, "e-a", &["e-a", "e-b"]) == 1);
        let uid = uid.expect("one that e-b goes first for");
        assert!(
            turns
                .wait(&uid, "v1", &slices(&[("e-a", true), ("e-b", false)]))
                .is_none()
        );
        let left = turns
            .wait(&uid, "v2", &slices(&[("e-a", true), ("e-b", true)]))
            .expect("a wait");
        assert!(left <= STEP && left > STEP / 2);
        // An executor that is not in the list yet counts itself in.
        assert!(turns.wait(&uid, "v2", &slices(&[("e-b", true)])).is_some());
    }
}
