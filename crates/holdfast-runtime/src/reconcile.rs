//! Runs the one loop of [`holdfast_core::driver`] with real requests.

use std::{fmt::Debug, future::Future, time::Duration};

use holdfast_core::{
    decision::{Decision, Event, Intent, Notice, Write},
    driver::{Answer, Ask, Driver, Found, Standing, Written},
};
use holdfast_kube::WriteError;
use jiff::Timestamp;
use kube::Resource;

use crate::{Leader, Next, STAND_BY, Service, clock};

/// One pass over one object: what a service observes and does, while the loop is the same for all.
pub trait Pass: Send {
    /// The status of the object.
    type Status: Send;
    /// What can be read for it.
    type Read: Copy + Send;

    /// Decides by what is observed now. Touches nothing but memory.
    fn decide(&mut self, now: Timestamp) -> Decision<Self::Status, Self::Read>;

    /// Whether this process may do that now.
    fn standing(&mut self, intent: Intent) -> Standing;

    /// Reads from the API server.
    ///
    /// # Errors
    /// Where there was no answer: the pass is given up, and another one begins after a while.
    fn read(&mut self, read: Self::Read) -> impl Future<Output = Result<Found, WriteError>> + Send;

    /// Writes, and takes what was answered into what is observed.
    ///
    /// # Errors
    /// As [`Pass::read`].
    fn write(&mut self, write: Write<Self::Status>) -> impl Future<Output = Result<Written, WriteError>> + Send;

    /// Tells what is stored now.
    fn emit(&mut self, notices: Vec<Notice>) -> impl Future<Output = ()> + Send;

    /// Nothing is left to do about the object now.
    fn settled(&mut self) {}
}

/// Runs a pass to its end; says when to look again.
///
/// # Errors
///
/// Those of the pass.
pub async fn reconcile<P: Pass>(mut pass: P) -> Result<Next, WriteError> {
    let (mut driver, mut ask) = Driver::start();
    loop {
        let answer = match ask {
            Ask::Decide => Answer::Decision(pass.decide(clock::now())),
            Ask::Standing(intent) => Answer::Standing(pass.standing(intent)),
            Ask::Read(read) => Answer::Read(pass.read(read).await?),
            Ask::Write(write) => Answer::Written(pass.write(write).await?),
            Ask::Emit(notices) => {
                pass.emit(notices).await;
                Answer::Told
            }
            Ask::Sleep(sleep) => {
                if sleep.settled {
                    pass.settled();
                }
                return Ok(sleep.wake.map_or(Next::AwaitChange, Next::After));
            }
        };
        ask = driver.answer(answer);
    }
}

/// The standing of a service of which one replica leads. A lease cannot fence a write, so it is asked before each; who does
/// not lead now may lead in a moment, without a change that could be heard of.
pub fn leads(leader: &Leader) -> Standing {
    if leader.leads() {
        return Standing::Go;
    }
    match STAND_BY {
        Next::After(wait) => Standing::Later(wait),
        Next::AwaitChange => Standing::Later(Duration::from_secs(10)),
    }
}

/// Tells notices about an object: Events to people, messages to the other services.
pub async fn emit<K>(service: &Service, object: &K, notices: Vec<Notice>)
where
    K: Resource<DynamicType = ()> + Debug + Sync,
{
    for notice in notices {
        match notice {
            Notice::Event(Event { warning, reason, note }) => {
                service.events.publish(object, warning, reason.as_str(), &note).await;
            }
            Notice::Bus(event) => service.bus.publish(event),
        }
    }
}
