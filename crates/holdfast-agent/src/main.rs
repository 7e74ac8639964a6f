//! The only Holdfast process inside data pods: claims, runs the tool, hashes and seals.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_agent::main(std::env::args_os())
}
