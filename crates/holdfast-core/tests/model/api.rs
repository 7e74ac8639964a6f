//! A small API server: versions, guards, finalizers, owners. It remembers every state that it was in, so that a cache
//! may show any earlier one.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Kind and name. There is one namespace.
pub(crate) type Key = (String, String);

/// What the API server says when it does not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Conflict,
    Exists,
    NotFound,
}

/// A write.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Create(Value),
    /// The whole object; only its status is taken.
    Status(Value),
    Patch {
        of: Guard,
        change: Value,
    },
    Delete {
        of: Guard,
    },
}

impl Request {
    /// What it is about.
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::Create(object) | Self::Status(object) => (text(object, "/kind"), text(object, "/metadata/name")),
            Self::Patch { of, .. } | Self::Delete { of } => (of.kind.clone(), of.name.clone()),
        }
    }
}

/// What a write rests on.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: Option<String>,
}

impl Guard {
    pub(crate) fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            kind: K::kind(&()).into_owned(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone(),
        }
    }

    /// The same object in any state.
    pub(crate) fn loose(object: &Value) -> Self {
        Self {
            kind: text(object, "/kind"),
            name: text(object, "/metadata/name"),
            uid: text(object, "/metadata/uid"),
            version: None,
        }
    }
}

/// The states of one object, each since a revision; none: it is gone.
type States = Vec<(usize, Option<Arc<Value>>)>;

pub(crate) struct Api {
    pub(crate) now: Timestamp,
    /// Whether resourceVersions guard writes.
    pub(crate) guarded: bool,
    /// When each revision came to be.
    times: Vec<Timestamp>,
    objects: BTreeMap<Key, States>,
    uids: u32,
    /// What was read before, by its type and its resourceVersion: it is the same every time.
    read: RefCell<HashMap<(TypeId, usize), Box<dyn Any>>>,
}

/// A kind that is stored.
pub(crate) trait Stored: Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static {}
impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static> Stored for K {}

impl Api {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            now,
            guarded: true,
            times: vec![now],
            objects: BTreeMap::new(),
            uids: 0,
            read: RefCell::default(),
        }
    }

    /// The newest state.
    pub(crate) fn revision(&self) -> usize {
        self.times.len() - 1
    }

    /// The state at a time.
    pub(crate) fn revision_at(&self, time: Timestamp) -> usize {
        self.times.partition_point(|known| *known <= time).saturating_sub(1)
    }

    /// The state of an object, and its resourceVersion.
    fn state(states: &States, revision: usize) -> Option<(usize, &Arc<Value>)> {
        let index = states.partition_point(|(since, _)| *since <= revision).checked_sub(1)?;
        let (since, object) = &states[index];
        Some((*since, object.as_ref()?))
    }

    fn at(&self, kind: &str, name: &str, revision: usize) -> Option<(usize, &Arc<Value>)> {
        Self::state(self.objects.get(&(kind.to_owned(), name.to_owned()))?, revision)
    }

    pub(crate) fn raw(&self, kind: &str, name: &str) -> Option<&Value> {
        self.at(kind, name, self.revision()).map(|(_, object)| &**object)
    }

    fn typed<K: Stored>(&self, (version, object): (usize, &Arc<Value>)) -> K {
        let mut read = self.read.borrow_mut();
        let known = read.entry((TypeId::of::<K>(), version));
        let known = known.or_insert_with(|| Box::new(typed::<K>(object)));
        known.downcast_ref::<K>().expect("of this type").clone()
    }

    /// One object as it was.
    pub(crate) fn get_at<K: Stored>(&self, revision: usize, name: &str) -> Option<K> {
        self.at(&K::kind(&()), name, revision).map(|found| self.typed(found))
    }

    /// One object as it is.
    pub(crate) fn get<K: Stored>(&self, name: &str) -> Option<K> {
        self.get_at(self.revision(), name)
    }

    /// Everything of a kind, that which is gone too.
    fn of_kind(&self, kind: &str) -> impl Iterator<Item = (&Key, &States)> {
        let all = self.objects.range((kind.to_owned(), String::new())..);
        all.take_while(move |(key, _)| key.0 == kind)
    }

    /// All objects of a kind as they were.
    pub(crate) fn list_at<K: Stored>(&self, revision: usize) -> Vec<K> {
        let kind = K::kind(&());
        self.of_kind(&kind)
            .filter_map(|(_, states)| Self::state(states, revision))
            .map(|found| self.typed(found))
            .collect()
    }

    /// All objects of a kind as they are.
    pub(crate) fn list<K: Stored>(&self) -> Vec<K> {
        self.list_at(self.revision())
    }

    /// All objects of a kind as they are, as JSON.
    pub(crate) fn all(&self, kind: &str) -> Vec<Arc<Value>> {
        let now = self.revision();
        let states = self.of_kind(kind);
        states
            .filter_map(|(_, states)| Some(Arc::clone(Self::state(states, now)?.1)))
            .collect()
    }

    /// The names of a kind that ever were, so that what is gone is looked at too.
    pub(crate) fn names<K: Resource<DynamicType = ()>>(&self) -> Vec<String> {
        self.of_kind(&K::kind(&())).map(|(key, _)| key.1.clone()).collect()
    }

    /// Whether an object of that kind and uid was there when another one came to be.
    pub(crate) fn was_there(&self, kind: &str, uid: &str, when: &Value) -> bool {
        let is = |state: &Option<Arc<Value>>, uid: &str| {
            let found = state.as_ref().map(|object| text(object, "/metadata/uid"));
            found.is_some_and(|found| found == uid)
        };
        let (made, key) = (
            text(when, "/metadata/uid"),
            (text(when, "/kind"), text(when, "/metadata/name")),
        );
        let states = self.objects.get(&key).into_iter().flatten();
        let born = states
            .filter(|(_, state)| is(state, &made))
            .map(|(since, _)| *since)
            .min();
        let there = |states: &States| {
            let known = born.and_then(|born| Self::state(states, born));
            known.is_some_and(|(_, object)| text(object, "/metadata/uid") == uid)
        };
        self.of_kind(kind).any(|(_, states)| there(states))
    }

    /// Does a write, if its guard holds.
    pub(crate) fn send(&mut self, request: &Request) -> Result<Value, Refused> {
        match request {
            Request::Create(object) => self.create(object),
            Request::Status(wanted) => {
                let version = Some(text(wanted, "/metadata/resourceVersion"));
                let mut object = self.guarded(&Guard {
                    version,
                    ..Guard::loose(wanted)
                })?;
                object["status"] = wanted["status"].clone();
                Ok(self.store(object))
            }
            Request::Patch { of, change } => {
                let mut object = self.guarded(of)?;
                merge(&mut object, change);
                if change.get("spec").is_some() {
                    let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
                    object["metadata"]["generation"] = (generation + 1).into();
                }
                Ok(self.store(object))
            }
            Request::Delete { of } => {
                let mut object = self.guarded(of)?;
                if object["metadata"]["deletionTimestamp"].is_null() {
                    object["metadata"]["deletionTimestamp"] = self.now.to_string().into();
                }
                Ok(self.store(object))
            }
        }
    }

    fn create(&mut self, object: &Value) -> Result<Value, Refused> {
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        assert!(!kind.is_empty() && !name.is_empty(), "{object}");
        if self.raw(&kind, &name).is_some() {
            return Err(Refused::Exists);
        }
        self.uids += 1;
        let mut object = object.clone();
        let metadata = &mut object["metadata"];
        metadata["uid"] = format!("{}-{}", kind.to_lowercase(), self.uids).into();
        metadata["generation"] = 1.into();
        metadata["creationTimestamp"] = self.now.to_string().into();
        Ok(self.store(object))
    }

    /// What kubelet and controllers do: unguarded, and nothing where the object is gone.
    pub(crate) fn update(&mut self, of: &Value, change: &Value) {
        if let Ok(mut object) = self.guarded(&Guard::loose(of)) {
            merge(&mut object, change);
            self.store(object);
        }
    }

    fn guarded(&self, guard: &Guard) -> Result<Value, Refused> {
        let object = self.raw(&guard.kind, &guard.name).ok_or(Refused::NotFound)?;
        let same = text(object, "/metadata/uid") == guard.uid;
        let version = text(object, "/metadata/resourceVersion");
        if same && (!self.guarded || guard.version.as_ref().is_none_or(|wanted| *wanted == version)) {
            Ok(object.clone())
        } else {
            Err(Refused::Conflict)
        }
    }

    /// Stores an object as the next state; one that is deleted and that nothing holds goes instead.
    fn store(&mut self, mut object: Value) -> Value {
        let revision = self.times.len();
        self.times.push(self.now);
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        let key = (text(&object, "/kind"), text(&object, "/metadata/name"));
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        let stays = object["metadata"]["deletionTimestamp"].is_null() || held;
        let state = stays.then(|| Arc::new(object.clone()));
        self.objects.entry(key).or_default().push((revision, state));
        object
    }

    /// Kubernetes' own garbage collector: what an owner that is gone has left goes too.
    pub(crate) fn collect(&mut self) {
        let now = self.revision();
        let all = self.objects.values().filter_map(|states| Self::state(states, now));
        let objects: Vec<Arc<Value>> = all.map(|(_, object)| Arc::clone(object)).collect();
        let uids: Vec<String> = objects.iter().map(|object| text(object, "/metadata/uid")).collect();
        for object in &objects {
            let owner = text(object, "/metadata/ownerReferences/0/uid");
            if !owner.is_empty() && !uids.contains(&owner) {
                // It may be held by a finalizer, or gone with another one.
                let of = Guard::loose(object);
                let _ = self.send(&Request::Delete { of });
            }
        }
    }
}

/// An object from its JSON.
pub(crate) fn typed<K: DeserializeOwned>(object: &Value) -> K {
    K::deserialize(object).unwrap_or_else(|error| panic!("{error}: {object}"))
}

/// An object as JSON.
pub(crate) fn json<K: Serialize>(object: &K) -> Value {
    json!(object)
}

/// The text at a place, or an empty one.
pub(crate) fn text(object: &Value, at: &str) -> String {
    let found = object.pointer(at).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// Merges as RFC 7386 has it.
pub(crate) fn merge(into: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *into = change.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in change {
        if value.is_null() {
            into.as_object_mut().map(|into| into.remove(key));
        } else {
            merge(&mut into[key.as_str()], value);
        }
    }
}
