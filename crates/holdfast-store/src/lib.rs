//! Repositories: their identity, and a claim, a seal and data for each backup; tombstones of those that were purged.
//!
//! The rules of the protocol stand above [`Repo`], the operations that every kind of repository offers:
//! [`Attempt`], [`Held`] and [`Sealing`] from the claim to the seal, [`find()`], [`Purge`], [`establish`].
//! [`Repository`] is the one on a volume, [`memory::MemoryRepo`] the one for tests and models.
//!
//! A repository on a volume is one that every pod of a namespace may write to, so nothing found in it is trusted:
//! every step is taken through directory handles ([`Folder`]) and no symbolic link is ever followed.
//!
//! ```text
//! /.holdfast/repository.json            identity of the repository
//! /.holdfast/tombs/<uid>                tombstones: backups that were purged, kept for a week
//! /<namespace>/<prefix>/<backup>/       what the tool wrote, and `holdfast.json`, the seal
//! /<namespace>/<prefix>/.holdfast/<backup>/   metadata: claim, lock and the tool's log
//! ```
#![warn(clippy::missing_errors_doc)]

mod aside;
mod attempt;
mod claim;
mod digest;
mod error;
mod find;
mod folder;
mod identity;
mod lock;
mod marker;
pub mod memory;
mod path;
mod purge;
mod random;
mod repo;
mod repository;
mod seal;
mod tombstone;
mod tree;
mod volume;
mod work;

pub use aside::is_set_aside;
pub use attempt::{Attempt, Claimed, Discard, Held, Sealing};
pub use claim::{CLAIM_FILE, Claim, Claimant};
pub use digest::{DigestReader, checksum, sha256_line, to_hex};
pub use error::Error;
pub use find::{Found, Sealed, find};
pub use folder::{Folder, Kind};
pub use identity::{establish, identify, new_repository_id};
pub use path::{BackupPath, META_DIR, valid_uid};
pub use purge::{Outcome, Purge, PurgeEntry, purge, remove_expired_tombstones};
pub use repo::{Access, Data, Identity, Repo, Waiting};
pub use repository::Repository;
pub use seal::{FORMAT_VERSION, FileEntry, LinkEntry, RelPath, SEAL_FILE, Seal};
pub use tombstone::{TOMBSTONE_KEPT, Tombstone};
pub use tree::{Contents, Scan, scan, verify};
pub use volume::{Place, Staged};
pub use work::{TOOL_LOG, Work};

/// A result with the errors of this crate.
pub type Result<T> = std::result::Result<T, Error>;
