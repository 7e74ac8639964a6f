//! Symbolic links that lead out of a backup: what they point to is not in it.

use holdfast_api::agent::LinksOut;
use holdfast_store::LinkEntry;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

/// So many of them are named, each with so many characters at the most.
const NAMED_MAX: usize = 3;
const LENGTH_MAX: usize = 100;

/// The links that lead out; none if none does.
pub(crate) fn links_out(links: &[LinkEntry]) -> Option<LinksOut> {
    let out: Vec<&LinkEntry> = links.iter().filter(|link| leads_out(link)).collect();
    (!out.is_empty()).then(|| LinksOut {
        count: out.len() as u64,
        first: out.iter().take(NAMED_MAX).map(|link| named(link)).collect(),
    })
}

/// By the names alone: where another link on the way leads is not looked at.
fn leads_out(link: &LinkEntry) -> bool {
    let path = Path::new(OsStr::from_bytes(link.path.as_bytes()));
    let mut depth = path.components().count().saturating_sub(1);
    for part in Path::new(OsStr::from_bytes(&link.target)).components() {
        match part {
            Component::RootDir | Component::Prefix(_) => return true,
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
        }
    }
    false
}

fn named(link: &LinkEntry) -> String {
    let target = String::from_utf8_lossy(&link.target);
    let text = format!("{} -> {}", link.path, target.escape_debug());
    match text.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_store::RelPath;

    fn out(path: &str, target: &str) -> Option<LinksOut> {
        let path = RelPath::new(path).unwrap();
        let target = target.as_bytes().to_vec();
        links_out(&[LinkEntry { path, target }])
    }

    #[test]
    fn only_what_leads_above_the_data_leads_out() {
        for (path, target, leads) in [
            ("l", "a", false),
            ("l", "./a/../b", false),
            ("d/l", "../a", false),
            ("d/e/l", "../../a", false),
            ("l", "/var/lib", true),
            ("l", "..", true),
            ("d/l", "../../a", true),
            ("d/l", "x/../../../d", true),
        ] {
            assert_eq!(out(path, target).is_some(), leads, "{path} {target}");
        }
    }

    #[test]
    fn the_list_is_bounded_and_its_names_are_harmless() {
        let link = |number: usize| LinkEntry {
            path: RelPath::new(format!("l{number}")).unwrap(),
            target: format!("/{}\n{}", number, "x".repeat(500)).into_bytes(),
        };
        let links: Vec<LinkEntry> = (0..50).map(link).collect();
        let out = links_out(&links).unwrap();
        assert_eq!((out.count, out.first.len()), (50, NAMED_MAX));
        assert!(out.first[0].starts_with("l0 -> /0\\n") && out.first[0].chars().count() <= LENGTH_MAX + 1);
    }
}
