//! The one way in which all services of the model decide and write: the driver of the real ones, one ask at a time, so that
//! anything may happen between an ask and its answer.

use std::{collections::BTreeMap, fmt::Debug, mem, sync::Arc, time::Duration};

use holdfast_core::{
    decision::{Child, Decision, Intent, Kind, Seen, Target, Write},
    driver::{Answer, Ask, Driver, Found, Standing, Written},
};
use kube::{ResourceExt as _, core::object::HasStatus};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    api::{Guard, Key, Refused, Request, Stored, json, typed},
    net::{Failure, Net, Rule},
    process::{Site, Step, Task},
};

/// More decisions than any pass takes.
const DECISIONS: u32 = 60;
/// How long who does not lead waits.
const STAND_BY: Duration = Duration::from_secs(10);

/// What a pass is at, and how it sees the cluster: by the caches, and as the API server answered in this pass.
pub(crate) struct On<'a, K> {
    /// The copy that is decided on.
    pub(crate) about: &'a mut Arc<K>,
    seen: &'a mut Sight,
    pub(crate) net: &'a mut Net,
    pub(crate) site: &'a mut Site,
}

/// In which state of the API server a thing was read in this pass.
#[derive(Default)]
struct Sight {
    all: Option<usize>,
    one: BTreeMap<Key, usize>,
}

/// An object that can be read and written.
pub(crate) trait Object: Stored + HasStatus + Debug + Serialize {}
impl<K: Stored + HasStatus + Debug + Serialize> Object for K {}

impl<K: Object> On<'_, K> {
    fn looked<O: Stored>(&self, name: &str) -> Option<usize> {
        let key = (O::kind(&()).into_owned(), name.to_owned());
        let all = self.seen.all.map(|all| {
            if self.net.without(Rule::LiveRead) {
                self.site.cached::<O>()
            } else {
                all
            }
        });
        self.seen.one.get(&key).copied().or(all)
    }

    pub(crate) fn get<O: Stored>(&self, name: &str) -> Option<O> {
        let revision = self.looked::<O>(name).unwrap_or_else(|| self.site.cached::<O>());
        self.net.api.get_at(revision, name)
    }

    pub(crate) fn seen<O: Stored>(&self, name: &str) -> Seen<O> {
        let object = self.get(name).map(Arc::new);
        if self.looked::<O>(name).is_some() {
            Seen::live(object)
        } else {
            Seen::cached(object)
        }
    }

    /// All objects of a kind, and whether the API server listed them just now. `what` tells lists apart.
    pub(crate) fn list<O: Stored>(&self, what: &str) -> (Vec<O>, bool) {
        let looked = self.looked::<O>(what);
        let revision = looked.unwrap_or_else(|| self.site.cached::<O>());
        (self.net.api.list_at(revision), looked.is_some())
    }

    /// Reads something from the API server.
    pub(crate) fn look<O: Stored>(&mut self, name: &str) {
        let key = (O::kind(&()).into_owned(), name.to_owned());
        self.seen.one.insert(key, self.site.live::<O>(self.net));
    }

    /// Forgets what was read.
    pub(crate) fn forget(&mut self) {
        *self.seen = Sight::default();
    }

    /// Reads everything from the API server.
    pub(crate) fn look_at_all(&mut self) -> Found {
        self.seen.all = Some(self.net.api.revision());
        self.seen.one.clear();
        self.look_at_it()
    }

    /// Reads the object itself.
    pub(crate) fn look_at_it(&mut self) -> Found {
        self.find(self.site.live::<K>(self.net))
    }

    fn find(&mut self, revision: usize) -> Found {
        let found = self.net.api.get_at::<K>(revision, &self.about.name_any());
        match found.filter(|found| found.uid() == self.about.uid()) {
            Some(found) => {
                *self.about = Arc::new(found);
                Found::Known
            }
            None => Found::Gone,
        }
    }

    /// Takes in what was answered to a write, and reads afresh what was refused.
    pub(crate) fn took(&mut self, request: &Request, answer: Result<Value, Refused>) -> Written {
        let key = request.key();
        let own = key.0 == K::kind(&()) && key.1 == self.about.name_any();
        match answer {
            Ok(stored) if own => {
                *self.about = Arc::new(typed(&stored));
                Written::Stored
            }
            Ok(_) => {
                self.seen.one.insert(key, self.net.api.revision());
                Written::Stored
            }
            Err(_) if own => match self.find(self.net.api.revision()) {
                Found::Known => Written::Stale,
                Found::Gone => Written::Gone,
            },
            Err(_) => {
                self.seen.one.insert(key, self.net.api.revision());
                Written::Stale
            }
        }
    }
}

/// What a service decides and observes about one object.
pub(crate) trait Pass {
    type Object: Object;
    type Read: Copy;

    fn decide(&mut self, on: &mut On<'_, Self::Object>) -> Decision<<Self::Object as HasStatus>::Status, Self::Read>;

    fn read(&mut self, on: &mut On<'_, Self::Object>, read: Self::Read) -> Found;

    /// Takes in what was answered to a write.
    fn wrote(&mut self, on: &mut On<'_, Self::Object>, request: &Request, answer: Result<Value, Refused>) -> Written {
        on.took(request, answer)
    }

    /// Whether this process may act now.
    fn standing(&mut self, on: &mut On<'_, Self::Object>, _: Intent) -> Standing {
        if on.site.leads(on.net) || on.net.without(Rule::Lead) {
            return Standing::Go;
        }
        on.net.reach("who did not lead stood by");
        Standing::Later(STAND_BY)
    }
}

/// One pass over one object.
struct Actor<P: Pass> {
    pass: P,
    about: Arc<P::Object>,
    seen: Sight,
    driver: Driver<<P::Object as HasStatus>::Status, P::Read>,
    ask: Ask<<P::Object as HasStatus>::Status, P::Read>,
    decided: u32,
    /// Whether it led when it last asked, and whether it has not written since.
    leading: bool,
    led: bool,
}

/// Begins a pass over this copy.
pub(crate) fn begin<P: Pass + 'static>(name: &str, about: Arc<P::Object>, pass: P) -> (String, Box<dyn Task>) {
    let (driver, ask) = Driver::start();
    let name = format!("{name} {}", about.name_any());
    let actor = Actor {
        pass,
        about,
        seen: Sight::default(),
        driver,
        ask,
        decided: 0,
        leading: false,
        led: false,
    };
    (name, Box::new(actor))
}

impl<P: Pass> Task for Actor<P> {
    fn step(&mut self, net: &mut Net, site: &mut Site) -> Step {
        let ask = mem::replace(&mut self.ask, Ask::Decide);
        let on = &mut On {
            about: &mut self.about,
            seen: &mut self.seen,
            net,
            site,
        };
        let answer = match ask {
            Ask::Decide => {
                self.decided += 1;
                if self.decided > DECISIONS {
                    // Who reads what is old may well read it for ever: that is not what is to be shown.
                    if !on.net.without(Rule::LiveRead) {
                        on.net.breaks(format!("a pass does not come to rest: {:?}", on.about));
                    }
                    return Step::Lost;
                }
                Answer::Decision(self.pass.decide(on))
            }
            Ask::Standing(intent) => {
                let led = on.site.leads(on.net);
                if mem::replace(&mut self.leading, led) && !led {
                    on.net.reach("a lease was lost in the middle of a pass");
                }
                self.led = led;
                Answer::Standing(self.pass.standing(on, intent))
            }
            Ask::Read(_) if on.net.faults && on.net.chance.one_in(24) => return Step::Lost,
            Ask::Read(read) => Answer::Read(self.pass.read(on, read)),
            Ask::Write(write) => {
                if !mem::take(&mut self.led) {
                    on.net.breaks(format!("{:?} writes and does not lead", on.site.service));
                }
                let request = request(&**on.about, write);
                let answer = match on.net.send(on.site.service, &request) {
                    Ok(stored) => Ok(stored),
                    // What is to be deleted and is gone is no error.
                    Err(Failure::Refused(Refused::NotFound)) if matches!(request, Request::Delete { .. }) => {
                        Ok(Value::Null)
                    }
                    Err(Failure::Refused(refused)) => Err(refused),
                    Err(Failure::Lost) => return Step::Lost,
                };
                Answer::Written(self.pass.wrote(on, &request, answer))
            }
            Ask::Emit(_) => Answer::Told,
            Ask::Sleep(sleep) => return Step::Rests(sleep.wake),
        };
        self.ask = self.driver.answer(answer);
        Step::Goes
    }
}

/// The one apply: what is asked of the API server, guarded as the real one is.
fn request<K: Object>(object: &K, write: Write<K::Status>) -> Request {
    match write {
        Write::Metadata(metadata) => Request::Patch {
            of: Guard::of(object),
            change: json!({ "metadata": metadata }),
        },
        Write::Status(status) => {
            let mut wanted = object.clone();
            *wanted.status_mut() = Some(*status);
            Request::Status(json(&wanted))
        }
        Write::Create(child) => Request::Create(match &child {
            Child::Backup(object) => json(object),
            Child::Job(object) => json(object),
            Child::Claim(object) => json(object),
            Child::Secret(object) => json(object),
            Child::StorageClass(object) => json(object),
        }),
        Write::Patch(target, change) => {
            assert!(
                target.resource_version.is_some(),
                "nothing guards a patch of {target:?}"
            );
            Request::Patch {
                of: guard(&target),
                change,
            }
        }
        Write::Delete(target) => Request::Delete { of: guard(&target) },
    }
}

/// What a write to another object rests on.
pub(crate) fn guard(target: &Target) -> Guard {
    let kind = match target.kind {
        Kind::Backup => "Backup",
        Kind::Job => "Job",
        Kind::Claim => "PersistentVolumeClaim",
        Kind::Pod => "Pod",
        Kind::Secret => "Secret",
        Kind::StorageClass => "StorageClass",
        Kind::StatefulSet => "StatefulSet",
        Kind::Deployment => "Deployment",
    };
    Guard {
        kind: kind.to_owned(),
        name: target.name.clone(),
        uid: target.uid.clone(),
        version: target.resource_version.clone(),
    }
}
