//! `backup.info`: what a tool says about its backup. Only the keys below are taken; phase, paths, sizes and checksum
//! are never the tool's to say.

use crate::mask::Mask;
use holdfast_api::BackupLogStatus;
use holdfast_store::Folder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Name of the file, at the root of the backup's directory.
pub(crate) const INFO_FILE: &str = "backup.info";
const INFO_MAX: u64 = 64 * 1024;

/// What is taken over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info {
    /// `manifests.backupLog`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backup_log: Option<BackupLogStatus>,
    /// `manifests.backupTool.uploadTotalSize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload_total_size: Option<String>,
    /// `manifests.backupTool.checkpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<String>,
    /// `manifests.userContext`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) user_context: BTreeMap<String, String>,
}

/// Reads `backup.info`. A malformed one does not fail the backup, whose data is sound: what cannot be read is left
/// out, and the warnings say so. So is what `secrets` finds, because a value that programs read is never masked.
pub(crate) fn read(dir: &Folder, secrets: &Mask) -> (Info, Vec<String>) {
    match dir.read(INFO_FILE, INFO_MAX) {
        Ok(None) => (Info::default(), Vec::new()),
        Ok(Some(bytes)) => {
            let (mut info, mut warnings) = parse(&bytes);
            refuse(&mut info, secrets, &mut warnings);
            (info, warnings)
        }
        Err(error) => (Info::default(), vec![format!("{INFO_FILE} was ignored: {error}")]),
    }
}

fn parse(bytes: &[u8]) -> (Info, Vec<String>) {
    let mut warnings = Vec::new();
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(_) if bytes.iter().all(u8::is_ascii_whitespace) => Value::Null,
        Err(error) => {
            warnings.push(format!("{INFO_FILE} was ignored: it is not JSON: {error}"));
            Value::Null
        }
    };
    let manifests = &value["manifests"];
    let tool = &manifests["backupTool"];
    let info = Info {
        backup_log: take(manifests, "backupLog", &mut warnings),
        upload_total_size: take(tool, "uploadTotalSize", &mut warnings),
        checkpoint: take(tool, "checkpoint", &mut warnings),
        user_context: take(manifests, "userContext", &mut warnings).unwrap_or_default(),
    };
    (info, warnings)
}

fn refuse(info: &mut Info, secrets: &Mask, warnings: &mut Vec<String>) {
    let mut refused = |name: &str| {
        warnings.push(format!(
            "{name} in {INFO_FILE} was ignored: it holds what came from a Secret"
        ));
    };
    for (name, field) in [
        ("uploadTotalSize", &mut info.upload_total_size),
        ("checkpoint", &mut info.checkpoint),
    ] {
        if field.take_if(|value| secrets.finds(value)).is_some() {
            refused(name);
        }
    }
    info.user_context.retain(|key, value| {
        let holds = secrets.finds(key) || secrets.finds(value);
        if holds {
            refused(&format!("userContext.{key}"));
        }
        !holds
    });
}

fn take<T: for<'de> Deserialize<'de>>(from: &Value, key: &str, warnings: &mut Vec<String>) -> Option<T> {
    let value = from.get(key).filter(|value| !value.is_null())?;
    match T::deserialize(value) {
        Ok(taken) => Some(taken),
        Err(error) => {
            warnings.push(format!("{key} in {INFO_FILE} was ignored: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_file_is_understood_and_foreign_keys_are_left() {
        let (info, warnings) = parse(
            br#"{"phase":"Completed","totalSize":"1.2G","manifests":{"filePath":"/etc",
                "backupLog":{"startTime":"2023-08-01T00:00:00Z","stopTime":"2023-08-01T00:01:00Z"},
                "backupTool":{"uploadTotalSize":"1.2G","checkpoint":"0/28","checksum":"no"},
                "userContext":{"gtid":"1"}}}"#,
        );
        assert!(warnings.is_empty(), "{warnings:?}");
        assert!(info.backup_log.unwrap().stop_time.is_some());
        assert_eq!(info.upload_total_size.as_deref(), Some("1.2G"));
        assert_eq!(info.checkpoint.as_deref(), Some("0/28"));
        assert_eq!(info.user_context["gtid"], "1");
    }

    #[test]
    fn one_bad_key_does_not_take_the_others_along() {
        let (info, warnings) = parse(
            br#"{"manifests":{"backupLog":{"startTime":"yesterday"},"backupTool":{"checkpoint":"c","uploadTotalSize":7}}}"#,
        );
        assert_eq!((info.backup_log, info.checkpoint.as_deref()), (None, Some("c")));
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn an_empty_file_is_no_matter() {
        assert_eq!(parse(b" \n"), (Info::default(), Vec::new()));
        assert_eq!(parse(b"[]").0, Info::default());
    }

    proptest! {
        #[test]
        fn nothing_in_it_stops_the_agent(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
