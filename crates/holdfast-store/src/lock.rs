//! The lock of a backup's directory: held while a pod of ours works there, so that a second pod of the same
//! backup, or a purge, does not pull the directory from under it. The claim is what decides; the lock saves work
//! and is missing on file systems without locks.

use crate::folder::Folder;
use crate::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::fstat;
use std::ffi::OsStr;
use std::fs::File;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Name of the lock's file, beside the claim.
pub(crate) const LOCK_FILE: &str = "lock";
const PAUSE: Duration = Duration::from_millis(100);

/// A held lock, given up when dropped (also when the process dies).
#[derive(Debug)]
pub(crate) struct Lock {
    held: Option<Flock<File>>,
}

impl Lock {
    /// Takes the lock of this file for writing, waiting up to `wait` for another holder to end. The file is made if
    /// it is not there.
    ///
    /// # Errors
    /// [`Error::Busy`] if another live process still holds it.
    pub(crate) fn exclusive(metadata: &Folder, name: &str, wait: Duration, stop: &dyn Fn() -> bool) -> Result<Self> {
        let name = OsStr::new(name);
        loop {
            let file = metadata.open_or_create(name)?;
            let lock = Self::take(metadata, file, FlockArg::LockExclusiveNonblock, wait, stop)?;
            // Who held it before may have removed the file: then this one is no longer anybody's lock.
            if lock.is_file(metadata, name)? {
                return Ok(lock);
            }
        }
    }

    fn is_file(&self, metadata: &Folder, name: &OsStr) -> Result<bool> {
        let Some(held) = &self.held else {
            return Ok(true);
        };
        let mine =
            fstat(&**held).map_err(|errno| Error::io(format!("look at the lock in {}", metadata.label()), errno))?;
        Ok(metadata.stat(name)?.is_some_and(|there| there.st_ino == mine.st_ino))
    }

    /// Takes the lock for reading; a purge refuses the directory meanwhile. Where it has no lock file, there is
    /// nothing to hold.
    pub(crate) fn shared(metadata: &Folder) -> Result<Self> {
        match metadata.open_file(LOCK_FILE)? {
            None => Ok(Self { held: None }),
            Some(file) => Self::take(metadata, file, FlockArg::LockSharedNonblock, Duration::ZERO, &|| false),
        }
    }

    fn take(metadata: &Folder, mut file: File, how: FlockArg, wait: Duration, stop: &dyn Fn() -> bool) -> Result<Self> {
        let began = Instant::now();
        loop {
            match Flock::lock(file, how) {
                Ok(held) => return Ok(Self { held: Some(held) }),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
                Err((_, Errno::EOPNOTSUPP | Errno::ENOLCK | Errno::ENOSYS | Errno::EBADF)) => {
                    return Ok(Self { held: None });
                }
                Err((_, errno)) => return Err(Error::io(format!("lock {}", metadata.label()), errno)),
            }
            if stop() {
                return Err(Error::Stopped);
            }
            if began.elapsed() >= wait {
                let text = format!("another live pod works in {}", metadata.label());
                return Err(Error::Busy(text));
            }
            sleep(PAUSE);
        }
    }
}
