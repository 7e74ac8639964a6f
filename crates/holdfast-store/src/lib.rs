//! The repository on disk: marker, claim, seal, tomb, digests and purge.
//!
//! A repository is a volume that every pod of a namespace may write to, so nothing found in it is trusted:
//! every step is taken through directory handles and no symbolic link is ever followed.
//!
//! ```text
//! /.holdfast/repository.json            identity of the repository
//! /.holdfast/tombs/<uid>                backups that were purged, kept for a week
//! /<namespace>/<prefix>/<backup>/       what the tool wrote, and `holdfast.json`, the seal
//! /<namespace>/<prefix>/.holdfast/<backup>/   claim, lock and the tool's log
//! ```

mod aside;
mod claim;
mod digest;
mod error;
mod folder;
mod lock;
mod marker;
mod path;
mod purge;
mod random;
mod repository;
mod seal;
mod tomb;
mod tree;
mod work;

pub use aside::is_set_aside;
pub use claim::{CLAIM_FILE, Claim, Claimant};
pub use digest::{DigestReader, checksum, sha256_line, to_hex};
pub use error::Error;
pub use folder::{Folder, Kind};
pub use lock::Lock;
pub use path::{BackupPath, META_DIR, valid_uid};
pub use purge::{Outcome, PurgeEntry, purge};
pub use repository::{Found, Repository, Sealed, new_repository_id};
pub use seal::{FORMAT_VERSION, FileEntry, LinkEntry, RelPath, SEAL_FILE, Seal};
pub use tomb::TOMB_KEPT;
pub use tree::{Contents, Scan, scan, verify};
pub use work::{Claimed, TOOL_LOG, Work};

/// A result with the errors of this crate.
pub type Result<T> = std::result::Result<T, Error>;
