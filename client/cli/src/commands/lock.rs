//! What would run, to the byte?

use std::path::PathBuf;

use crate::{
    Error,
    commands::Context,
    exit,
    output::size,
    project::{Pins, Project},
};

/// Pin images and public variables in compose.lock
///
/// What is pinned stays pinned; `--update` resolves everything anew: tags of registries, local
/// layouts, builds, variables from the environment.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Compose file, or its folder
    pub compose: Option<PathBuf>,
    /// Resolve again what is pinned already
    #[arg(long)]
    pub update: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Compose`], [`Error::Lock`], [`Error::Oci`].
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let pins = if arguments.update { Pins::Renew } else { Pins::Keep };
    let mut project = Project::open(arguments.compose.as_deref(), pins)?;
    let output = context.output;
    project
        .resolve_images(&context.home, pins, |service, image| {
            let (digest, bytes) = (image.root_hash.short(), size(image.size_bytes));
            output.step("Image", &format!("{service}: root hash {digest}, {bytes}"));
        })
        .await?;
    output.answer(&project.lock, String::new);
    output.step("Locked", &project.folder.join("compose.lock").display().to_string());
    Ok(exit::DONE)
}
