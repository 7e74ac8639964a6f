//! The only Holdfast process inside data pods. It claims the backup's directory, runs the tool, hashes what the tool
//! wrote and seals it; it checks and restores sealed backups; it removes backups. It has no Kubernetes API token:
//! it is configured by its environment and a mounted file, and answers by one line in the termination message and its exit code.

mod args;
mod backup;
mod command_line;
mod failure;
mod info;
mod install;
mod links;
mod log;
mod mark;
mod mask;
mod memory;
mod processes;
mod purge;
mod restore;
mod result;
mod secrets;
mod signals;
mod target;
mod tee;
mod tool;

use args::{Cli, Command, Settings};
use clap::Parser as _;
use failure::Failure;
use holdfast_api::agent::AgentResult;
use holdfast_api::condition::Reason;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the agent with these arguments and the process's environment.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    match Cli::try_parse_from(arguments) {
        Ok(cli) => run(&cli.command, variable),
        Err(error) if error.use_stderr() => {
            let text = format!("command line: {}", first_line(&error.to_string()));
            let failure = Failure::new(Reason::BadConfiguration, text);
            result::leave(Err(failure), &Settings::termination_log(&variable))
        }
        Err(help) => {
            // Only help and version come here; that standard output is closed is nothing to fail for.
            let _ = help.print();
            ExitCode::SUCCESS
        }
    }
}

fn run(command: &Command, variable: impl Fn(&str) -> Option<String>) -> ExitCode {
    if let Command::Install { file } = command {
        return install::leave(file);
    }
    let outcome = Settings::from(&variable).and_then(|settings| work(command, settings));
    result::leave(outcome, &Settings::termination_log(&variable))
}

fn work(command: &Command, settings: Settings) -> Result<AgentResult, Failure> {
    let signals = signals::Signals::listen()?;
    let settings = &match command {
        Command::Run | Command::Verify | Command::Restore => settings.with_assignment()?,
        _ => settings,
    };
    if !secrets::learn(&settings.assignment.secrets) {
        log::say("the mounted Secrets are too large: not all that they hold is masked");
    }
    match command {
        Command::Run => backup::run(settings, &signals),
        Command::Report => backup::report(settings),
        Command::Verify => restore::verify(settings, &signals),
        Command::Restore => restore::restore(settings, &signals),
        Command::Purge => purge::run(settings),
        Command::Install { .. } => Ok(AgentResult::default()),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
