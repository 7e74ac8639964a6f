//! Tasks of this workspace: files that are generated from the sources, and checks of the tree.

mod check;
mod circles;
mod docs;
mod generate;
mod lists;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "xtask", about)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write the CustomResourceDefinitions into the chart.
    Crd,
    /// Write the documents that are made from the sources.
    Docs,
    /// Fail if a generated file differs from its source.
    CheckGenerated,
    /// Fail if a crate depends on one that it must not know.
    CheckDeps,
    /// Fail if a source file is too long or holds something unfinished.
    CheckFiles,
    /// Fail if a word of a closed list is typed as text outside the crate that declares it.
    CheckLists,
    /// Fail if files of a crate use each other in a circle.
    CheckCircles,
}

fn main() -> anyhow::Result<()> {
    let root = root()?;
    match Cli::parse().task {
        Task::Crd => generate::write(&root, &generate::crds()?),
        Task::Docs => generate::write(&root, &docs::all()),
        Task::CheckGenerated => {
            let files: Vec<_> = generate::crds()?.into_iter().chain(docs::all()).collect();
            generate::compare(&root, &files)
        }
        Task::CheckDeps => check::dependencies(&root),
        Task::CheckFiles => check::files(&root),
        Task::CheckLists => lists::check(&root),
        Task::CheckCircles => circles::check(&root),
    }
}

/// The workspace's folder: two above this crate's. Cargo tells it when it runs this program: what it told the compiler may
/// be another checkout's that shares the target directory.
fn root() -> anyhow::Result<PathBuf> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    Path::new(&own)
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .context("this crate lies outside its workspace")
}
