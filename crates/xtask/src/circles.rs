//! Checks that no files of a crate use each other in a circle: such files can only be read, changed and tested together.
//!
//! A file uses another where it takes a name from it, by `use` or by a path from `crate`, `super` or `self`, also where that
//! name reaches it through a third file's `use`. What a file takes from the folder of modules below it does not count, and
//! nor do tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context as _;

use crate::check::{collect, is_test, report, without_tests};

/// Names from the crate's root: of a module, or of what a module holds.
type Names = Vec<String>;
/// How often a name may be handed on by one file to the next; more only where they do so in a circle.
const HANDED_ON: usize = 16;

/// Fails if files of a crate use each other in a circle.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let folders = fs::read_dir(root.join("crates")).context("cannot read crates")?;
    let mut folders = folders.collect::<Result<Vec<_>, _>>()?;
    folders.sort_by_key(fs::DirEntry::path);
    for folder in folders {
        let src = folder.path().join("src");
        let (mut paths, mut files) = (Vec::new(), BTreeMap::new());
        collect(&src, &mut paths)?;
        for path in paths {
            let name = path.strip_prefix(&src).unwrap_or(&path).display().to_string();
            if !is_test(&format!("/{name}")) {
                files.insert(
                    name,
                    fs::read_to_string(&path).with_context(|| path.display().to_string())?,
                );
            }
        }
        let name = folder.file_name().display().to_string();
        wrong.extend(
            circles(&files)
                .into_iter()
                .map(|circle| format!("{name}: these use each other: {}", circle.join(", "))),
        );
    }
    report(&wrong)
}

/// The files of a crate, by their names below `src`, that use each other in circles.
fn circles(files: &BTreeMap<String, String>) -> Vec<Names> {
    let mut modules: BTreeMap<Names, Module> = BTreeMap::new();
    for (name, text) in files {
        let module = modules.entry(module_of(name)).or_default();
        module.files.push(name.clone());
        module.read(without_tests(text));
    }
    let uses: BTreeMap<&Names, BTreeSet<Names>> = modules
        .iter()
        .map(|(name, module)| (name, module.used(name, &modules)))
        .collect();
    let reached: BTreeMap<&Names, BTreeSet<&Names>> = uses.keys().map(|name| (*name, reach(name, &uses))).collect();
    let mut found = BTreeSet::new();
    for (name, reaches) in &reached {
        let back = reaches.iter().filter(|other| reached[**other].contains(name));
        let circle: Vec<String> = back.flat_map(|other| modules[*other].files.clone()).collect();
        if !circle.is_empty() {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

/// All that a module uses, and what that uses, and so on.
fn reach<'a>(from: &'a Names, uses: &'a BTreeMap<&Names, BTreeSet<Names>>) -> BTreeSet<&'a Names> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(next) = open.pop() {
        let further = uses.get(next).into_iter().flatten();
        open.extend(further.filter(|other| reached.insert(*other)));
    }
    reached
}

/// The module that a file holds.
fn module_of(file: &str) -> Names {
    let mut names: Names = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let last = names.last().map(String::as_str);
    let own = matches!(last, Some("mod")) || (names.len() == 1 && matches!(last, Some("lib" | "main")));
    names.truncate(names.len() - usize::from(own));
    names
}

/// What a file says about others.
#[derive(Default)]
struct Module {
    files: Vec<String>,
    /// Paths as written, the first name being `crate`, `super`, `self` or anything that is in scope.
    paths: Vec<Names>,
    /// Names that `use` brings in, and the paths that they stand for: they can be taken from this module too.
    brought: BTreeMap<String, Names>,
}

impl Module {
    fn read(&mut self, text: &str) {
        let code: Vec<&str> = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect();
        let tokens = tokens(&code.join("\n"));
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let after_colons = at > 0 && tokens.get(at - 1).is_some_and(|before| before == "::");
            let before_colons = tokens.get(at + 1).is_some_and(|next| next == "::");
            if token == "use" {
                at += 1;
                for (path, name) in tree(&tokens, &mut at, &[]) {
                    self.paths.push(path.clone());
                    self.brought.insert(name, path);
                }
            } else if matches!(token.as_str(), "crate" | "super" | "self") && before_colons && !after_colons {
                let read = tree(&tokens, &mut at, &[]);
                self.paths.extend(read.into_iter().map(|(path, _)| path));
            } else {
                at += 1;
            }
        }
    }

    /// The modules that this one, of this name, uses.
    fn used(&self, name: &Names, modules: &BTreeMap<Names, Self>) -> BTreeSet<Names> {
        let from_root = self.paths.iter().filter_map(|path| absolute(name, path, modules));
        let owners = from_root.filter_map(|path| owner(path, modules));
        owners.filter(|owner| !owner.starts_with(name)).collect()
    }
}

/// A path as written in a module, from the crate's root; none if it leaves the crate.
fn absolute(module: &Names, path: &[String], modules: &BTreeMap<Names, Module>) -> Option<Names> {
    let (first, rest) = path.split_first()?;
    let mut base = match first.as_str() {
        "crate" => Names::new(),
        "self" => module.clone(),
        "super" => module.split_last()?.1.to_vec(),
        _ => {
            let below = [module.as_slice(), std::slice::from_ref(first)].concat();
            return modules.contains_key(&below).then(|| [below.as_slice(), rest].concat());
        }
    };
    for name in rest {
        if name == "super" {
            base.pop();
        } else {
            base.push(name.clone());
        }
    }
    Some(base)
}

/// The module that holds what a path from the root stands for.
fn owner(mut path: Names, modules: &BTreeMap<Names, Module>) -> Option<Names> {
    for _ in 0..HANDED_ON {
        let depth = (0..=path.len())
            .rev()
            .find(|depth| modules.contains_key(path.get(..*depth).unwrap_or_default()))?;
        let rest = path.split_off(depth);
        let Some((name, below)) = rest.split_first() else {
            return Some(path);
        };
        let Some(brought) = modules.get(&path).and_then(|module| module.brought.get(name)) else {
            return Some(path);
        };
        path = absolute(&path, &[brought.as_slice(), below].concat(), modules)?;
    }
    None
}

/// Names, `::`, and every other sign by itself.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut in_name = false;
    for char in code.chars() {
        let of_name = char.is_alphanumeric() || char == '_';
        match tokens.last_mut() {
            Some(last) if (of_name && in_name) || (char == ':' && last == ":") => last.push(char),
            _ if !char.is_whitespace() => tokens.push(char.into()),
            _ => {}
        }
        in_name = of_name;
    }
    tokens
}

/// The paths of a `use` tree or of a path in an expression, each with the name that it brings in.
fn tree(tokens: &[String], at: &mut usize, before: &[String]) -> Vec<(Names, String)> {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        match token.as_str() {
            "{" => {
                let mut found = Vec::new();
                while tokens.get(*at).is_some_and(|next| next != "}") {
                    found.extend(tree(tokens, at, &path));
                    *at += usize::from(tokens.get(*at).is_some_and(|next| next == ","));
                }
                *at += 1;
                return found;
            }
            // The module itself stands for all that it holds, and for itself within braces.
            "*" | "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        if tokens.get(*at).is_none_or(|next| next != "::") {
            break;
        }
        *at += 1;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if tokens.get(*at).is_some_and(|next| next == "as") {
        name = tokens.get(*at + 1).cloned().unwrap_or_default();
        *at += 2;
    }
    vec![(path, name)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        circles(&files.collect())
            .into_iter()
            .map(|circle| circle.join(" "))
            .collect()
    }

    #[test]
    fn files_that_use_each_other_are_found_however_they_do() {
        assert_eq!(
            found(&[("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { crate::a::g() }")]),
            ["a.rs b.rs"]
        );
        // Over a third file, with trees, other names and `super`.
        let three = [
            ("x/mod.rs", "mod a;"),
            ("x/a.rs", "use super::{\n    b::{self, B},\n    super::other,\n};"),
            ("x/b.rs", "use {std::fmt, crate::x::c as d};"),
            ("x/c.rs", "type A = super::super::x::a::A;"),
            ("other.rs", ""),
        ];
        assert_eq!(found(&three), ["x/a.rs x/b.rs x/c.rs"]);
        // A name that the folder's own file hands on is its owner's.
        let handed_on = [
            ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B as Bee;"),
            ("a.rs", "use crate::Bee;"),
            ("b.rs", "use crate::{A};"),
        ];
        assert_eq!(found(&handed_on), ["a.rs b.rs"]);
        // Two circles are two.
        let two = [
            ("a.rs", "use crate::b::*;"),
            ("b.rs", "use super::a::A;"),
            ("c.rs", "use crate::d;"),
            ("d.rs", "use crate::{a, c::C};"),
        ];
        assert_eq!(found(&two), ["a.rs b.rs", "c.rs d.rs"]);
    }

    #[test]
    fn declarations_comments_tests_and_a_folders_own_file_make_no_circle() {
        let none: [&[(&str, &str)]; 4] = [
            &[
                (
                    "x/mod.rs",
                    "mod a;\nmod b;\npub use a::A;\nfn f() { b::g(self::a::h()) }\nstruct S;",
                ),
                ("x/a.rs", "use super::S;"),
                ("x/b.rs", "use super::{A, S};"),
            ],
            &[
                ("a.rs", "use crate::b::B;"),
                ("b.rs", "//! [`crate::a`]\nstruct B; // crate::a"),
            ],
            &[
                ("a.rs", "use crate::b::B;"),
                (
                    "b.rs",
                    "struct B;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
                ),
            ],
            &[
                ("a.rs", "use b::B;\npub(crate) fn f(&self) {}"),
                ("b.rs", "use crate::a;"),
            ],
        ];
        for files in none {
            assert_eq!(found(files), Vec::<String>::new());
        }
    }
}
