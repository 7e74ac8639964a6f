//! The one loop of all services, without I/O: it asks for one thing after the other and is fed what came of it.
//!
//! ```text
//! Decide ─> nothing to do ─────────────────────────────> Sleep
//!    ▲ └──> Standing ─> not now ───────────────────────> Sleep
//!    │          ├─> Read ──> gone ─────────────────────> Sleep
//!    │          │     └────> found ─┐
//!    │          └─> Write ─> gone ──┼──────────────────> Sleep
//!    │                ├────> stale or refused ─┐
//!    │                └────> stored ─> Emit ───┼───────> Sleep
//!    └──────────────────────────────┴──────────┘
//! ```
//! Who runs it does the I/O and drops it where a request fails without an answer: the next pass begins anew. Whether it may
//! act (it leads, or it is its turn) is asked before the first act and before every write.

use std::time::Duration;

use crate::decision::{Decision, Intent, Next, Notice, Write};

/// More steps than any pass takes. Who needs more goes on a moment later, so that others have their turn.
pub const STEPS: u32 = 200;
/// That moment.
const A_MOMENT: Duration = Duration::from_secs(1);

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask<S, R> {
    /// Decide by what is observed now, from memory alone; answer with [`Answer::Decision`].
    Decide,
    /// Say whether this may be done now; answer with [`Answer::Standing`].
    Standing(Intent),
    /// Read this from the API server; answer with [`Answer::Read`].
    Read(R),
    /// Write this; answer with [`Answer::Written`].
    Write(Write<S>),
    /// Tell this; answer with [`Answer::Told`].
    Emit(Vec<Notice>),
    /// The pass is over.
    Sleep(Sleep),
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// When to come back if nothing changes; none: only when something changes.
    pub wake: Option<Duration>,
    /// Whether nothing is left to do now, so that nobody needs to take a turn.
    pub settled: bool,
}

/// What came of what was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer<S, R> {
    /// This was decided.
    Decision(Decision<S, R>),
    /// Whether it may be done.
    Standing(Standing),
    /// Whether there is still something to decide about.
    Read(Found),
    /// What became of the write.
    Written(Written),
    /// It was told.
    Told,
}

/// Whether this process may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads, or it is its turn.
    Go,
    /// Not now; ask again after this time.
    Later(Duration),
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// What was asked for, also that it does not exist.
    Known,
    /// That the object itself is gone: nothing is left to decide.
    Gone,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is stored, and what was answered is part of what is observed.
    Stored,
    /// Somebody else was first: the next decision has to rest on what is there now.
    Stale,
    /// The API server will not have it: the next decision knows why.
    Refused,
    /// The object itself is gone: nothing is left to decide.
    Gone,
}

enum State<S, R> {
    Deciding,
    /// About to do this, and then to tell, and then to go on.
    Asking(Act<S, R>),
    Reading,
    Writing(Vec<Notice>, Next<R>),
    Telling(Next<R>),
    Over,
}

enum Act<S, R> {
    Read(R),
    Write(Box<Write<S>>, Vec<Notice>, Next<R>),
}

/// One pass over one object. `S` is the status of the object, `R` what can be read for it.
pub struct Driver<S, R> {
    state: State<S, R>,
    steps: u32,
    /// Whether it has been allowed to act in this pass.
    acting: bool,
}

impl<S, R: Copy> Driver<S, R> {
    /// A pass, and the first thing to do in it.
    pub fn start() -> (Self, Ask<S, R>) {
        let driver = Self {
            state: State::Deciding,
            steps: 0,
            acting: false,
        };
        (driver, Ask::Decide)
    }

    /// Takes an answer and says what to do next. An answer to something else than was asked begins anew.
    pub fn answer(&mut self, answer: Answer<S, R>) -> Ask<S, R> {
        match (std::mem::replace(&mut self.state, State::Deciding), answer) {
            (State::Deciding, Answer::Decision(decision)) => self.decided(decision),
            (State::Asking(act), Answer::Standing(Standing::Go)) => self.act(act),
            (State::Asking(_), Answer::Standing(Standing::Later(wait))) => self.sleep(Some(wait), false),
            (State::Reading, Answer::Read(Found::Gone)) | (State::Writing(..), Answer::Written(Written::Gone)) => {
                self.sleep(None, true)
            }
            (State::Writing(notices, next), Answer::Written(Written::Stored)) => self.tell(notices, next),
            (State::Telling(next), Answer::Told) => self.go_on(next),
            (State::Over, _) => self.sleep(None, true),
            _ => self.decide(),
        }
    }

    fn decided(&mut self, decision: Decision<S, R>) -> Ask<S, R> {
        let Decision { write, notices, next } = decision;
        match (write, next) {
            (Some(write), next) => {
                let intent = write.intent();
                self.state = State::Asking(Act::Write(Box::new(write), notices, next));
                Ask::Standing(intent)
            }
            (None, Next::Read(read)) if self.acting => self.act(Act::Read(read)),
            (None, Next::Read(read)) => {
                self.state = State::Asking(Act::Read(read));
                Ask::Standing(Intent::Read)
            }
            (None, next) => self.tell(notices, next),
        }
    }

    fn act(&mut self, act: Act<S, R>) -> Ask<S, R> {
        self.acting = true;
        match act {
            Act::Read(read) => {
                self.state = State::Reading;
                Ask::Read(read)
            }
            Act::Write(write, notices, next) => {
                self.state = State::Writing(notices, next);
                Ask::Write(*write)
            }
        }
    }

    fn tell(&mut self, notices: Vec<Notice>, next: Next<R>) -> Ask<S, R> {
        if notices.is_empty() {
            return self.go_on(next);
        }
        self.state = State::Telling(next);
        Ask::Emit(notices)
    }

    fn go_on(&mut self, next: Next<R>) -> Ask<S, R> {
        match next {
            Next::AwaitChange => self.sleep(None, true),
            Next::After(wait) => self.sleep(Some(wait), true),
            Next::Again => self.decide(),
            Next::Read(read) => self.act(Act::Read(read)),
        }
    }

    fn decide(&mut self) -> Ask<S, R> {
        self.steps += 1;
        if self.steps >= STEPS {
            return self.sleep(Some(A_MOMENT), false);
        }
        self.state = State::Deciding;
        Ask::Decide
    }

    fn sleep(&mut self, wake: Option<Duration>, settled: bool) -> Ask<S, R> {
        self.state = State::Over;
        Ask::Sleep(Sleep { wake, settled })
    }
}

#[cfg(test)]
mod tests;
