//! Volumes as directories: `<data>/<id>` holds the files, `<data>/.volumes/<id>.json` what was asked for.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::sys::statvfs::{Statvfs, statvfs};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tonic::Status;

/// Folder of the records, beside the volumes: no volume's id begins with a dot.
const RECORDS: &str = ".volumes";
/// Names up to this length serve as id.
const NAME_MAX: usize = 128;

/// All volumes of this node.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
}

/// What was asked for when a volume was made.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Record {
    /// The name that was asked for.
    pub(crate) name: String,
    /// The size that was asked for, in bytes. It is not enforced.
    pub(crate) bytes: i64,
}

impl Volumes {
    /// Opens the folder, making it if need be. Only root enters it, so that the volumes' own modes open nothing.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root.join(RECORDS))?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700))?;
        Ok(Self { root: root.to_owned() })
    }

    /// The id for a name: itself where it can be the name of a folder, else a digest of it.
    pub(crate) fn id(name: &str) -> String {
        if is_plain(name) && name.len() <= NAME_MAX {
            return name.to_owned();
        }
        Sha256::digest(name)
            .iter()
            .fold("v-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// The folder of a volume. Ids that are not ours do not exist.
    pub(crate) fn path(&self, id: &str) -> Result<PathBuf, Status> {
        if !is_plain(id) || id.len() > NAME_MAX {
            return Err(Status::not_found("there is no such volume"));
        }
        Ok(self.root.join(id))
    }

    /// What was asked for, if the volume exists.
    pub(crate) fn find(&self, id: &str) -> Result<Option<Record>, Status> {
        self.path(id)?;
        match fs::read(self.record(id)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| Status::internal(format!("the record of volume {id} cannot be read: {error}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(internal("reading a volume's record", &error)),
        }
    }

    /// Makes a volume; done twice, the second finds the first.
    pub(crate) fn create(&self, id: &str, record: &Record) -> Result<(), Status> {
        let folder = self.path(id)?;
        let made = fs::DirBuilder::new().create(&folder);
        if let Err(error) = made
            .as_ref()
            .err()
            .filter(|error| error.kind() != io::ErrorKind::AlreadyExists)
            .map_or(Ok(()), Err)
        {
            return Err(internal("making a volume", error));
        }
        // Whoever mounts it decides who may write: the mode of a fresh volume keeps nobody out.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))
            .map_err(|error| internal("making a volume", &error))?;
        let text = serde_json::to_vec(record).map_err(|error| Status::internal(error.to_string()))?;
        let (draft, done) = (self.root.join(RECORDS).join(format!("{id}.new")), self.record(id));
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &done))
            .map_err(|error| internal("recording a volume", &error))
    }

    /// Removes a volume and all its files; one that is gone is no error. Links in it are removed, not followed.
    pub(crate) fn delete(&self, id: &str) -> Result<(), Status> {
        let Ok(folder) = self.path(id) else { return Ok(()) };
        for removed in [fs::remove_dir_all(folder), fs::remove_file(self.record(id))] {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(internal("removing a volume", &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The file system that the volumes are on.
    pub(crate) fn space(&self) -> Result<Statvfs, Status> {
        statvfs(&self.root)
            .map_err(|error| Status::internal(format!("cannot measure {}: {error}", self.root.display())))
    }

    fn record(&self, id: &str) -> PathBuf {
        self.root.join(RECORDS).join(format!("{id}.json"))
    }
}

fn is_plain(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A fault of the node, as the caller may see it.
pub(crate) fn internal(what: &str, error: &io::Error) -> Status {
    if error.kind() == io::ErrorKind::StorageFull {
        return Status::resource_exhausted(format!("{what}: the node's disk is full"));
    }
    Status::internal(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_inside_the_folder() {
        for name in [
            "../etc",
            "/etc",
            "",
            ".",
            "..",
            ".volumes",
            "a/b",
            "a\0b",
            &"x".repeat(129),
        ] {
            let id = Volumes::id(name);
            assert!(
                is_plain(&id) && id.len() <= NAME_MAX && !id.starts_with('.'),
                "{name:?} became {id}"
            );
        }
        assert_eq!(Volumes::id("pvc-3f2a"), "pvc-3f2a");
        let root = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(root.path()).unwrap();
        assert!(volumes.path("../x").is_err() && volumes.find("../x").is_err());
        assert!(volumes.delete("../x").is_ok());
    }

    #[test]
    fn a_link_in_a_volume_leads_nowhere_when_it_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        let volumes = Volumes::open(root.path()).unwrap();
        volumes
            .create(
                "v",
                &Record {
                    name: "v".to_owned(),
                    bytes: 1,
                },
            )
            .unwrap();
        std::os::unix::fs::symlink(outside.path(), volumes.path("v").unwrap().join("link")).unwrap();
        volumes.delete("v").unwrap();
        assert!(outside.path().join("precious").exists());
        assert_eq!(volumes.find("v").unwrap(), None);
    }
}
