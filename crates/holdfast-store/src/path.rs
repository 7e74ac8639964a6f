//! Paths inside a repository: parsed once, then trusted.

use crate::{Error, Result};
use std::fmt;

/// The metadata directory, at the root and beside backups. No part of a backup's path may be called so.
pub const META_DIR: &str = ".holdfast";

const COMPONENT_MAX: usize = 255;
const PATH_MAX: usize = 3072;
const UID_MAX: usize = 64;

/// The place of a backup below the root of its repository: at least a namespace and a name, nothing that could
/// lead out or into our metadata.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackupPath(Vec<String>);

impl BackupPath {
    /// Parses `/<namespace>/<prefix>/<backup>`. Doubled slashes count as one.
    ///
    /// # Errors
    /// Anything that is not absolute, has fewer than two parts, `.` or `..`, our own directory's name, or control characters.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why| Err(Error::Path(text.escape_default().to_string(), why));
        if !text.starts_with('/') {
            return refuse("it does not begin with `/`");
        }
        if text.len() > PATH_MAX {
            return refuse("it is too long");
        }
        let parts: Vec<String> = text
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        for part in &parts {
            if part == "." || part == ".." {
                return refuse("it has a part `.` or `..`");
            }
            if part == META_DIR || part == crate::SEAL_FILE {
                return refuse("it has a part that Holdfast keeps for itself");
            }
            if part.len() > COMPONENT_MAX {
                return refuse("a part of it is longer than 255 bytes");
            }
            if part.chars().any(char::is_control) {
                return refuse("it has control characters");
            }
        }
        if parts.len() < 2 {
            return refuse("it needs a namespace and a name");
        }
        Ok(Self(parts))
    }

    /// The last part: the directory of the backup itself.
    pub fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// The parts above the last one, from the root down.
    pub fn parents(&self) -> &[String] {
        self.0.split_last().map_or(&[], |(_, parents)| parents)
    }
}

impl fmt::Display for BackupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

/// Whether a uid can be a file name of ours: letters, digits and `-` only.
pub fn valid_uid(uid: &str) -> bool {
    !uid.is_empty() && uid.len() <= UID_MAX && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_path_is_taken_apart() {
        let path = BackupPath::parse("/ns//shop-uid/postgres/b1").unwrap();
        assert_eq!(path.name(), "b1");
        assert_eq!(path.parents(), ["ns", "shop-uid", "postgres"]);
        assert_eq!(path.to_string(), "/ns/shop-uid/postgres/b1");
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_refused() {
        for bad in [
            "",
            "/",
            "ns/b",
            "/ns",
            "/ns/../b",
            "/ns/./b",
            "/ns/..",
            "/ns/.holdfast/b",
            "/.holdfast/tombs",
            "/ns/a\nb",
            "/ns/a\0b",
            "/ns/holdfast.json",
        ] {
            assert!(BackupPath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(BackupPath::parse(&format!("/ns/{}", "x".repeat(256))).is_err());
    }

    #[test]
    fn only_plain_uids_become_file_names() {
        assert!(valid_uid("0b3e9c1e-5f7a-4a53-9a34-1f6f8d0a1c2b"));
        for bad in ["", ".", "..", "a/b", "a b", "é", &"a".repeat(65)] {
            assert!(!valid_uid(bad), "{bad:?}");
        }
    }
}
