//! Event messages on the bus: the one list of their kinds, and how one is written as subject, id and `CloudEvents`.
//!
//! A message is never the truth: it says that something is stored already, and where to look.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Service;

/// First tokens of every subject: product and version of the format.
pub const SUBJECTS: &str = "holdfast.v1";

macro_rules! bus_events {
    ($($name:ident: $kind:literal $verb:literal, $to:literal, [$($by:ident),+], $meaning:literal;)*) => {
        /// What happened to an object. The list is closed: subjects, `CloudEvents` types and the permissions of the
        /// services on the bus are made from it.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum BusEventKind {
            $(#[doc = $meaning] $name,)*
        }

        impl BusEventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it happened to: third token of the subject.
            pub const fn kind(self) -> &'static str {
                match self { $(Self::$name => $kind,)* }
            }

            /// What happened: fourth token of the subject.
            pub const fn verb(self) -> &'static str {
                match self { $(Self::$name => $verb,)* }
            }

            /// What the object came to be, in the transition that the id of a message names.
            pub const fn to(self) -> &'static str {
                match self { $(Self::$name => $to,)* }
            }

            /// The services that publish it; nobody else may.
            pub const fn publishers(self) -> &'static [Service] {
                match self { $(Self::$name => &[$(Service::$by),+],)* }
            }

            /// What it tells, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

bus_events! {
    BackupScheduled: "backup" "scheduled", "scheduled", [Scheduler], "A Backup was created for a slot of its policy's schedule.";
    BackupAdmitted: "backup" "admitted", "Admitted", [Scheduler], "A Backup was let in: executors may start it.";
    BackupStarted: "backup" "started", "InProgress", [Executor], "A Backup's run is planned and begins.";
    BackupCompleted: "backup" "completed", "Completed", [Executor], "A Backup is sealed and can be restored.";
    BackupFailed: "backup" "failed", "Failed", [Scheduler, Executor], "A Backup ended without a result.";
    BackupExpired: "backup" "expired", "expired", [Gc], "A Backup goes because its time is over or the history is full.";
    BackupDeleted: "backup" "deleted", "gone", [Gc], "A deleted Backup was let go.";
    SlotMissed: "slot" "missed", "slot missed", [Scheduler], "A slot of a policy's schedule has no Backup; the message names the policy.";
    RepoReady: "repo" "ready", "Ready", [RepoManager], "A repository can be used.";
    RepoFailed: "repo" "failed", "Failed", [RepoManager], "A repository cannot be used.";
    RestoreStarted: "restore" "started", "InProgress", [Restore], "A restore is planned and begins.";
    RestoreCompleted: "restore" "completed", "Completed", [Restore], "A restore ended well.";
    RestoreFailed: "restore" "failed", "Failed", [Restore], "A restore ended without a result.";
}

impl BusEventKind {
    /// `holdfast.v1.<kind>.<verb>.>`: every message of this kind, whatever object it is about.
    pub fn filter(self) -> String {
        format!("{SUBJECTS}.{}.{}.>", self.kind(), self.verb())
    }

    /// The type of the message, as `CloudEvents` has it.
    pub fn cloud_event_type(self) -> String {
        format!("io.holdfast.{}.{}.v1", self.kind(), self.verb())
    }
}

/// One message: what happened to which object.
#[derive(Clone, Debug, PartialEq)]
pub struct BusEvent {
    /// What happened.
    pub kind: BusEventKind,
    /// Phase that the object was in before, empty if it had none: each transition is told once, however often it is
    /// published.
    pub from: &'static str,
    /// Namespace of the object, empty for kinds without one.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Start of the run, which tells two runs of one object apart.
    pub start: Option<Timestamp>,
    /// Trace that it belongs to.
    pub traceparent: Option<String>,
    /// More, for those who want to know; an object, or null.
    pub data: Value,
}

impl BusEvent {
    /// A message about this object that says nothing more.
    pub fn of(kind: BusEventKind, object: &impl kube::ResourceExt) -> Self {
        Self {
            kind,
            from: "",
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            start: None,
            traceparent: object.annotations().get(crate::names::ANNOTATION_TRACEPARENT).cloned(),
            data: Value::Null,
        }
    }

    /// `holdfast.v1.<kind>.<verb>.<namespace or _>.<name...>`; a name with dots takes several tokens.
    pub fn subject(&self) -> String {
        let namespace = match self.namespace.as_str() {
            "" => "_",
            namespace => namespace,
        };
        format!(
            "{SUBJECTS}.{}.{}.{}.{}",
            self.kind.kind(),
            self.kind.verb(),
            tokens(namespace),
            tokens(&self.name)
        )
    }

    /// `<from>-><to>`, or `<to>` alone.
    pub fn transition(&self) -> String {
        match self.from {
            "" => self.kind.to().to_owned(),
            from => format!("{from}->{}", self.kind.to()),
        }
    }

    /// `<uid>:<transition>:<start>`: the server swallows a repeated one for two minutes.
    pub fn id(&self) -> String {
        let start = self.start.map(|start| start.to_string()).unwrap_or_default();
        format!("{}:{}:{start}", self.uid, self.transition())
    }

    /// `CloudEvents` 1.0, JSON format, as `service` publishes it.
    pub fn payload(&self, service: &str, time: Timestamp) -> Value {
        let mut data = json!({
            "kind": self.kind.kind(),
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "transition": self.transition(),
        });
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), &self.data) {
            for (key, value) in more {
                data.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        let about = match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{namespace}/{}", self.name),
        };
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id(),
            "source": format!("/holdfast/{service}"),
            "type": self.kind.cloud_event_type(),
            "subject": about,
            "time": time.to_string(),
            "datacontenttype": "application/json",
            "data": data,
        });
        if let (Some(event), Some(traceparent)) = (event.as_object_mut(), &self.traceparent) {
            event.insert("traceparent".to_owned(), traceparent.clone().into());
        }
        event
    }
}

/// Names of objects are DNS names; anything else must not add meaning to a subject.
fn tokens(text: &str) -> String {
    text.split('.')
        .map(|token| {
            let clean: String = token
                .chars()
                .map(|char| {
                    if char.is_ascii_graphic() && !matches!(char, '*' | '>') {
                        char
                    } else {
                        '_'
                    }
                })
                .collect();
            if clean.is_empty() { "_".to_owned() } else { clean }
        })
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn completed() -> BusEvent {
        BusEvent {
            kind: BusEventKind::BackupCompleted,
            from: "InProgress",
            namespace: "shop".to_owned(),
            name: "nightly.2026".to_owned(),
            uid: "u-1".to_owned(),
            start: Some(Timestamp::from_second(0).unwrap()),
            traceparent: None,
            data: json!({ "name": "not this", "bytes": 5 }),
        }
    }

    #[test]
    fn subject_and_id_tell_object_and_transition() {
        assert_eq!(completed().subject(), "holdfast.v1.backup.completed.shop.nightly.2026");
        assert_eq!(completed().id(), "u-1:InProgress->Completed:1970-01-01T00:00:00Z");
        let odd = BusEvent {
            namespace: String::new(),
            name: "a b.>..*".to_owned(),
            from: "",
            ..completed()
        };
        assert_eq!(odd.subject(), "holdfast.v1.backup.completed._.a_b._._._");
        assert_eq!(odd.transition(), "Completed");
    }

    #[test]
    fn payload_names_the_object_and_extras_cannot_replace_it() {
        let payload = completed().payload("executor", Timestamp::UNIX_EPOCH);
        assert_eq!(payload["data"]["bytes"], 5);
        assert_eq!(payload["data"]["name"], "nightly.2026");
        assert_eq!(payload["subject"], "shop/nightly.2026");
        assert_eq!(payload["type"], "io.holdfast.backup.completed.v1");
    }

    #[test]
    fn every_kind_has_a_subject_of_its_own() {
        let filters: BTreeSet<String> = BusEventKind::ALL.iter().map(|kind| kind.filter()).collect();
        assert_eq!(filters.len(), BusEventKind::ALL.len());
        assert!(BusEventKind::ALL.iter().all(|kind| kind.meaning().ends_with('.')));
    }
}
