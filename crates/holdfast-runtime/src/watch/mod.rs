//! Watches that keep a copy: one malformed object is left out and counted, and never stops a watch.

mod guarded;

use std::{
    collections::{HashMap, HashSet},
    fmt::{self, Debug},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use futures::StreamExt as _;
use holdfast_api::condition::Reason;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource,
    core::{ApiResource, error_boundary::InvalidObject},
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use guarded::Guarded;
pub use holdfast_kube::Key;

use crate::{Events, Gate, Queue, Service, metrics::RuntimeMetrics};

/// What a watch saw.
#[derive(Debug)]
pub enum Change<K> {
    /// The object is new to the watch or has changed.
    Applied(Arc<K>),
    /// The object left what is watched, with its last content: deleted, or no longer selected, or no longer readable.
    /// Never proof that it does not exist.
    Left(Arc<K>),
}

impl<K> Change<K> {
    /// The object, whatever happened to it.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied(object) | Self::Left(object) => object,
        }
    }
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Applied(object) => Self::Applied(object.clone()),
            Self::Left(object) => Self::Left(object.clone()),
        }
    }
}

/// A copy of what a watch selects. Clones are the same copy.
pub struct Cached<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    objects: RwLock<HashMap<Key, Arc<K>>>,
    /// Also held while a change is passed on, so that who subscribes misses nothing and gets nothing twice.
    listeners: Mutex<Vec<mpsc::UnboundedSender<Change<K>>>>,
    synced: CancellationToken,
}

impl<K> Clone for Cached<K> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K> Debug for Cached<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("objects", &self.len()).finish()
    }
}

/// Watches what `api` and `config` select, for as long as the service runs. The gate opens after the first list.
pub fn cached<K>(service: &Service, gate: &str, api: Api<K>, config: watcher::Config) -> Cached<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let cached = Cached {
        shared: Arc::new(Shared {
            objects: RwLock::default(),
            listeners: Mutex::default(),
            synced: CancellationToken::new(),
        }),
    };
    let namespace = api.namespace().map(ToOwned::to_owned);
    let kind = ApiResource::erase::<K>(&());
    let api: Api<Guarded<K>> = match namespace {
        Some(namespace) => Api::namespaced_with(api.into_client(), &namespace, &kind),
        None => Api::all_with(api.into_client(), &kind),
    };
    let watch = Watch {
        name: gate.to_owned(),
        gate: service.gate(gate),
        metrics: service.runtime_metrics().clone(),
        events: service.events.clone(),
        shared: cached.shared.clone(),
        listed: HashSet::new(),
        unreadable: HashMap::new(),
    };
    let shutdown = service.shutdown.clone();
    service.spawn("watch", async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = watch.run(api, config) => {}
        }
    });
    cached
}

/// Waits for what `synced` waits for, such as [`Cached::synced`] of several watches. False if the service stops before:
/// a watch that was stopped before its first list is never synced.
pub async fn synced_or_stopped(service: &Service, synced: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = service.shutdown.cancelled() => false,
        () = synced => true,
    }
}

impl<K> Cached<K> {
    /// The object of this namespace (empty for kinds without one) and name, if the watch holds it.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.by_key(&Key::new(namespace, name))
    }

    /// The object of this key, if the watch holds it.
    pub fn by_key(&self, key: &Key) -> Option<Arc<K>> {
        self.shared
            .objects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// All objects that the watch holds, in no order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.shared
            .objects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Number of objects that the watch holds.
    pub fn len(&self) -> usize {
        self.shared.objects.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether the watch holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        self.shared.synced.cancelled().await;
    }

    /// Changes from now on, beginning with what the watch holds already.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Change<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for object in self.all() {
            // The receiver is still here: sending cannot fail.
            let _ = sender.send(Change::Applied(object));
        }
        listeners.push(sender);
        receiver
    }
}

impl<K: Send + Sync + 'static> Cached<K> {
    /// Pushes onto `queue` the keys that `map` finds for each change.
    pub fn forward(&self, service: &Service, queue: &Queue, map: impl Fn(&Change<K>) -> Vec<Key> + Send + 'static) {
        let (mut changes, queue, shutdown) = (self.subscribe(), queue.clone(), service.shutdown.clone());
        service.spawn("forward", async move {
            loop {
                let change = tokio::select! {
                    () = shutdown.cancelled() => break,
                    change = changes.recv() => change,
                };
                let Some(change) = change else { break };
                for key in map(&change) {
                    queue.push(key);
                }
            }
        });
    }
}

struct Watch<K> {
    name: String,
    gate: Gate,
    metrics: RuntimeMetrics,
    events: Events,
    shared: Arc<Shared<K>>,
    /// Seen in the list under way.
    listed: HashSet<Key>,
    /// Versions of unreadable objects already complained about.
    unreadable: HashMap<Key, Option<String>>,
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    async fn run(mut self, api: Api<Guarded<K>>, config: watcher::Config) {
        let mut events = watcher(api, config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    self.see(event).await;
                    self.measure();
                }
                Err(error) => {
                    self.metrics.watch_errors.with_label_values(&[&self.name]).inc();
                    tracing::warn!(watch = self.name, %error, "watch broke, beginning anew");
                }
            }
        }
    }

    async fn see(&mut self, event: watcher::Event<Guarded<K>>) {
        self.metrics.watch_events.with_label_values(&[&self.name]).inc();
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(object) => {
                self.listed.insert(Key::of_meta(object.meta()));
                self.apply(object).await;
            }
            watcher::Event::InitDone => {
                self.forget_unlisted();
                self.shared.synced.cancel();
                self.gate.open();
            }
            watcher::Event::Apply(object) => self.apply(object).await,
            watcher::Event::Delete(object) => {
                let key = Key::of_meta(object.meta());
                self.unreadable.remove(&key);
                self.leave(&key, object.0.0.ok().map(Arc::new));
            }
        }
    }

    async fn apply(&mut self, object: Guarded<K>) {
        let key = Key::of_meta(object.meta());
        match object.0.0 {
            Ok(mut object) => {
                self.unreadable.remove(&key);
                // Nobody reads them, and they are often larger than the rest.
                object.meta_mut().managed_fields = None;
                self.hold(key, &Arc::new(object));
            }
            Err(invalid) => {
                self.complain(&key, &invalid).await;
                self.leave(&key, None);
            }
        }
    }

    /// Says once for each version of an object that it cannot be read; on the object itself, unless it is Kubernetes' own.
    async fn complain(&mut self, key: &Key, invalid: &InvalidObject) {
        let version = invalid.metadata.resource_version.clone();
        if self.unreadable.insert(key.clone(), version.clone()) == Some(version) {
            return;
        }
        self.metrics.watch_malformed.with_label_values(&[&self.name]).inc();
        // The message may quote what it could not read.
        let error = if K::kind(&()) == "Secret" {
            ""
        } else {
            invalid.error.as_str()
        };
        tracing::warn!(watch = self.name, object = %key, error, "object left out: it cannot be read");
        if is_custom(&K::group(&())) {
            let about = ObjectReference {
                api_version: Some(K::api_version(&()).into_owned()),
                kind: Some(K::kind(&()).into_owned()),
                name: invalid.metadata.name.clone(),
                namespace: invalid.metadata.namespace.clone(),
                uid: invalid.metadata.uid.clone(),
                resource_version: invalid.metadata.resource_version.clone(),
                ..ObjectReference::default()
            };
            let reason = Reason::InvalidObject;
            let note = format!("{error}: {}", reason.hint());
            self.events.publish_once(about, reason.as_str(), &note).await;
        }
    }

    fn hold(&self, key: Key, object: &Arc<K>) {
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let before = {
            let mut objects = self.shared.objects.write().unwrap_or_else(PoisonError::into_inner);
            objects.insert(key, object.clone())
        };
        let version = |object: &K| object.meta().resource_version.clone();
        // A list repeats what is known already.
        if before.is_some_and(|before| version(&before).is_some() && version(&before) == version(object)) {
            return;
        }
        listeners.retain(|listener| listener.send(Change::Applied(object.clone())).is_ok());
    }

    /// Lets an object go; `last` is its last content, where the watch knows it.
    fn leave(&self, key: &Key, last: Option<Arc<K>>) {
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self
            .shared
            .objects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
        let Some(held) = held else { return };
        let last = last.unwrap_or(held);
        listeners.retain(|listener| listener.send(Change::Left(last.clone())).is_ok());
    }

    fn forget_unlisted(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        self.unreadable.retain(|key, _| listed.contains(key));
        let gone: Vec<Key> = {
            let objects = self.shared.objects.read().unwrap_or_else(PoisonError::into_inner);
            objects.keys().filter(|key| !listed.contains(*key)).cloned().collect()
        };
        for key in gone {
            self.leave(&key, None);
        }
    }

    fn measure(&self) {
        let held = self.shared.objects.read().unwrap_or_else(PoisonError::into_inner).len();
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        self.metrics
            .watch_objects
            .with_label_values(&[&self.name])
            .set(held.into());
    }
}

/// Whether a group is of a custom resource: those of Kubernetes itself have no dot, or end in `k8s.io`.
fn is_custom(group: &str) -> bool {
    group.contains('.') && !group.ends_with(".k8s.io")
}
