//! Names and paths that follow from other names.

use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

use holdfast_api::{BackupPolicy, BackupType, names::SEAL_FILE};

/// The longest object name (RFC 1123 subdomain).
const NAME_MAX: usize = 253;
/// The longest path in a repository: every Linux file system takes it.
const PATH_MAX: usize = 1024;

/// A path prefix that could leave the repository or upset a tool, or a name that the repository keeps for itself.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{what} \"{text}\" {why}")]
pub struct InvalidPrefix {
    what: &'static str,
    text: String,
    why: &'static str,
}

/// A Backup's directory in its repository, from the root: `/<namespace>/<prefix>/<name>`.
///
/// `prefix` is the policy's annotation `path-prefix`; it may hold letters, digits, `-`, `_`, `.` and `/`.
pub fn backup_path(namespace: &str, prefix: &str, name: &str) -> Result<String, InvalidPrefix> {
    let invalid = |why| InvalidPrefix {
        what: "path prefix",
        text: prefix.chars().take(200).collect(),
        why,
    };
    if name == SEAL_FILE {
        return Err(InvalidPrefix {
            what: "backup name",
            text: name.to_owned(),
            why: "is that of a file of ours in the repository: use another one",
        });
    }
    let middle = prefix.trim().trim_matches('/');
    let mut path = format!("/{namespace}");
    if !middle.is_empty() {
        for part in middle.split('/') {
            if part.is_empty() {
                return Err(invalid("has an empty part"));
            }
            if part.starts_with('.') {
                return Err(invalid("has a part that begins with a dot"));
            }
            if part == SEAL_FILE {
                return Err(invalid("has a part that is the name of a file of ours"));
            }
            if part.starts_with('-') {
                return Err(invalid(
                    "has a part that begins with a dash, which tools take for an option",
                ));
            }
            if !part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            {
                return Err(invalid(
                    "holds other characters than letters, digits, '-', '_', '.' and '/'",
                ));
            }
            if part.len() > NAME_MAX {
                return Err(invalid("has a part of more than 253 characters"));
            }
            path.push('/');
            path.push_str(part);
        }
    }
    path.push('/');
    path.push_str(name);
    if path.len() > PATH_MAX {
        Err(invalid("is too long"))
    } else {
        Ok(path)
    }
}

/// Where a database pod answers: `<hostname>.<subdomain>`, from its own namespace. A pod without a subdomain has no host
/// name, so that its address stands for it; its name, as in the original, only while it has none.
pub fn db_host(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let given = |name: Option<&String>| name.filter(|name| !name.is_empty()).cloned();
    let host = given(spec.and_then(|spec| spec.hostname.as_ref())).unwrap_or_else(|| pod.name_any());
    if let Some(subdomain) = given(spec.and_then(|spec| spec.subdomain.as_ref())) {
        return format!("{host}.{subdomain}");
    }
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
    given(address).unwrap_or(host)
}

/// The name of a policy's standing Backup of a type: of its continuous log backup.
pub fn derived(policy: &BackupPolicy, kind: BackupType) -> String {
    let name = policy.name_any();
    let unique = match policy.owner_references().first() {
        Some(owner) => format!("{}-{}", owner.uid.chars().take(8).collect::<String>(), owner.name),
        None => name,
    };
    let base = format!("{unique}-{}", policy.namespace().unwrap_or_default());
    let base: String = base.chars().take(30).collect();
    format!("{}-{}", base.trim_end_matches('-'), kind.as_str())
}

/// The name of the Backup of a slot: `backup-<namespace>-<cluster>-<UTC>-<6 hex>`.
///
/// The digits tell policies and types apart that come due in the same second; a long middle is cut. `cluster` is the
/// value of a label and may hold what no object name may: that becomes `-`.
pub fn slot_backup(namespace: &str, cluster: &str, policy_uid: &str, kind: BackupType, slot: Timestamp) -> String {
    let time = slot.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%S").to_string();
    let digits: String = hex(&Sha256::digest(format!("{policy_uid}/{}", kind.as_str())))
        .chars()
        .take(6)
        .collect();
    let room = NAME_MAX - "backup-".len() - 1 - time.len() - 1 - digits.len();
    let middle: String = format!("{namespace}-{}", plain(cluster)).chars().take(room).collect();
    format!("backup-{}-{time}-{digits}", middle.trim_end_matches(['-', '.', '_']))
}

/// The text with what no object name may hold turned into `-`; one that is a name already is kept.
fn plain(text: &str) -> String {
    let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let inside = bytes.iter().all(|byte| *byte == b'-' || alphanumeric(Some(*byte)));
        inside && alphanumeric(bytes.first().copied()) && alphanumeric(bytes.last().copied())
    };
    if text.split('.').all(label) {
        return text.to_owned();
    }
    let dash = |char: char| {
        if char.is_ascii_alphanumeric() {
            char.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    text.chars().map(dash).collect()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests;
