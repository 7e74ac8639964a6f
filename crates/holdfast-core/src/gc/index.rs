//! Backups as one decision needs them: by policy, by what they build on, and by the volume that waits to be freed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use kube::ResourceExt as _;

use super::{BackupSummary, concerns};

/// Namespace and name: of a Backup, a policy or a claim.
pub type At = (String, String);

type Members = BTreeMap<String, Arc<BackupSummary>>;

/// Every Backup, found by what is asked for, so that a look costs what it finds and not what there is.
#[derive(Debug, Default)]
pub struct Index {
    all: HashMap<At, Arc<BackupSummary>>,
    /// By policy.
    groups: HashMap<At, Members>,
    /// By the Backup that they build on.
    children: HashMap<At, Members>,
    /// By claim: those whose files wait to be removed.
    waiting: HashMap<At, Members>,
}

/// The policy that a Backup names.
fn group_of(backup: &BackupSummary) -> At {
    (
        backup.namespace().unwrap_or_default(),
        backup.spec.backup_policy_name.clone(),
    )
}

fn parent_of(backup: &BackupSummary) -> Option<At> {
    Some((backup.namespace().unwrap_or_default(), backup.parent()?.to_owned()))
}

fn volume_of(backup: &BackupSummary) -> Option<At> {
    Some((backup.namespace().unwrap_or_default(), backup.waits_on()?.to_owned()))
}

fn insert<K: Eq + Hash>(map: &mut HashMap<K, Members>, key: K, backup: &Arc<BackupSummary>) {
    map.entry(key)
        .or_default()
        .insert(backup.name_any(), Arc::clone(backup));
}

fn take<K: Eq + Hash>(map: &mut HashMap<K, Members>, key: &K, name: &str) {
    if let Some(members) = map.get_mut(key) {
        members.remove(name);
        if members.is_empty() {
            map.remove(key);
        }
    }
}

impl Index {
    /// Takes in a Backup that is new or has changed.
    pub fn apply(&mut self, backup: &Arc<BackupSummary>) {
        self.remove(backup);
        insert(&mut self.groups, group_of(backup), backup);
        if let Some(parent) = parent_of(backup) {
            insert(&mut self.children, parent, backup);
        }
        if let Some(volume) = volume_of(backup) {
            insert(&mut self.waiting, volume, backup);
        }
        self.all.insert(at(backup), Arc::clone(backup));
    }

    /// Forgets a Backup, as it was known until now.
    pub fn remove(&mut self, backup: &BackupSummary) {
        let Some(known) = self.all.remove(&at(backup)) else {
            return;
        };
        let name = known.name_any();
        take(&mut self.groups, &group_of(&known), &name);
        if let Some(parent) = parent_of(&known) {
            take(&mut self.children, &parent, &name);
        }
        if let Some(volume) = volume_of(&known) {
            take(&mut self.waiting, &volume, &name);
        }
    }

    /// One Backup.
    pub fn get(&self, at: &At) -> Option<&Arc<BackupSummary>> {
        self.all.get(at)
    }

    /// How many Backups there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Every policy that Backups name.
    pub fn groups(&self) -> Vec<At> {
        self.groups.keys().cloned().collect()
    }

    /// The Backups that name a policy.
    pub fn group(&self, policy: &At) -> Vec<Arc<BackupSummary>> {
        members(&self.groups, policy)
    }

    /// Every claim with files that wait to be removed.
    pub fn volumes(&self) -> Vec<At> {
        self.waiting.keys().cloned().collect()
    }

    /// Every deleted Backup that gc must release.
    pub fn deleted(&self) -> Vec<Arc<BackupSummary>> {
        let ours = |backup: &&Arc<BackupSummary>| concerns(backup.status.phase, backup.is_going(), backup.finalizers());
        self.all.values().filter(ours).cloned().collect()
    }

    /// The Backups whose files wait to be removed from a claim.
    pub fn waiting(&self, claim: &At) -> Vec<Arc<BackupSummary>> {
        members(&self.waiting, claim)
    }

    /// The names of Backups that stay and build on this one, also by way of others that go. A circle has no end, so
    /// each is looked at once, and nothing is its own reason to stay.
    pub fn dependents(&self, of: &At) -> Vec<String> {
        let mut found = Vec::new();
        let mut seen = HashSet::from([of.clone()]);
        let mut open = vec![of.clone()];
        while let Some(next) = open.pop() {
            for child in self.children.get(&next).into_iter().flat_map(BTreeMap::values) {
                let key = at(child);
                if seen.insert(key.clone()) {
                    if child.is_kept() {
                        found.push(child.name_any());
                    }
                    open.push(key);
                }
            }
        }
        found.sort();
        found
    }

    /// The Backups that this one builds on, directly or not.
    pub fn ancestors(&self, of: &BackupSummary) -> Vec<Arc<BackupSummary>> {
        let mut found: Vec<Arc<BackupSummary>> = Vec::new();
        let mut seen = HashSet::from([at(of)]);
        let mut next = parent_of(of);
        while let Some(key) = next.take() {
            if seen.insert(key.clone())
                && let Some(parent) = self.all.get(&key)
            {
                next = parent_of(parent);
                found.push(Arc::clone(parent));
            }
        }
        found
    }
}

fn members(map: &HashMap<At, Members>, key: &At) -> Vec<Arc<BackupSummary>> {
    map.get(key)
        .map(|members| members.values().cloned().collect())
        .unwrap_or_default()
}

fn at(backup: &BackupSummary) -> At {
    (backup.namespace().unwrap_or_default(), backup.name_any())
}
