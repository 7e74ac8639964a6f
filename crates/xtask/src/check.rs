//! Checks of the tree.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// What each crate may depend on of this workspace, in its own code. Tests may use the testkit and services besides.
const ALLOWED: &[(&str, &[&str])] = &[
    ("holdfast-api", &[]),
    ("holdfast-core", &["holdfast-api"]),
    ("holdfast-store", &["holdfast-api", "holdfast-core"]),
    ("holdfast-kube", &["holdfast-api", "holdfast-core"]),
    ("holdfast-runtime", &["holdfast-api", "holdfast-core", "holdfast-kube"]),
    ("holdfast-testkit", &["holdfast-api"]),
    ("holdfast-agent", &["holdfast-api", "holdfast-core", "holdfast-store"]),
    ("holdfast-csi", &[]),
    ("xtask", &["holdfast-api"]),
    ("holdfast-e2e", &["holdfast-api", "holdfast-testkit"]),
];
const SERVICE: &[&str] = &[
    "holdfast-api",
    "holdfast-core",
    "holdfast-kube",
    "holdfast-runtime",
    "holdfast-store",
];
const SERVICES: &[&str] = &[
    "holdfast-scheduler",
    "holdfast-executor",
    "holdfast-repo-manager",
    "holdfast-gc",
    "holdfast-restore",
];
/// Libraries that only the runtime may know: the services would drift apart.
const RUNTIME_ONLY: &[&str] = &[
    "async-nats",
    "prometheus",
    "opentelemetry",
    "opentelemetry_sdk",
    "opentelemetry-otlp",
    "axum",
];

/// Fails if a crate depends on one that it must not know.
pub(crate) fn dependencies(root: &Path) -> anyhow::Result<()> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata cannot be read")?;
    let mut allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    allowed.extend(SERVICES.iter().map(|service| (*service, SERVICE)));
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("{name} is new: say in xtask what it may depend on"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            let test = dependency["kind"].as_str() == Some("dev");
            let ours = allowed.contains_key(on);
            let service = SERVICES.contains(&on) && SERVICES.contains(&name);
            if ours && (service || (!test && !may.contains(&on))) {
                wrong.push(format!("{name} must not depend on {on}"));
            }
            if RUNTIME_ONLY.contains(&on) && !test && !["holdfast-runtime", "holdfast-testkit"].contains(&name) {
                wrong.push(format!("{name} must reach {on} through holdfast-runtime"));
            }
        }
    }
    report(&wrong)
}

/// The longest source file.
const LINES_MAX: usize = 400;

/// Fails if a source file is too long or holds something unfinished.
pub(crate) fn files(root: &Path) -> anyhow::Result<()> {
    // Written in two parts, so that this file does not find itself.
    let unfinished = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("TO", "DO"),
    ];
    let mut wrong = Vec::new();
    let mut sources = Vec::new();
    for folder in ["crates", "tests"] {
        collect(&root.join(folder), &mut sources)?;
    }
    for path in sources {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{name} has {lines} lines and may have {LINES_MAX}: split it"));
        }
        wrong.extend(
            unfinished
                .iter()
                .filter(|word| text.contains(**word))
                .map(|word| format!("{name} holds {word}")),
        );
    }
    report(&wrong)
}

/// The Rust sources below a folder.
pub(crate) fn collect(folder: &Path, sources: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    Ok(())
}

/// Whether a source file, by its path, holds nothing but tests.
pub(crate) fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs")
}

/// A source without its module of tests, which ends it.
pub(crate) fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// Fails with what is wrong, if anything is.
pub(crate) fn report(wrong: &[String]) -> anyhow::Result<()> {
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("{}", wrong.join("\n"))
    }
}
