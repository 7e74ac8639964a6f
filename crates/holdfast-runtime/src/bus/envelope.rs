//! What a consumer reads of an event message: the object that it names.

use serde::Deserialize;

use crate::watch::Key;

/// Names are taken from the payload and not from the subject, where dots are ambiguous.
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
    use holdfast_api::event::{BusEvent, BusEventKind};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_object_is_read_from_the_payload_and_foreign_payloads_are_refused() {
        let event = BusEvent {
            kind: BusEventKind::BackupCompleted,
            from: "InProgress",
            namespace: "shop".to_owned(),
            name: "nightly.2026".to_owned(),
            uid: "u-1".to_owned(),
            start: None,
            traceparent: None,
            data: json!({ "name": "not this", "bytes": 5 }),
        };
        let payload = event.payload("executor", Timestamp::UNIX_EPOCH);
        assert_eq!(
            key(payload.to_string().as_bytes()),
            Ok(Key::new("shop", "nightly.2026"))
        );
        assert!(key(b"{}").is_err());
        assert!(key(br#"{"specversion":"2.0","data":{"name":"a"}}"#).is_err());
    }
}
