//! Bind mounts.

use std::{fs, io, path::Path};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

/// Whether something is mounted on exactly this path.
pub(crate) fn is_mounted(path: &Path) -> io::Result<bool> {
    let wanted = path.to_string_lossy();
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|place| unescape(place) == wanted))
}

/// The kernel writes blanks and backslashes of paths in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// Mounts a folder on another.
pub(crate) fn bind(source: &Path, target: &Path, readonly: bool) -> nix::Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    if readonly {
        // A bind mount takes over the flags of its source: read-only needs a second step.
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        if let Err(error) = mount(None::<&str>, target, None::<&str>, flags, None::<&str>) {
            unbind(target)?;
            return Err(error);
        }
    }
    Ok(())
}

/// Takes away all that is mounted on a path; nothing there is no error.
pub(crate) fn unbind(target: &Path) -> nix::Result<()> {
    loop {
        match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_blank_is_found_mounted_and_gone() {
        let root = tempfile::tempdir().unwrap();
        let (source, target) = (root.path().join("a"), root.path().join("b c"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        assert!(!is_mounted(&target).unwrap());
        bind(&source, &target, true).unwrap();
        assert!(is_mounted(&target).unwrap());
        assert!(fs::write(target.join("x"), "x").is_err());
        unbind(&target).unwrap();
        assert!(!is_mounted(&target).unwrap());
        unbind(&target).unwrap();
    }
}
