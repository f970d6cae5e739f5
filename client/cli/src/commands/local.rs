//! How are the services of this machine?

use crate::{Error, commands::Context, exit, local, output};

/// The services of this machine, which `up` starts when no validator is named
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show which services answer, where they listen, keep state and log
    Status,
    /// Start the services and leave them running
    Start,
    /// Stop the services; VMs stop with them
    Stop,
    /// Run the services in this process until it is stopped
    #[command(hide = true)]
    Run,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Local`].
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let home = &context.home;
    match arguments.command {
        Command::Run => {
            local::supervisor::run(home).await?;
            return Ok(exit::DONE);
        }
        Command::Stop => {
            let step = context.output.long_step("Stopping", "services of this machine");
            let ran = local::stop(home).await?;
            step.done(if ran { "services stopped" } else { "nothing was running" });
            return Ok(exit::DONE);
        }
        Command::Start => {
            local::start(home).await?;
        }
        Command::Status => {}
    }
    let status = local::status(home).await?;
    let well = status.supervisor.is_some() && status.services.iter().all(|service| service.answers);
    context.output.answer(&status, || {
        let rows: Vec<Vec<String>> = status
            .services
            .iter()
            .map(|service| {
                vec![
                    service.name.to_owned(),
                    if service.answers { "answers" } else { "no answer" }.to_owned(),
                    service.address.clone(),
                    service.log.display().to_string(),
                ]
            })
            .collect();
        let supervisor = match status.supervisor {
            Some(process) => format!("supervisor runs, process {process}"),
            None => "supervisor does not run".to_owned(),
        };
        format!("{supervisor}\n{}", output::table(&["SERVICE", "STATE", "ADDRESS", "LOG"], &rows))
    });
    Ok(if well { exit::DONE } else { exit::SERVICES })
}
