//! Puts files in place whole or not at all, also over a power cut: written aside under a name that nobody else has,
//! synced, then renamed or linked.

use crate::folder::Folder;
use crate::path::valid_uid;
use crate::{Error, Result, random};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, renameat};
use nix::unistd::linkat;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;

/// How the name of a file ends that is not in its place yet, or never came there.
const ENDING: &str = ".new";
const RANDOM_BYTES: usize = 8;

/// Whether a name is that of a file set aside for `name`; for any file of ours if `name` is empty.
pub fn is_set_aside(name: &str, candidate: &OsStr) -> bool {
    let candidate = candidate.to_string_lossy();
    let rest = candidate.strip_suffix(ENDING).and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| name.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

/// A file that is written and synced, and not in its place. It is removed when dropped.
#[derive(Debug)]
pub(crate) struct Aside {
    folder: Folder,
    name: String,
    placed: bool,
}

impl Folder {
    /// Puts a file in place, over one that is there. `writer` is the uid of the pod that writes, empty if it is not
    /// known: it is part of the name under which the file is written aside, so that one sees who left it.
    ///
    /// # Errors
    /// Errors of the volume. Then what was there is there still.
    pub fn write(&self, name: &str, bytes: &[u8], writer: &str) -> Result<()> {
        self.aside_with(name, bytes, writer)?.put(self, name)
    }

    /// As [`Folder::write`], but leaves a file that is already there as it is. Answers whether it was put in place.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8], writer: &str) -> Result<bool> {
        if self.kind(name)?.is_some() {
            return Ok(false);
        }
        self.aside_with(name, bytes, writer)?.put_new(name)
    }

    fn aside_with(&self, name: &str, bytes: &[u8], writer: &str) -> Result<Aside> {
        let write = |mut file: &File| file.write_all(bytes).and_then(|()| file.sync_all());
        self.set_aside(name, writer, |file| {
            write(file).map_err(|source| Error::io(format!("write {}/{name}", self.label()), source))
        })
    }

    /// Makes the file that will be `name`. `content` writes it and syncs it.
    pub(crate) fn set_aside(
        &self,
        name: &str,
        writer: &str,
        content: impl FnOnce(&File) -> Result<()>,
    ) -> Result<Aside> {
        let unique = random::hex(RANDOM_BYTES)?;
        let name = if valid_uid(writer) {
            format!("{name}.{writer}.{unique}{ENDING}")
        } else {
            format!("{name}.{unique}{ENDING}")
        };
        let folder = self.again()?;
        let file = folder.create_new_file(&name)?;
        let aside = Aside {
            folder,
            name,
            placed: false,
        };
        content(&file)?;
        Ok(aside)
    }

    /// Removes files that were set aside for `name` (for any if it is empty) by somebody who died before they came
    /// to their place.
    ///
    /// # Errors
    /// Errors of the volume.
    pub fn remove_set_aside(&self, name: &str) -> Result<()> {
        for left in self.names()? {
            if is_set_aside(name, &left) && self.kind(&left)? == Some(crate::Kind::File) {
                self.remove_file(&left)?;
            }
        }
        Ok(())
    }
}

impl Aside {
    /// Moves it to its place, maybe in another directory of the volume, and makes that last.
    pub(crate) fn put(mut self, to: &Folder, name: &str) -> Result<()> {
        renameat(&self.folder, self.name.as_str(), to, name)
            .map_err(|errno| to.failed("put in place", OsStr::new(name), errno))?;
        self.placed = true;
        to.sync()
    }

    /// Gives it its place in its own directory unless there is a file already. Answers whether it came there.
    pub(crate) fn put_new(mut self, name: &str) -> Result<bool> {
        let linked = linkat(&self.folder, self.name.as_str(), &self.folder, name, AtFlags::empty());
        match linked {
            Ok(()) | Err(Errno::EEXIST) => {
                self.placed = true;
                self.folder.remove_file(&self.name)?;
                self.folder.sync()?;
                Ok(linked.is_ok())
            }
            // Some network file systems have no hard links; the window is the time since the caller looked.
            Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK) => {
                let folder = self.folder.again()?;
                self.put(&folder, name)?;
                Ok(true)
            }
            Err(errno) => Err(self.folder.failed("create", OsStr::new(name), errno)),
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.placed {
            // It is nobody's; that it stays is no harm.
            let _ = self.folder.remove_file(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_bears_its_writer_is_nobody_elses_and_goes_with_a_failure() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open_root(home.path()).unwrap();
        let one = folder.set_aside("a", "pod-1", |_| Ok(())).unwrap();
        let other = folder.set_aside("a", "pod-1", |_| Ok(())).unwrap();
        let anonymous = folder.set_aside("a", "../x", |_| Ok(())).unwrap();
        for aside in [&one, &other, &anonymous] {
            assert!(is_set_aside("a", OsStr::new(&aside.name)), "{aside:?}");
        }
        assert!(one.name.starts_with("a.pod-1.") && one.name != other.name);
        assert!(!anonymous.name.contains('/'));
        drop((one, other, anonymous));
        let full = |_: &File| Err(Error::io("write", Errno::ENOSPC));
        assert!(folder.set_aside("a", "pod-1", full).is_err());
        std::fs::create_dir(home.path().join("a")).unwrap();
        assert!(folder.write("a", b"x", "pod-1").is_err(), "a directory is in its place");
        assert_eq!(folder.names().unwrap(), ["a"]);
    }

    #[test]
    fn only_what_was_set_aside_for_the_name_counts() {
        for (name, candidate, is) in [
            ("a", "a.1.new", true),
            ("a", "a.pod-1.00ff.new", true),
            ("a", "a.new", true),
            ("", "seal.new", true),
            ("a", "a", false),
            ("a", "ab.new", false),
            ("a", "b.new", false),
            ("a", "a.new.txt", false),
        ] {
            assert_eq!(is_set_aside(name, OsStr::new(candidate)), is, "{name} {candidate}");
        }
    }
}
