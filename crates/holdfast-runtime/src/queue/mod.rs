//! A queue of objects to look at: each at most once in it, never run twice at the same time, delayed when asked.

mod work;

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::{sync::Notify, time::Instant};

pub use work::work;

use crate::{Retry, watch::Key};

/// When an object is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something about it changes.
    AwaitChange,
    /// After this time, or when something changes.
    After(Duration),
}

/// Keys that wait for a run. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct Queue {
    name: &'static str,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// In order of arrival, with the time they became due.
    ready: VecDeque<(Key, Instant)>,
    waiting: HashSet<Key>,
    /// Being run; true if the key was pushed meanwhile.
    running: HashMap<Key, bool>,
    delayed: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
    /// The pauses of each key that failed, by the kind of its last failure.
    retries: HashMap<Key, (Retry, ExponentialBackoff)>,
}

impl Queue {
    /// An empty queue; the name is its label in metrics.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            state: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// Label in metrics.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Asks for a run now: after the present one, if the key is being run.
    pub fn push(&self, key: Key) {
        self.lock().make_ready(key);
        self.changed.notify_one();
    }

    /// Asks for a run after `delay`; of several delays of one key the shortest counts, and a run that begins earlier
    /// clears them, because it decides anew when to come back.
    pub fn push_after(&self, key: Key, delay: Duration) {
        if delay.is_zero() {
            return self.push(key);
        }
        self.lock().delay(key, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// Keys that wait and are due.
    pub fn depth(&self) -> usize {
        self.lock().ready.len()
    }

    /// Takes the next due key, waiting for one; marks it as being run.
    async fn take(&self) -> (Key, Duration) {
        loop {
            let next_due = {
                let mut state = self.lock();
                let now = Instant::now();
                state.promote(now);
                if let Some((key, since)) = state.take_ready() {
                    return (key, now.saturating_duration_since(since));
                }
                state.delayed.first().map(|(due, _)| *due)
            };
            match next_due {
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Ends the run of a key; `retry` is set if it failed.
    fn finish(&self, key: &Key, next: Next, retry: Option<Retry>) {
        let mut state = self.lock();
        let again = state.running.remove(key).unwrap_or(false);
        let delay = match retry {
            None => {
                state.retries.remove(key);
                match next {
                    Next::AwaitChange => None,
                    Next::After(delay) => Some(delay),
                }
            }
            Some(Retry::Never) => {
                state.retries.remove(key);
                None
            }
            Some(kind) => Some(state.back_off(key, kind)),
        };
        if let Some(delay) = delay {
            state.delay(key.clone(), Instant::now() + delay);
        }
        // A change during a run that failed waits for the back-off too, or a hot object would not be held back.
        if again && matches!(retry, None | Some(Retry::Never)) {
            state.make_ready(key.clone());
        }
        drop(state);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn make_ready(&mut self, key: Key) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = true;
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back((key, Instant::now()));
        }
    }

    fn delay(&mut self, key: Key, due: Instant) {
        match self.due.get(&key) {
            Some(earlier) if *earlier <= due => return,
            Some(later) => {
                self.delayed.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), due);
        self.delayed.insert((due, key));
    }

    fn promote(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, key)) = self.delayed.pop_first() else {
                break;
            };
            self.due.remove(&key);
            self.make_ready(key);
        }
    }

    fn take_ready(&mut self) -> Option<(Key, Instant)> {
        let (key, since) = self.ready.pop_front()?;
        self.waiting.remove(&key);
        if let Some(due) = self.due.remove(&key) {
            self.delayed.remove(&(due, key.clone()));
        }
        self.running.insert(key.clone(), false);
        Some((key, since))
    }

    fn back_off(&mut self, key: &Key, kind: Retry) -> Duration {
        let (least, most) = match kind {
            Retry::Conflict => (Duration::from_millis(200), Duration::from_secs(5)),
            Retry::Transient | Retry::Never => (Duration::from_millis(500), Duration::from_mins(1)),
        };
        let pauses = || {
            let builder = ExponentialBuilder::new().with_min_delay(least).with_max_delay(most);
            builder.with_factor(2.0).with_jitter().without_max_times().build()
        };
        let known = self.retries.entry(key.clone()).or_insert_with(|| (kind, pauses()));
        if known.0 != kind {
            *known = (kind, pauses());
        }
        known.1.next().unwrap_or(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_those_of_the_last_kind_of_failure() {
        let (mut state, key) = (State::default(), Key::new("ns", "a"));
        let mut many = |kind| (0..12).map(|_| state.back_off(&key, kind)).max().unwrap();
        assert!(many(Retry::Conflict) < Duration::from_secs(15));
        assert!(many(Retry::Transient) >= Duration::from_mins(1));
        assert!(many(Retry::Conflict) < Duration::from_secs(15));
    }
}
