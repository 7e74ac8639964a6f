//! What is in a backup's directory: counted, written through to the disk, read back from it and hashed.

use crate::digest::DigestReader;
use crate::folder::{DEPTH_MAX, Folder, Kind};
use crate::seal::{FileEntry, LinkEntry, RelPath, SEAL_FILE, Seal, checksum_of};
use crate::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::{FileStat, fstat};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

const BUFFER: usize = 1 << 20;

/// How to scan.
pub struct Scan<'a> {
    /// Write every file and directory through to the disk first, and read back from there. Needs no right to write.
    pub sync: bool,
    /// Asked between reads; true ends the scan with [`Error::Stopped`].
    pub stop: &'a dyn Fn() -> bool,
}

/// What a backup's directory holds, the seal left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Regular files, sorted by path.
    pub files: Vec<FileEntry>,
    /// Symbolic links, sorted by path.
    pub links: Vec<LinkEntry>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Sockets, pipes and devices: not part of a backup.
    pub skipped: Vec<RelPath>,
}

impl Contents {
    /// The checksum of the backup.
    pub fn checksum(&self) -> String {
        checksum_of(&self.files)
    }
}

/// Reads every file of a backup's directory in order and hashes it.
///
/// # Errors
/// Errors of the volume; [`Error::Digest`] if a file changes while it is read, since then somebody still writes.
pub fn scan(dir: &Folder, how: &Scan<'_>) -> Result<Contents> {
    let mut contents = Contents::default();
    let mut buffer = vec![0; BUFFER];
    walk(dir, how, &mut |folder, name, path, kind| {
        match kind {
            Kind::File => {
                let entry = hash_file(folder, name, path, how, &mut buffer)?;
                contents.bytes = contents.bytes.saturating_add(entry.size);
                contents.files.push(entry);
            }
            Kind::Link => contents.links.push(link(folder, name, path)?),
            Kind::Other => contents.skipped.push(path),
            Kind::Directory => {}
        }
        Ok(())
    })?;
    contents.files.sort_by(|a, b| a.path.cmp(&b.path));
    contents.links.sort();
    Ok(contents)
}

/// Compares a backup's directory with its seal: names, sizes and links first, then, if `digests`, every byte.
///
/// # Errors
/// [`Error::Digest`] naming the first file that differs.
pub fn verify(dir: &Folder, seal: &Seal, digests: bool, how: &Scan<'_>) -> Result<()> {
    let sealed: BTreeMap<&RelPath, &FileEntry> = seal.files.iter().map(|file| (&file.path, file)).collect();
    compare_names(dir, seal, &sealed, how)?;
    if !digests {
        return Ok(());
    }
    let mut buffer = vec![0; BUFFER];
    walk(dir, how, &mut |folder, name, path, kind| {
        if kind != Kind::File {
            return Ok(());
        }
        let found = hash_file(folder, name, path, how, &mut buffer)?;
        match sealed.get(&found.path) {
            Some(entry) if **entry == found => Ok(()),
            _ => Err(differs(&found.path, "its content is not what was sealed")),
        }
    })
}

fn compare_names(dir: &Folder, seal: &Seal, sealed: &BTreeMap<&RelPath, &FileEntry>, how: &Scan<'_>) -> Result<()> {
    let mut files = 0;
    let mut links = Vec::new();
    walk(dir, how, &mut |folder, name, path, kind| {
        match kind {
            Kind::File => {
                let size = size_of(folder.stat(name)?);
                match sealed.get(&path) {
                    None => return Err(differs(&path, "it is not in the seal")),
                    Some(entry) if Some(entry.size) != size => {
                        return Err(differs(&path, "its size is not what was sealed"));
                    }
                    Some(_) => files += 1,
                }
            }
            Kind::Link => links.push(link(folder, name, path)?),
            Kind::Other | Kind::Directory => {}
        }
        Ok(())
    })?;
    links.sort();
    if links != seal.links {
        return Err(Error::Digest(
            "the symbolic links are not those that were sealed".to_owned(),
        ));
    }
    if files != sealed.len() {
        let text = format!("{} of {} files are missing", sealed.len() - files, sealed.len());
        return Err(Error::Digest(text));
    }
    Ok(())
}

fn differs(path: &RelPath, why: &str) -> Error {
    Error::Digest(format!("file `{path}`: {why}"))
}

fn link(folder: &Folder, name: &OsStr, path: RelPath) -> Result<LinkEntry> {
    let target = folder.read_link(name)?.as_bytes().to_vec();
    Ok(LinkEntry { path, target })
}

type Visit<'a> = dyn FnMut(&Folder, &OsStr, RelPath, Kind) -> Result<()> + 'a;

fn walk(dir: &Folder, how: &Scan<'_>, visit: &mut Visit<'_>) -> Result<()> {
    walk_below(dir, None, how, visit, 0)
}

fn walk_below(
    folder: &Folder,
    at: Option<&RelPath>,
    how: &Scan<'_>,
    visit: &mut Visit<'_>,
    depth: usize,
) -> Result<()> {
    if depth > DEPTH_MAX {
        // The name comes last: it is long, and may be cut.
        let text = format!("directories are nested deeper than {DEPTH_MAX}: {}", folder.label());
        return Err(Error::Digest(text));
    }
    for name in folder.names()? {
        if (how.stop)() {
            return Err(Error::Stopped);
        }
        if at.is_none() && name == SEAL_FILE {
            continue;
        }
        let bytes = name.as_bytes();
        let path = at.map_or_else(|| RelPath::first(bytes), |at| at.join(bytes));
        let Some(kind) = folder.kind(&name)? else {
            return Err(differs(&path, "it vanished while it was looked at"));
        };
        if kind == Kind::Directory {
            let below = folder
                .open_dir(&name)?
                .ok_or_else(|| differs(&path, "it vanished while it was looked at"))?;
            walk_below(&below, Some(&path), how, visit, depth + 1)?;
        } else {
            visit(folder, &name, path, kind)?;
        }
    }
    if how.sync { folder.sync() } else { Ok(()) }
}

fn hash_file(folder: &Folder, name: &OsStr, path: RelPath, how: &Scan<'_>, buffer: &mut [u8]) -> Result<FileEntry> {
    let fail = |verb: &str, source| Error::io(format!("{verb} backup file `{path}`"), source);
    let file = folder
        .open_file(name)?
        .ok_or_else(|| differs(&path, "it vanished while it was looked at"))?;
    if how.sync {
        write_through(&file).map_err(|source| fail("write through", source))?;
    }
    // Only now: some file systems set the time of the change when they write it through.
    let before = stamp(&file).map_err(|errno| fail("look at", errno.into()))?;
    // Drops the pages, so that what is hashed comes from the disk; advice only, some file systems ignore it.
    let drop_pages = || posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let _ = drop_pages();
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
    let mut reader = DigestReader::new(&file);
    loop {
        if (how.stop)() {
            return Err(Error::Stopped);
        }
        match reader.read(buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fail("read", error)),
        }
    }
    let (size, sha256) = reader.finish();
    // The database shares this node's memory: its pages are worth more than the backup's.
    let _ = drop_pages();
    let after = stamp(&file).map_err(|errno| fail("look at", errno.into()))?;
    if before != after || after.0 != size {
        return Err(differs(&path, "it changed while it was read"));
    }
    Ok(FileEntry { path, size, sha256 })
}

fn write_through(file: &File) -> std::io::Result<()> {
    match file.sync_all() {
        Err(error)
            if matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EROFS)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Size and time of the last change.
fn stamp(file: &File) -> nix::Result<(u64, i64, i64)> {
    let stat = fstat(file)?;
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    Ok((size, stat.st_mtime, stat.st_mtime_nsec))
}

fn size_of(stat: Option<FileStat>) -> Option<u64> {
    stat.and_then(|stat| u64::try_from(stat.st_size).ok())
}
