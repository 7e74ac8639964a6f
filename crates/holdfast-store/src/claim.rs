//! The claim: who works in a backup's directory. Written before the directory is made, beside it.

use crate::folder::Folder;
use crate::seal::{known_version, newer};
use crate::{Error, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Name of the claim's file.
pub const CLAIM_FILE: &str = "claim.json";
const CLAIM_MAX: u64 = 16 * 1024;

/// Who wants to work in a backup's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Uid of the Backup.
    pub uid: String,
    /// Name of the Backup.
    pub name: String,
    /// Which run of it, from 1 on. A directory is wiped before a new attempt of its first run only.
    pub run: i32,
    /// Uid of the pod.
    pub pod_uid: String,
}

/// A claim as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Format version.
    pub v: u32,
    /// Uid of the Backup.
    pub uid: String,
    /// Name of the Backup.
    pub name: String,
    /// Which run of it.
    pub run: i32,
    /// Uid of the pod that works here, or worked here last.
    pub pod_uid: String,
    /// When it was written, RFC 3339.
    pub time: String,
}

impl Claim {
    pub(crate) fn new(claimant: &Claimant, now: Timestamp) -> Self {
        Self {
            v: crate::FORMAT_VERSION,
            uid: claimant.uid.clone(),
            name: claimant.name.clone(),
            run: claimant.run,
            pod_uid: claimant.pod_uid.clone(),
            time: now.to_string(),
        }
    }

    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.uid == other.uid && self.run == other.run && self.pod_uid == other.pod_uid
    }

    pub(crate) fn read(metadata: &Folder) -> Result<Option<Self>> {
        let Some(bytes) = metadata.read(CLAIM_FILE, CLAIM_MAX)? else {
            return Ok(None);
        };
        let what = format!("{}/{CLAIM_FILE}", metadata.label());
        if let Some(found) = known_version(&bytes).filter(|v| newer(*v)) {
            return Err(Error::Newer {
                what,
                found,
                known: crate::FORMAT_VERSION.into(),
            });
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Occupied(format!("{what} is not a claim of Holdfast: {error}")))
    }

    pub(crate) fn write(&self, metadata: &Folder) -> Result<()> {
        let mut bytes =
            serde_json::to_vec(self).map_err(|error| Error::io("write claim", std::io::Error::other(error)))?;
        bytes.push(b'\n');
        metadata.write(CLAIM_FILE, &bytes, &self.pod_uid)
    }
}
