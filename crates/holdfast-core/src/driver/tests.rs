use std::time::Duration;

use holdfast_api::condition::Reason;
use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::decision::Event;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Read;

type Deciding = Decision<(), Read>;

fn metadata() -> Write<()> {
    Write::Metadata(json!({}))
}

fn event() -> Event {
    Event::normal(Reason::Completed, "over")
}

/// A pass that has been asked to decide and decides so.
fn decided(decision: Deciding) -> (Driver<(), Read>, Ask<(), Read>) {
    let (mut driver, ask) = Driver::start();
    assert_eq!(ask, Ask::Decide);
    let ask = driver.answer(Answer::Decision(decision));
    (driver, ask)
}

fn asleep(wake: Option<u64>, settled: bool) -> Ask<(), Read> {
    Ask::Sleep(Sleep {
        wake: wake.map(Duration::from_secs),
        settled,
    })
}

#[test]
fn what_needs_no_act_asks_nobody_for_leave() {
    assert_eq!(decided(Decision::wait()).1, asleep(None, true));
    let later = Decision::after(SignedDuration::from_secs(9));
    assert_eq!(decided(later).1, asleep(Some(9), true));
}

#[test]
fn who_may_not_act_comes_back() {
    for decision in [Decision::read(Read), Decision::write(metadata())] {
        let (mut driver, ask) = decided(decision);
        assert!(matches!(ask, Ask::Standing(_)), "{ask:?}");
        let ask = driver.answer(Answer::Standing(Standing::Later(Duration::from_secs(10))));
        assert_eq!(ask, asleep(Some(10), false));
    }
}

#[test]
fn leave_is_asked_before_the_first_act_and_before_every_write() {
    let (mut driver, ask) = decided(Decision::read(Read));
    assert_eq!(ask, Ask::Standing(Intent::Read));
    assert_eq!(driver.answer(Answer::Standing(Standing::Go)), Ask::Read(Read));
    assert_eq!(driver.answer(Answer::Read(Found::Known)), Ask::Decide);
    // Another read of the same pass needs none.
    assert_eq!(driver.answer(Answer::Decision(Decision::read(Read))), Ask::Read(Read));
    assert_eq!(driver.answer(Answer::Read(Found::Known)), Ask::Decide);
    for _ in 0..2 {
        let ask = driver.answer(Answer::Decision(Decision::write(metadata())));
        assert_eq!(ask, Ask::Standing(Intent::Metadata));
        assert_eq!(driver.answer(Answer::Standing(Standing::Go)), Ask::Write(metadata()));
        assert_eq!(driver.answer(Answer::Written(Written::Stored)), Ask::Decide);
    }
}

#[test]
fn it_is_told_once_it_is_stored_and_never_otherwise() {
    let decision = || Decision::write(metadata()).with(event()).then_await_change();
    let writing = || {
        let (mut driver, _) = decided(decision());
        driver.answer(Answer::Standing(Standing::Go));
        driver
    };
    let mut driver = writing();
    let ask = driver.answer(Answer::Written(Written::Stored));
    assert_eq!(ask, Ask::Emit(vec![event().into()]));
    assert_eq!(driver.answer(Answer::Told), asleep(None, true));
    for (written, next) in [
        (Written::Stale, Ask::Decide),
        (Written::Refused, Ask::Decide),
        (Written::Gone, asleep(None, true)),
    ] {
        assert_eq!(writing().answer(Answer::Written(written)), next);
    }
}

#[test]
fn what_is_gone_needs_no_further_look() {
    let (mut driver, _) = decided(Decision::read(Read));
    driver.answer(Answer::Standing(Standing::Go));
    assert_eq!(driver.answer(Answer::Read(Found::Gone)), asleep(None, true));
}

#[test]
fn a_pass_that_does_not_come_to_rest_lets_others_have_their_turn() {
    let (mut driver, mut ask) = Driver::<(), Read>::start();
    for _ in 0..10 * STEPS {
        let answer = match ask {
            Ask::Decide => Answer::Decision(Decision::write(metadata())),
            Ask::Standing(_) => Answer::Standing(Standing::Go),
            Ask::Write(_) => Answer::Written(Written::Stale),
            Ask::Sleep(sleep) => {
                assert_eq!((sleep.wake, sleep.settled), (Some(Duration::from_secs(1)), false));
                return;
            }
            Ask::Read(_) | Ask::Emit(_) => panic!("nobody asked for that"),
        };
        ask = driver.answer(answer);
    }
    panic!("it never ends");
}

#[test]
fn an_answer_to_something_else_begins_anew() {
    let (mut driver, _) = Driver::<(), Read>::start();
    assert_eq!(driver.answer(Answer::Told), Ask::Decide);
    assert_eq!(driver.answer(Answer::Decision(Decision::wait())), asleep(None, true));
    assert_eq!(driver.answer(Answer::Read(Found::Known)), asleep(None, true));
}
