//! Reads that several Backups of a burst share: the API server is asked once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdfast_core::pod::Demands;
use holdfast_runtime::watch::Key;
use holdfast_runtime::write::{self, WriteError};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use serde::de::DeserializeOwned;

/// More entries than this are looked through for old ones.
const MANY: usize = 256;
/// How long a namespace is believed: a pod that it refuses meanwhile is told of.
const DEMANDS: Duration = Duration::from_secs(30);

/// When an object was read, and what it was.
type Entry<K> = (Instant, Arc<K>);

/// Objects of one kind that were read lately. Absence is not remembered.
pub(crate) struct TtlCache<K> {
    kept: Duration,
    seen: Mutex<HashMap<Key, Entry<K>>>,
}

impl<K> TtlCache<K> {
    fn new(kept: Duration) -> Self {
        Self {
            kept,
            seen: Mutex::default(),
        }
    }

    /// The object, from the API server unless it was read lately.
    pub(crate) async fn get(&self, api: &Api<K>, key: Key) -> Result<Option<Arc<K>>, WriteError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        if let Some(known) = self.known(&key) {
            return Ok(Some(known));
        }
        let Some(object) = write::get(api, &key.name).await?.map(Arc::new) else {
            return Ok(None);
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MANY {
            seen.retain(|_, (since, _)| since.elapsed() < self.kept);
        }
        seen.insert(key, (Instant::now(), Arc::clone(&object)));
        Ok(Some(object))
    }

    fn known(&self, key: &Key) -> Option<Arc<K>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, object) = seen.get(key)?;
        (since.elapsed() < self.kept).then(|| Arc::clone(object))
    }
}

/// What namespaces demanded of their pods lately.
#[derive(Default)]
pub(crate) struct KnownDemands(Mutex<HashMap<String, (Instant, Demands)>>);

impl KnownDemands {
    pub(crate) fn put(&self, namespace: &str, demands: Demands) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (since, _)| since.elapsed() < DEMANDS);
        seen.insert(namespace.to_owned(), (Instant::now(), demands));
    }

    pub(crate) fn known(&self, namespace: &str) -> Option<Demands> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, demands) = seen.get(namespace)?;
        (since.elapsed() < DEMANDS).then_some(*demands)
    }
}

/// What the executor reads beside its watches.
pub(crate) struct Reads {
    pub(crate) demands: KnownDemands,
    pub(crate) targets: TtlCache<Pod>,
    pub(crate) claims: TtlCache<PersistentVolumeClaim>,
    pub(crate) volumes: TtlCache<PersistentVolume>,
    pub(crate) nodes: TtlCache<Node>,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            demands: KnownDemands::default(),
            // As good as live: pods do not move within a second.
            targets: TtlCache::new(Duration::from_secs(1)),
            // Only what cannot change is used: access modes, node affinity.
            claims: TtlCache::new(Duration::from_mins(1)),
            volumes: TtlCache::new(Duration::from_mins(1)),
            nodes: TtlCache::new(Duration::from_secs(10)),
        }
    }
}
