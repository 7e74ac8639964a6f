//! One object as it was looked up.

use std::sync::Arc;

/// One object as it was looked up: from a cache, which proves nothing by what it lacks, or from the API server just now.
#[derive(Clone, Debug)]
pub struct Seen<K> {
    /// The object, if there is one.
    pub object: Option<Arc<K>>,
    /// Whether the API server said so just now; false for a cache, and for what was not looked up.
    pub live: bool,
    /// Why it cannot be read as its kind, where it is there and cannot.
    pub unreadable: Option<String>,
}

impl<K> Seen<K> {
    /// From a cache.
    pub fn cached(object: Option<Arc<K>>) -> Self {
        Self {
            object,
            live: false,
            unreadable: None,
        }
    }

    /// From the API server, just now.
    pub fn live(object: Option<Arc<K>>) -> Self {
        Self {
            live: true,
            ..Self::cached(object)
        }
    }

    /// There, as the API server said just now, but holding what nobody can read.
    pub fn unreadable(why: String) -> Self {
        Self {
            unreadable: Some(why),
            ..Self::live(None)
        }
    }

    /// The object, however it was seen.
    pub fn get(&self) -> Option<&K> {
        self.object.as_deref()
    }
}

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self::cached(None)
    }
}
