//! Backups by policy: what one look of retention needs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use holdfast_core::gc::SlimBackup;
use holdfast_runtime::watch::{Change, Key};
use kube::ResourceExt as _;

/// The Backups of each policy name, by their own key.
#[derive(Debug, Default)]
pub(crate) struct Index {
    groups: Mutex<HashMap<Key, BTreeMap<Key, Arc<SlimBackup>>>>,
}

/// Namespace and policy name of a Backup.
pub(crate) fn group_of(backup: &SlimBackup) -> Key {
    Key::new(backup.namespace().unwrap_or_default(), &backup.spec.backup_policy_name)
}

impl Index {
    /// Takes a change in, and answers the group that it concerns.
    pub(crate) fn note(&self, change: &Change<SlimBackup>) -> Key {
        let (backup, applied) = match change {
            Change::Applied(backup) => (backup, true),
            Change::Left(backup) => (backup, false),
        };
        let group = group_of(backup);
        let mut groups = self.lock();
        let members = groups.entry(group.clone()).or_default();
        if applied {
            members.insert(Key::of(&**backup), Arc::clone(backup));
        } else {
            members.remove(&Key::of(&**backup));
        }
        if members.is_empty() {
            groups.remove(&group);
        }
        group
    }

    /// The Backups of a group.
    pub(crate) fn members(&self, group: &Key) -> Vec<Arc<SlimBackup>> {
        self.lock()
            .get(group)
            .map(|members| members.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Every group.
    pub(crate) fn groups(&self) -> Vec<Key> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, BTreeMap<Key, Arc<SlimBackup>>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
