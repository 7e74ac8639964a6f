//! The seal `holdfast.json`: what a complete backup consists of. A directory without a valid one is not a backup.
//! One JSON document, then a last line `sha256:<hex of every byte before that line>`. What was ever stored is read for
//! ever (`tests/golden`): members that we do not know are passed over, a newer version is refused.

use crate::digest::{Sum, checksum, from_hex, to_hex};
use crate::folder::Folder;
use crate::{Error, Result};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// The newest format version of claims, seals, tombstones and markers that we read, and the one that we write.
pub const FORMAT_VERSION: u32 = 1;
/// Name of the seal's file, at the root of the backup's directory.
pub use holdfast_api::names::SEAL_FILE;
/// A seal of more than this is refused, so that a planted file cannot eat the memory (about five million files).
const SEAL_MAX: u64 = 1 << 30;
const DIGEST_PREFIX: &str = "sha256:";
const DIGEST_LINE: usize = DIGEST_PREFIX.len() + 64 + 1;

/// A path below the backup's directory, in the bytes of the file system.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Parses a relative path without empty parts, `.`, `..` or NUL.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let part_ok = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
        bytes.split(|byte| *byte == b'/').all(part_ok).then_some(Self(bytes))
    }

    pub(crate) fn join(&self, name: &[u8]) -> Self {
        Self([&self.0, name].join(&b'/'))
    }

    pub(crate) fn first(name: &[u8]) -> Self {
        Self(name.to_vec())
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for RelPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for RelPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0).escape_debug())
    }
}

/// JSON has no bytes: what is not UTF-8 is written as `{"hex": "..."}`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Raw { hex: String },
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Raw { hex: to_hex(bytes) },
        }
    }

    fn into_vec(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            Self::Raw { hex } => from_hex(&hex),
        }
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Bytes::of(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Bytes::deserialize(deserializer)?
            .into_vec()
            .and_then(Self::new)
            .ok_or_else(|| D::Error::custom("a path that is not below the backup"))
    }
}

/// A regular file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it is, below the backup's directory.
    pub path: RelPath,
    /// Bytes.
    pub size: u64,
    /// Its sha256.
    #[serde(with = "hex_sum")]
    pub sha256: [u8; 32],
}

/// A symbolic link of a backup. It is recorded, never followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkEntry {
    /// Where it is, below the backup's directory.
    pub path: RelPath,
    /// What it says.
    #[serde(with = "raw_bytes")]
    pub target: Vec<u8>,
}

/// A seal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    /// Format version.
    pub v: u32,
    /// Uid of the Backup.
    pub uid: String,
    /// Name of the Backup.
    pub name: String,
    /// Which run of it made this.
    pub run: i32,
    /// The pod that made it.
    pub pod_uid: String,
    /// Where it was made, below the root of the repository.
    pub path: String,
    /// Identity of the repository.
    pub repository: String,
    /// When, RFC 3339.
    pub sealed: String,
    /// Name of the Backup that this one builds upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Bytes of all files.
    pub bytes: u64,
    /// The backup's checksum, see [`checksum`](crate::checksum).
    pub checksum: String,
    /// What the tool said about the backup, for those who read the seal later.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub info: Value,
    /// Backup, policy and tool as planned.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub spec: Value,
    /// Every regular file, sorted by path.
    pub files: Vec<FileEntry>,
    /// Every symbolic link, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkEntry>,
}

impl Seal {
    /// Writes it, with its own digest as last line.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: impl Write) -> io::Result<()> {
        let mut out = HashWriter {
            inner: BufWriter::new(out),
            hasher: Sha256::new(),
        };
        serde_json::to_writer_pretty(&mut out, self)?;
        out.write_all(b"\n")?;
        let digest = to_hex(&out.hasher.finalize());
        writeln!(out.inner, "{DIGEST_PREFIX}{digest}")?;
        out.inner.flush()
    }

    /// Reads and checks a seal: its version first, then its own digest, then that it agrees with itself.
    ///
    /// # Errors
    /// [`Error::Newer`] for a version that we do not know, [`Error::SealInvalid`] for anything that is not exactly
    /// what [`Seal::write_to`] writes. `what` names the file in messages.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        let invalid = |why: &str| Error::SealInvalid(format!("{what} is damaged: {why}"));
        let split = bytes.len().checked_sub(DIGEST_LINE);
        let Some((document, line)) = split.and_then(|at| bytes.split_at_checked(at)) else {
            return Err(invalid("it is too short"));
        };
        if let Some(found) = known_version(document).filter(|v| newer(*v)) {
            return Err(Error::Newer {
                what: what.to_owned(),
                found,
                known: FORMAT_VERSION.into(),
            });
        }
        let digest = to_hex(&Sha256::digest(document));
        if line != format!("{DIGEST_PREFIX}{digest}\n").as_bytes() {
            return Err(invalid("its last line is not its own digest"));
        }
        let seal: Self = serde_json::from_slice(document).map_err(|error| invalid(&error.to_string()))?;
        let bytes = seal.files.iter().map(|file| u128::from(file.size)).sum();
        if u128::from(seal.bytes) != bytes || seal.checksum != checksum_of(&seal.files) {
            return Err(invalid("its sums are not those of its files"));
        }
        Ok(seal)
    }

    pub(crate) fn read(dir: &Folder) -> Result<Option<Self>> {
        let bytes = dir.read(SEAL_FILE, SEAL_MAX)?;
        let what = format!("{}/{SEAL_FILE}", dir.label());
        bytes.map(|bytes| Self::parse(&bytes, &what)).transpose()
    }

    pub(crate) fn write_synced(&self, file: &File, what: &str) -> Result<()> {
        self.write_to(file)
            .and_then(|()| file.sync_all())
            .map_err(|source| Error::io(format!("write {what}"), source))
    }
}

/// The checksum of these files.
pub(crate) fn checksum_of(files: &[FileEntry]) -> String {
    checksum(files.iter().map(|file| (&file.sha256, file.path.as_bytes())))
}

/// The `v` of a JSON document of ours, whatever else is in it.
pub(crate) fn known_version(document: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    serde_json::from_slice::<Version>(document)
        .ok()
        .map(|version| version.v)
}

pub(crate) fn newer(version: u64) -> bool {
    version > FORMAT_VERSION.into()
}

struct HashWriter<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

mod hex_sum {
    use super::{Deserialize, Deserializer, Serializer, Sum, from_hex, to_hex};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(sum: &Sum, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(sum))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sum, D::Error> {
        let hex = String::deserialize(deserializer)?;
        from_hex(&hex)
            .and_then(|bytes| Sum::try_from(bytes).ok())
            .ok_or_else(|| D::Error::custom("not a sha256"))
    }
}

mod raw_bytes {
    use super::{Bytes, Deserialize, Deserializer, Serialize, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        Bytes::of(bytes).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Bytes::deserialize(deserializer)?
            .into_vec()
            .ok_or_else(|| D::Error::custom("not hex"))
    }
}
