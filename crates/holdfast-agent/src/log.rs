//! The agent's own lines in the pod's log. Never an environment variable's value.

use crate::secrets;
use std::io::Write as _;

/// Writes one line. A closed log is no reason to stop a backup.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "holdfast: {}", secrets::known().hide(text));
}
