//! How does a shell complete the command?

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{Error, commands::Cli, exit};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which shell
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// None today.
pub fn run(arguments: Arguments) -> Result<u8, Error> {
    clap_complete::generate(arguments.shell, &mut Cli::command(), "casemate", &mut std::io::stdout());
    Ok(exit::DONE)
}
