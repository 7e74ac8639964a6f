//! The mark on a volume that a restore is writing: an extended attribute of its root directory, where no tool looks for
//! files, no backup reads it, and a tool that empties the volume leaves it. Where the file system has no attributes it is
//! a file; a tool that refuses a directory with anything in it does not work there.

use holdfast_store::{Error, Folder, Result, is_set_aside};
use nix::errno::Errno;
use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;

const ATTRIBUTE: &str = "user.holdfast.dirty";
/// The mark as a file, also that of earlier versions.
const FILE: &str = ".holdfast-dirty";
/// Longer than any mark of ours.
const LENGTH_MAX: usize = 4096;

/// What a mark says.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mark {
    /// Version of this form: 1.
    pub(crate) v: u32,
    /// The restore that set it.
    pub(crate) restore_uid: String,
    /// The Backup that is restored.
    pub(crate) backup: String,
    /// Its uid.
    pub(crate) backup_uid: String,
    /// Since when.
    pub(crate) since: String,
}

/// Whether a name at the root of a volume is that of a mark, or of one that was cut off before it stood.
pub(crate) fn is_mark(name: &OsStr) -> bool {
    name == FILE || is_set_aside(FILE, name)
}

impl Mark {
    /// The restores whose mark is on a volume; what cannot be read is nobody's.
    pub(crate) fn restores_on(volume: &Folder) -> Result<Vec<String>> {
        let marks = [
            attribute(volume)?,
            volume.read(FILE, LENGTH_MAX as u64).unwrap_or_default(),
        ];
        let read = |bytes: Vec<u8>| serde_json::from_slice::<Self>(&bytes).ok();
        Ok(marks
            .into_iter()
            .flatten()
            .filter_map(read)
            .map(|mark| mark.restore_uid)
            .collect())
    }

    /// Puts the mark on a volume, over any other. When it is there, it outlasts a power cut.
    pub(crate) fn put(&self, volume: &Folder, writer: &str) -> Result<()> {
        let bytes =
            serde_json::to_vec(self).map_err(|error| Error::io("write the mark", std::io::Error::other(error)))?;
        if fsetxattr(volume, ATTRIBUTE, &bytes, XattrFlags::empty()).is_err() {
            // No attributes at all, no room for one, or no right to: the file says why it cannot be either.
            volume.remove_set_aside(FILE)?;
            return volume.write(FILE, &bytes, writer);
        }
        volume.sync()?;
        remove_file(volume)
    }

    /// Takes any mark off a volume.
    pub(crate) fn remove(volume: &Folder) -> Result<()> {
        match fremovexattr(volume, ATTRIBUTE) {
            Ok(()) => {}
            Err(error) if is_none(error) => {}
            Err(error) => return Err(failed("take the mark off", volume, error)),
        }
        remove_file(volume)
    }
}

fn remove_file(volume: &Folder) -> Result<()> {
    volume.remove_set_aside(FILE)?;
    volume.remove_file(FILE)?;
    volume.sync()
}

fn attribute(volume: &Folder) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; LENGTH_MAX];
    match fgetxattr(volume, ATTRIBUTE, &mut buffer) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        // Too long for one of ours.
        Err(rustix::io::Errno::RANGE) => Ok(None),
        Err(error) if is_none(error) => Ok(None),
        Err(error) => Err(failed("read the mark of", volume, error)),
    }
}

/// Whether there is no such attribute, or no attributes at all.
fn is_none(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    [Errno::NODATA, Errno::OPNOTSUPP, Errno::NOSYS].contains(&error)
}

fn failed(verb: &str, volume: &Folder, error: rustix::io::Errno) -> Error {
    Error::io(
        format!("{verb} {}", volume.label()),
        Errno::from_raw(error.raw_os_error()),
    )
}
