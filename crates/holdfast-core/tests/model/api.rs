//! A small API server: versions, guards, finalizers, owners. It remembers every state that it was in, so that a cache
//! may show any earlier one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Everything that is stored, by kind and name.
type Objects = BTreeMap<(String, String), Arc<Value>>;

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
}

pub(crate) struct Api {
    pub(crate) now: Timestamp,
    /// Whether resourceVersions guard writes.
    pub(crate) guarded: bool,
    log: Vec<Arc<Objects>>,
    uids: u32,
    /// Kinds and names that ever were.
    ever: BTreeSet<(String, String)>,
}

impl Api {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            now,
            guarded: true,
            log: vec![Arc::default()],
            uids: 0,
            ever: BTreeSet::new(),
        }
    }

    /// The newest state.
    pub(crate) fn revision(&self) -> usize {
        self.log.len() - 1
    }

    fn objects(&self, revision: usize) -> &Objects {
        &self.log[revision.min(self.revision())]
    }

    pub(crate) fn raw(&self, kind: &str, name: &str) -> Option<&Value> {
        let key = (kind.to_owned(), name.to_owned());
        self.objects(self.revision()).get(&key).map(|object| &**object)
    }

    /// One object as it was.
    pub(crate) fn get_at<K>(&self, revision: usize, name: &str) -> Option<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let key = (K::kind(&()).into_owned(), name.to_owned());
        self.objects(revision).get(&key).map(|object| typed(object))
    }

    /// One object as it is.
    pub(crate) fn get<K>(&self, name: &str) -> Option<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        self.get_at(self.revision(), name)
    }

    /// All objects of a kind as they were.
    pub(crate) fn list_at<K>(&self, revision: usize) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let kind = K::kind(&());
        let of_kind = |(key, _): &(&(String, String), &Arc<Value>)| key.0 == kind;
        self.objects(revision)
            .iter()
            .filter(of_kind)
            .map(|(_, object)| typed(object))
            .collect()
    }

    /// All objects of a kind as they are.
    pub(crate) fn list<K>(&self) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        self.list_at(self.revision())
    }

    /// All objects of a kind as they are, as JSON.
    pub(crate) fn all(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let objects = self.objects(self.revision()).iter();
        objects
            .filter(move |(key, _)| key.0 == kind)
            .map(|(_, object)| &**object)
    }

    /// The names of a kind that ever were, so that what is gone is looked at too.
    pub(crate) fn names<K: Resource<DynamicType = ()>>(&self) -> Vec<String> {
        let of_kind = |(kind, _): &&(String, String)| *kind == K::kind(&());
        self.ever.iter().filter(of_kind).map(|(_, name)| name.clone()).collect()
    }

    /// Does a write, if its guard holds.
    pub(crate) fn send(&mut self, request: &Request) -> Result<Value, Refused> {
        match request {
            Request::Create(object) => self.create(object),
            Request::Status(wanted) => {
                let guard = Guard {
                    kind: text(wanted, "/kind"),
                    name: text(wanted, "/metadata/name"),
                    uid: text(wanted, "/metadata/uid"),
                    version: Some(text(wanted, "/metadata/resourceVersion")),
                };
                let mut object = self.guarded(&guard)?;
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
        self.ever.insert((kind.clone(), name));
        let mut object = object.clone();
        let metadata = &mut object["metadata"];
        metadata["uid"] = format!("{}-{}", kind.to_lowercase(), self.uids).into();
        metadata["generation"] = 1.into();
        metadata["creationTimestamp"] = self.now.to_string().into();
        Ok(self.store(object))
    }

    /// What kubelet and controllers do: unguarded, and nothing where the object is gone.
    pub(crate) fn update(&mut self, kind: &str, name: &str, uid: &str, change: &Value) {
        let of = Guard {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            version: None,
        };
        if let Ok(mut object) = self.guarded(&of) {
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
        object["metadata"]["resourceVersion"] = self.log.len().to_string().into();
        let key = (text(&object, "/kind"), text(&object, "/metadata/name"));
        let mut objects = self.objects(self.revision()).clone();
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        if object["metadata"]["deletionTimestamp"].is_null() || held {
            objects.insert(key, Arc::new(object.clone()));
        } else {
            objects.remove(&key);
        }
        self.log.push(Arc::new(objects));
        object
    }

    /// Kubernetes' own garbage collector: what an owner that is gone has left goes too.
    pub(crate) fn collect(&mut self) {
        let objects = self.objects(self.revision()).clone();
        let uids: Vec<String> = objects.values().map(|object| text(object, "/metadata/uid")).collect();
        for object in objects.values() {
            let owner = text(object, "/metadata/ownerReferences/0/uid");
            if !owner.is_empty() && !uids.contains(&owner) {
                let of = Guard {
                    kind: text(object, "/kind"),
                    name: text(object, "/metadata/name"),
                    uid: text(object, "/metadata/uid"),
                    version: None,
                };
                // It may be held by a finalizer, or gone with another one.
                let _ = self.send(&Request::Delete { of });
            }
        }
    }
}

fn typed<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"))
}

/// An object as JSON.
pub(crate) fn json<K: Serialize>(object: &K) -> Value {
    json!(object)
}

/// The text at a place, or an empty one.
pub(crate) fn text(object: &Value, at: &str) -> String {
    object
        .pointer(at)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Merges as RFC 7386 has it.
fn merge(into: &mut Value, change: &Value) {
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
