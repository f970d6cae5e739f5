//! Which keys are mine?

use std::path::PathBuf;

use crate::{Error, commands::Context, ear::ResultKey, exit, key};

/// The owner's key, which signs what your apps may run, and keys that sign attestation results
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the owner's key, encrypted under a passphrase (CASEMATE_KEY_PASSPHRASE, or asked for)
    Create {
        /// Make a key for `casemate verify --ear` instead, unencrypted, in a new file
        #[arg(long, value_name = "FILE")]
        for_results: Option<PathBuf>,
    },
    /// Show the public key
    Show {
        /// Of a key for `casemate verify --ear`
        #[arg(long, value_name = "FILE")]
        for_results: Option<PathBuf>,
    },
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
        Command::Create { for_results: Some(file) } => {
            return Ok(show(context, &ResultKey::create(&file)?, file));
        }
        Command::Show { for_results: Some(file) } => {
            return Ok(show(context, &ResultKey::read(&file)?, file));
        }
        Command::Create { for_results: None } => key::create(home)?,
        Command::Show { for_results: None } => key::public(home)?,
        Command::Lock => {
            key::lock(home)?;
            return Ok(exit::DONE);
        }
    };
    let answer = serde_json::json!({ "public_key": public, "algorithm": "ES256", "file": home.owner_key() });
    context.output.answer(&answer, || format!("{public}"));
    Ok(exit::DONE)
}

fn show(context: &Context, key: &ResultKey, file: PathBuf) -> u8 {
    let (public, pem) = (key.public(), key.public_pem());
    let answer = serde_json::json!({
        "public_key": public, "algorithm": "ES256", "file": file, "kid": key.thumbprint(), "pem": pem,
    });
    context.output.answer(&answer, || pem);
    exit::DONE
}
