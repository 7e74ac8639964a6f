//! `install`: copies this binary into the volume that a tool's container shares.

use crate::log::say;
use holdfast_api::agent::EXIT_TOOL_FAILED;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::ExitCode;

const OWN_BINARY: &str = "/proc/self/exe";
const MODE: u32 = 0o755;

/// Copies, and says how it went.
pub(crate) fn leave(file: &Path) -> ExitCode {
    match copy(file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("cannot install to {}: {error}", file.display()));
            ExitCode::from(u8::try_from(EXIT_TOOL_FAILED).unwrap_or(1))
        }
    }
}

/// Written aside and renamed: a container that starts meanwhile finds all of it or nothing.
fn copy(file: &Path) -> io::Result<()> {
    let aside = file.with_extension("new");
    let mut from = File::open(OWN_BINARY)?;
    let mut to = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&aside)?;
    io::copy(&mut from, &mut to)?;
    // The mode above is cut by the umask.
    to.set_permissions(Permissions::from_mode(MODE))?;
    to.sync_all()?;
    drop(to);
    fs::rename(&aside, file)
}
