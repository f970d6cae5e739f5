//! What does the manual say?

use std::path::PathBuf;

use clap::CommandFactory as _;

use crate::{Error, commands::Cli, exit, files};

/// Write manual pages, one per command
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder to write to
    folder: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// [`Error::File`].
pub fn run(arguments: Arguments) -> Result<u8, Error> {
    let folder = arguments.folder;
    std::fs::create_dir_all(&folder).map_err(|source| files::error("make", &folder, source))?;
    clap_mangen::generate_to(Cli::command(), &folder)
        .map_err(|source| files::error("write to", &folder, source))?;
    Ok(exit::DONE)
}
