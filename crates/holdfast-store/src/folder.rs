//! A directory held open by a handle. Everything in a repository is reached through handles like this, one name at
//! a time and never through a symbolic link, so that a link planted there cannot lead us outside.

use crate::{Error, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

const DIRECTORY: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_RDONLY);
const DIR_MODE: Mode = Mode::from_bits_truncate(0o755);
const FILE_MODE: Mode = Mode::from_bits_truncate(0o644);
/// Deeper trees than this are refused: a walk holds one handle a level.
pub(crate) const DEPTH_MAX: usize = 256;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A socket, pipe or device.
    Other,
}

/// An open directory and how to call it in messages.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    label: String,
}

impl Folder {
    /// Opens a directory by its path in the file system: the root of a volume.
    ///
    /// # Errors
    /// [`Error::Io`] as the file system says.
    pub fn open_root(path: &Path) -> Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let label = path.display().to_string();
        let fd =
            open(path, flags, Mode::empty()).map_err(|errno| Error::io(format!("open directory {label}"), errno))?;
        Ok(Self { fd, label })
    }

    /// The directory's path as far as it is known; for messages only.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A second handle of the same directory.
    ///
    /// # Errors
    /// [`Error::Io`] as the file system says.
    pub fn again(&self) -> Result<Self> {
        let fd = self
            .fd
            .try_clone()
            .map_err(|source| Error::io(format!("open {}", self.label), source))?;
        Ok(Self {
            fd,
            label: self.label.clone(),
        })
    }

    fn named(&self, name: &OsStr) -> String {
        format!("{}/{}", self.label, name.to_string_lossy().escape_debug())
    }

    pub(crate) fn failed(&self, verb: &str, name: &OsStr, errno: Errno) -> Error {
        Error::io(format!("{verb} {}", self.named(name)), errno)
    }

    /// Opens the directory of this name, none if there is nothing of that name.
    ///
    /// # Errors
    /// [`Error::NotPlain`] if it is a symbolic link or no directory, or [`Error::Io`].
    pub fn open_dir(&self, name: impl AsRef<OsStr>) -> Result<Option<Self>> {
        let name = name.as_ref();
        match openat(&self.fd, name, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Self {
                fd,
                label: self.named(name),
            })),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ELOOP | Errno::ENOTDIR) => Err(Error::NotPlain(self.named(name), "directory")),
            Err(errno) => Err(self.failed("open directory", name, errno)),
        }
    }

    /// Opens the directory of this name and makes it first if need be.
    ///
    /// # Errors
    /// As [`Folder::open_dir`], or [`Error::Io`].
    pub fn make_dir(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let name = name.as_ref();
        match mkdirat(&self.fd, name, DIR_MODE) {
            Ok(()) => self.sync()?,
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(self.failed("create directory", name, errno)),
        }
        self.open_dir(name)?
            .ok_or_else(|| self.failed("open directory", name, Errno::ENOENT))
    }

    /// What a name stands for, none if there is nothing of that name.
    ///
    /// # Errors
    /// [`Error::Io`] as the file system says.
    pub fn kind(&self, name: impl AsRef<OsStr>) -> Result<Option<Kind>> {
        Ok(self.stat(name.as_ref())?.map(|stat| kind_of(stat.st_mode)))
    }

    pub(crate) fn stat(&self, name: &OsStr) -> Result<Option<FileStat>> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failed("look at", name, errno)),
        }
    }

    pub(crate) fn device(&self) -> Result<u64> {
        fstat(&self.fd)
            .map(|stat| stat.st_dev)
            .map_err(|errno| Error::io(format!("look at {}", self.label), errno))
    }

    /// Opens a regular file for reading, none if there is nothing of that name.
    ///
    /// # Errors
    /// [`Error::NotPlain`] if it is anything but a regular file, or [`Error::Io`].
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> Result<Option<File>> {
        self.open_plain(name.as_ref(), OFlag::O_RDONLY)
    }

    /// Opens a regular file for reading and writing, made if it is not there.
    pub(crate) fn open_or_create(&self, name: &OsStr) -> Result<File> {
        self.open_plain(name, OFlag::O_RDWR | OFlag::O_CREAT)?
            .ok_or_else(|| self.failed("create", name, Errno::ENOENT))
    }

    /// Opens a file for writing, emptied or made anew. Refuses to write through a link.
    ///
    /// # Errors
    /// [`Error::NotPlain`] if there is anything but a regular file, or [`Error::Io`].
    pub fn create_file(&self, name: impl AsRef<OsStr>) -> Result<File> {
        let name = name.as_ref();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        self.open_plain(name, flags)?
            .ok_or_else(|| self.failed("create", name, Errno::ENOENT))
    }

    /// Makes a file for writing; fails if there is anything of that name.
    pub(crate) fn create_new_file(&self, name: impl AsRef<OsStr>) -> Result<File> {
        let name = name.as_ref();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        self.open_plain(name, flags)?
            .ok_or_else(|| self.failed("create", name, Errno::ENOENT))
    }

    fn open_plain(&self, name: &OsStr, flags: OFlag) -> Result<Option<File>> {
        // O_NONBLOCK: opening a pipe that somebody planted must not wait for its other end.
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = match openat(&self.fd, name, flags, FILE_MODE) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::ENXIO | Errno::EISDIR) => {
                return Err(Error::NotPlain(self.named(name), "file"));
            }
            Err(errno) => return Err(self.failed("open", name, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| self.failed("look at", name, errno))?;
        if kind_of(stat.st_mode) != Kind::File {
            return Err(Error::NotPlain(self.named(name), "file"));
        }
        Ok(Some(File::from(fd)))
    }

    /// Reads a small file of ours whole, none if it is not there.
    ///
    /// # Errors
    /// [`Error::SealInvalid`] if it is longer than `limit` bytes, or as [`Folder::open_file`].
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<Vec<u8>>> {
        let name = name.as_ref();
        let Some(file) = self.open_file(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::io(format!("read {}", self.named(name)), source))?;
        if bytes.len() as u64 > limit {
            let text = format!("{} is longer than {limit} bytes", self.named(name));
            return Err(Error::SealInvalid(text));
        }
        Ok(Some(bytes))
    }

    /// Gives a file of the directory another name in it; one of that name gives way.
    ///
    /// # Errors
    /// [`Error::Io`] as the file system says.
    pub fn rename(&self, name: &str, new_name: &str) -> Result<()> {
        renameat(&self.fd, name, &self.fd, new_name)
            .map_err(|errno| self.failed("rename to", OsStr::new(new_name), errno))
    }

    /// The names in the directory, sorted by their bytes.
    ///
    /// # Errors
    /// [`Error::Io`] as the file system says.
    pub fn names(&self) -> Result<Vec<OsString>> {
        let mut names = self.first_names(usize::MAX)?;
        names.sort_unstable();
        Ok(names)
    }

    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// [`Error::Io`] as the file system says.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.first_names(1)?.is_empty())
    }

    fn first_names(&self, limit: usize) -> Result<Vec<OsString>> {
        let fail = |errno| Error::io(format!("list {}", self.label), errno);
        // Opened anew: a listing moves the position of the handle it reads.
        let mut dir = Dir::openat(&self.fd, ".", DIRECTORY, Mode::empty()).map_err(fail)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
            if names.len() >= limit {
                break;
            }
        }
        Ok(names)
    }

    /// Where a symbolic link points to. It is not followed.
    ///
    /// # Errors
    /// [`Error::Io`] as the file system says.
    pub fn read_link(&self, name: &OsStr) -> Result<OsString> {
        readlinkat(&self.fd, name).map_err(|errno| self.failed("read link", name, errno))
    }

    /// Removes a file or link; that it is gone already is fine.
    ///
    /// # Errors
    /// [`Error::Io`] as the file system says.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", name, errno)),
        }
    }

    /// Removes an empty directory; answers whether it is gone.
    ///
    /// # Errors
    /// [`Error::Io`] as the file system says.
    pub fn remove_empty_dir(&self, name: impl AsRef<OsStr>) -> Result<bool> {
        let name = name.as_ref();
        match unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(true),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
            Err(errno) => Err(self.failed("remove directory", name, errno)),
        }
    }

    /// Removes everything below this name. Links are removed, not followed; another file system mounted inside
    /// stops it. The sizes of the files that are gone are added to `freed`, also where it stops half way.
    ///
    /// # Errors
    /// [`Error::Occupied`] where another volume is mounted inside or it is nested too deep, [`Error::Io`] also if somebody
    /// goes on writing there.
    pub fn remove_tree(&self, name: impl AsRef<OsStr>, freed: &mut u64) -> Result<()> {
        let name = name.as_ref();
        let Some(stat) = self.stat(name)? else {
            return Ok(());
        };
        if kind_of(stat.st_mode) != Kind::Directory {
            return self.remove_counted(name, &stat, freed);
        }
        if let Some(folder) = self.open_dir(name)? {
            folder.remove_all(self, freed)?;
        }
        if self.remove_empty_dir(name)? {
            return Ok(());
        }
        Err(self.failed("remove directory", name, Errno::ENOTEMPTY))
    }

    /// Removes everything in it, as [`Folder::remove_tree`] does; `parent` is the directory that it is in.
    pub(crate) fn remove_all(&self, parent: &Self, freed: &mut u64) -> Result<()> {
        self.clear(parent.device()?, 0, freed)
    }

    fn remove_counted(&self, name: &OsStr, stat: &FileStat, freed: &mut u64) -> Result<()> {
        self.remove_file(name)?;
        // A file that has another name still takes its place.
        if kind_of(stat.st_mode) == Kind::File && stat.st_nlink <= 1 {
            *freed = freed.saturating_add(u64::try_from(stat.st_size).unwrap_or_default());
        }
        Ok(())
    }

    fn clear(&self, device: u64, depth: usize, freed: &mut u64) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::Occupied(format!("{} is nested too deep", self.label)));
        }
        if self.device()? != device {
            let text = format!("another volume is mounted at {}", self.label);
            return Err(Error::Occupied(text));
        }
        for name in self.names()? {
            let Some(stat) = self.stat(&name)? else {
                continue;
            };
            if kind_of(stat.st_mode) == Kind::Directory {
                if let Some(folder) = self.open_dir(&name)? {
                    folder.clear(device, depth + 1, freed)?;
                }
                self.remove_empty_dir(&name)?;
            } else {
                self.remove_counted(&name, &stat, freed)?;
            }
        }
        Ok(())
    }

    /// Makes the names in the directory last over a power cut, where the file system can.
    ///
    /// # Errors
    /// [`Error::Io`]; not for file systems that cannot.
    pub fn sync(&self) -> Result<()> {
        match fsync(&self.fd) {
            Ok(()) | Err(Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EROFS) => Ok(()),
            Err(errno) => Err(Error::io(format!("sync {}", self.label), errno)),
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn kind_of(mode: u32) -> Kind {
    match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Other,
    }
}
