//! One piece of news: subject, identity and CloudEvents payload.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::SUBJECTS;
use crate::watch::Key;

/// Something that happened to an object and is stored already.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// What it happened to: `backup`, `slot`, `repo` or `restore`.
    pub kind: &'static str,
    /// What happened, such as `completed`.
    pub verb: &'static str,
    /// Namespace of the object, empty for kinds without one.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Transition that this is the news of, such as `InProgress->Completed`: told once, however often it is published.
    pub transition: String,
    /// Start of the run, which tells two runs of one object apart.
    pub start: Option<Timestamp>,
    /// Trace that it belongs to.
    pub traceparent: Option<String>,
    /// More, for those who want to know; an object.
    pub data: Value,
}

impl News {
    /// `holdfast.v1.<kind>.<verb>.<namespace or _>.<name...>`; a name with dots takes several tokens.
    pub fn subject(&self) -> String {
        let namespace = if self.namespace.is_empty() {
            "_"
        } else {
            self.namespace.as_str()
        };
        format!(
            "{SUBJECTS}.{}.{}.{}.{}",
            self.kind,
            self.verb,
            tokens(namespace),
            tokens(&self.name)
        )
    }

    /// `<uid>:<transition>:<start>`: the server swallows a repeated one for two minutes.
    pub fn id(&self) -> String {
        let start = self.start.map(|start| start.to_string()).unwrap_or_default();
        format!("{}:{}:{start}", self.uid, self.transition)
    }

    /// CloudEvents 1.0, JSON format.
    pub fn payload(&self, service: &str, time: Timestamp) -> Value {
        let mut data = json!({
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "transition": self.transition,
        });
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), &self.data) {
            for (key, value) in more {
                data.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id(),
            "source": format!("/holdfast/{service}"),
            "type": format!("io.holdfast.{}.{}.v1", self.kind, self.verb),
            "subject": Key::new(self.namespace.clone(), self.name.clone()).to_string(),
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

/// What a consumer reads of a payload: names are taken from here and not from the subject, where dots are ambiguous.
#[derive(Debug, Deserialize)]
struct Envelope {
    specversion: String,
    data: Named,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(default)]
    namespace: String,
    name: String,
}

/// The object that a payload names.
pub(super) fn key(payload: &[u8]) -> Result<Key, String> {
    let event: Envelope = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if !event.specversion.starts_with("1.") {
        return Err(format!("CloudEvents version {}", event.specversion));
    }
    if event.data.name.is_empty() {
        return Err("no name".to_owned());
    }
    Ok(Key::new(event.data.namespace, event.data.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news() -> News {
        News {
            kind: "backup",
            verb: "completed",
            namespace: "shop".to_owned(),
            name: "nightly.2026".to_owned(),
            uid: "u-1".to_owned(),
            transition: "InProgress->Completed".to_owned(),
            start: Some(Timestamp::from_second(0).unwrap()),
            traceparent: None,
            data: json!({ "name": "not this", "bytes": 5 }),
        }
    }

    #[test]
    fn subject_and_id_tell_object_and_transition() {
        assert_eq!(news().subject(), "holdfast.v1.backup.completed.shop.nightly.2026");
        assert_eq!(news().id(), "u-1:InProgress->Completed:1970-01-01T00:00:00Z");
        let odd = News {
            namespace: String::new(),
            name: "a b.>..*".to_owned(),
            ..news()
        };
        assert_eq!(odd.subject(), "holdfast.v1.backup.completed._.a_b._._._");
    }

    #[test]
    fn payload_names_the_object_and_extras_cannot_replace_it() {
        let payload = news().payload("executor", Timestamp::UNIX_EPOCH);
        assert_eq!(payload["data"]["bytes"], 5);
        assert_eq!(
            key(payload.to_string().as_bytes()),
            Ok(Key::new("shop", "nightly.2026"))
        );
        assert!(key(b"{}").is_err());
        assert!(key(br#"{"specversion":"2.0","data":{"name":"a"}}"#).is_err());
    }
}
