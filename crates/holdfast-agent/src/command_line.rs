//! The tool's command line: what kubelet would have made of it as a container's, and scripts that are too long for one.

use crate::failure::Failure;
use holdfast_api::condition::Reason;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// What Linux takes for one argument.
const ARGUMENT_MAX: usize = 128 * 1024 - 1;
/// Programs that take a script after `-c`, and read one from a file with `.`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// A program and its arguments.
#[derive(Debug)]
pub(crate) struct CommandLine {
    /// They.
    pub(crate) argv: Vec<OsString>,
    /// A script that one of them reads by its number: it must stay open until the program runs.
    _script: Option<File>,
}

impl CommandLine {
    /// The command with `$(NAME)` replaced by the value of that variable, as kubelet does it in a container's command: tools
    /// count on it.
    pub(crate) fn of(command: &[String], variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Failure> {
        let mut argv: Vec<OsString> = command.iter().map(|text| expanded(text, &variable)).collect();
        if argv.is_empty() {
            return Err(unusable("the tool has no command".to_owned()));
        }
        let long = argv.iter().position(|argument| argument.len() > ARGUMENT_MAX);
        let script = long.map(|at| shorten(&mut argv, at)).transpose()?;
        match argv.iter().position(|argument| argument.len() > ARGUMENT_MAX) {
            Some(at) => Err(too_long(at, argv.get(at))),
            None => Ok(Self { argv, _script: script }),
        }
    }
}

fn unusable(text: String) -> Failure {
    Failure::new(Reason::BadConfiguration, text)
}

fn too_long(at: usize, argument: Option<&OsString>) -> Failure {
    unusable(format!(
        "argument {at} of the tool's command has {} bytes, and Linux takes {ARGUMENT_MAX} where it is not a shell's script: \
         put it into the tool's image",
        argument.map_or(0, |argument| argument.len())
    ))
}

/// Lets a shell read its script from a file without a name.
fn shorten(argv: &mut [OsString], at: usize) -> Result<File, Failure> {
    let (before, rest) = argv.split_at_mut(at);
    let is_option = before.last().is_some_and(|option| {
        let option = option.as_bytes();
        option.first() == Some(&b'-') && option.get(1) != Some(&b'-') && option.contains(&b'c')
    });
    let has_shell = before.iter().any(|argument| is_shell(argument));
    let Some(script) = rest.first_mut().filter(|_| is_option && has_shell) else {
        return Err(too_long(at, rest.first()));
    };
    // Without the flag that closes it: the shell inherits it.
    let mut file = memfd_create("script", MFdFlags::empty())
        .map(File::from)
        .map_err(|errno| Failure::new(Reason::ToolFailed, format!("keep the tool's script: {errno}")))?;
    file.write_all(script.as_bytes())
        .map_err(|error| Failure::new(Reason::ToolFailed, format!("keep the tool's script: {error}")))?;
    *script = OsString::from(format!(". /proc/self/fd/{}", file.as_raw_fd()));
    Ok(file)
}

fn is_shell(argument: &OsStr) -> bool {
    Path::new(argument)
        .file_name()
        .is_some_and(|name| SHELLS.iter().any(|shell| name == *shell))
}

/// Names that are not set stay as they are written, and `$$(NAME)` stands for `$(NAME)`. Every other `$` is the tool's: a
/// shell's `$$` is not halved.
fn expanded(text: &str, variable: &impl Fn(&str) -> Option<OsString>) -> OsString {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$(") {
        out.extend_from_slice(before.as_bytes());
        let value = after
            .split_once(')')
            .and_then(|(name, after)| Some((variable(name)?, after)));
        rest = match value {
            Some(_) if before.ends_with('$') => {
                out.push(b'(');
                after
            }
            Some((value, after)) => {
                out.extend(value.into_vec());
                after
            }
            None => {
                out.extend_from_slice(b"$(");
                after
            }
        };
    }
    out.extend_from_slice(rest.as_bytes());
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_are_set_are_expanded_and_nothing_else() {
        let variable = |name: &str| (name == "DIR").then(|| "/a$(DIR)".into());
        for (text, expected) in [
            ("--to=$(DIR)/x", "--to=/a$(DIR)/x"),
            (
                "$$ $(date) $((1 + 1)) $DIR ${DIR} $",
                "$$ $(date) $((1 + 1)) $DIR ${DIR} $",
            ),
            ("$$(DIR) $$(date)", "$(DIR) $$(date)"),
            ("$(echo $(DIR)) $(DIR", "$(echo /a$(DIR)) $(DIR"),
        ] {
            assert_eq!(expanded(text, &variable), expected);
        }
    }
}
