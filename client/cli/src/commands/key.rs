//! Which key owns my apps?

use crate::{Error, commands::Context, exit, key};

/// The owner's key: it signs what your apps may run, and nothing else
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the key, encrypted under a passphrase (CASEMATE_KEY_PASSPHRASE, or asked for)
    Create,
    /// Show the public key
    Show,
    /// Forget the unlocked key; the next command asks for the passphrase
    Lock,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Key`].
pub fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let home = &context.home;
    let public = match arguments.command {
        Command::Create => key::create(home)?,
        Command::Show => key::public(home)?,
        Command::Lock => {
            key::lock(home)?;
            return Ok(exit::DONE);
        }
    };
    let answer = serde_json::json!({ "public_key": public, "algorithm": "ES256", "file": home.owner_key() });
    context.output.answer(&answer, || format!("{public}"));
    Ok(exit::DONE)
}
