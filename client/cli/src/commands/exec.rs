//! What does a program beside a service say?

use std::io::Write as _;

use casemate_api::agent::{Command, OwnerReply};

use crate::{Error, commands::Context, commands::order, session::SessionError};

/// Run a program in a service, if the compose file grants `x-casemate: observe: exec`
///
/// The exit code is the program's own, if it ran.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the VM
    pub vm: String,
    /// Service in the compose file
    pub service: String,
    /// Program and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub program: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Session`], [`Error::Api`].
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let command = Command::Exec { service: arguments.service, arguments: arguments.program };
    let OwnerReply::Executed { exit_code, output } = order(context, &arguments.vm, &command).await? else {
        return Err(SessionError::Answer.into());
    };
    if context.output.json {
        let text = String::from_utf8_lossy(&output);
        context.output.json(&serde_json::json!({ "exit_code": exit_code, "output": text }));
    } else {
        let _ = std::io::stdout().write_all(&output);
    }
    Ok(exit_code)
}
