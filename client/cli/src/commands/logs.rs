//! What did the services print?

use casemate_api::agent::{Command, OwnerReply};

use crate::{Error, commands::Context, commands::order, exit, session::SessionError};

/// Show what a service printed, if the compose file grants `x-casemate: observe: logs`
///
/// The guest is verified first; lines come sealed, and no host can read them.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the VM
    pub vm: String,
    /// Service in the compose file
    pub service: String,
    /// Lines to show, from the end
    #[arg(long, short = 'n', default_value_t = 100)]
    pub tail: u32,
    /// Only lines after this time, in milliseconds since 1970
    #[arg(long, value_name = "MS")]
    pub since: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Session`], [`Error::Api`].
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let command =
        Command::Logs { service: arguments.service, tail: arguments.tail, since_ms: arguments.since };
    let OwnerReply::Logs { lines } = order(context, &arguments.vm, &command).await? else {
        return Err(SessionError::Answer.into());
    };
    context.output.answer(&lines, || {
        let lines: Vec<String> = lines.iter().map(|line| printable(&line.text)).collect();
        lines.join("\n")
    });
    Ok(exit::DONE)
}

/// A guest's line must not move the owner's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(super::printable("a\x1b[2Jb\tc"), "a\u{fffd}[2Jb\tc");
    }
}
