//! How are the services of this machine?

use casemate_api::validator::Vm;
use serde::Serialize;

use crate::{
    Error,
    commands::{Context, lifecycle},
    exit, local, output,
};

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
    Start(Simulation),
    /// Stop the services; VMs go on without them, unless --vms
    ///
    /// A VM needs no service while it runs. The services find it again when they start, at the latest with the
    /// next `casemate up`.
    Stop {
        /// Stop the VMs of this machine first, in order; their volumes stay
        #[arg(long)]
        vms: bool,
    },
    /// Run the services in this process until it is stopped
    #[command(hide = true)]
    Run(Simulation),
}

#[derive(Debug, clap::Args)]
struct Simulation {
    /// Let this machine's seat accept simulated guests although the machine has a TEE: no confidentiality
    #[arg(long)]
    accept_simulated: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Local`].
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let home = &context.home;
    match arguments.command {
        Command::Run(simulation) => {
            local::supervisor::run(home, simulation.accept_simulated).await?;
            return Ok(exit::DONE);
        }
        Command::Stop { vms } => return stop(context, vms).await,
        Command::Start(simulation) => {
            local::start(home, simulation.accept_simulated).await?;
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

/// What `stop --json` prints.
#[derive(Debug, Serialize)]
struct Stopped {
    /// Whether any service ran.
    services_stopped: bool,
    /// VMs that were stopped.
    vms_stopped: Vec<String>,
    /// VMs that go on; null if no validator could be asked.
    vms_running: Option<Vec<String>>,
}

async fn stop(context: &Context, with_vms: bool) -> Result<u8, Error> {
    let (home, output) = (&context.home, context.output);
    let validator = local::validator_if_running(home)?;
    let mut answers = validator.is_well().await;
    if with_vms && !answers && local::state(home, "validator").exists() {
        // VMs that earlier services left running are theirs to stop.
        local::start(home, false).await?;
        answers = true;
    }
    let mut stopped = Stopped { services_stopped: false, vms_stopped: Vec::new(), vms_running: None };
    if with_vms && answers {
        let running: Vec<Vm> = validator.vms().await?.into_iter().filter(is_running).collect();
        for vm in &running {
            validator.order(&vm.id, "stop").await?;
        }
        for vm in running {
            let step = output.long_step("Stopping", &vm.spec.name);
            let state = lifecycle::settle(&validator, &vm.id, &["stopped", "failed"]).await?;
            step.done(&format!("{} is {state}", vm.spec.name));
            stopped.vms_stopped.push(vm.spec.name);
        }
    }
    if answers {
        // A validator that cannot tell is stopped nevertheless.
        let vms = validator.vms().await.ok();
        stopped.vms_running =
            vms.map(|vms| vms.into_iter().filter(is_running).map(|vm| vm.spec.name).collect());
    }
    let step = output.long_step("Stopping", "services of this machine");
    stopped.services_stopped = local::stop(home).await?;
    step.done(if stopped.services_stopped { "services stopped" } else { "no services were running" });
    if let Some(names) = stopped.vms_running.as_ref().filter(|names| !names.is_empty()) {
        let verb = if names.len() == 1 { "goes on" } else { "go on" };
        output.step(
            "VMs",
            &format!("{} {verb}; `casemate local stop --vms` stops VMs as well", names.join(", ")),
        );
    }
    output.answer(&stopped, String::new);
    Ok(exit::DONE)
}

fn is_running(vm: &Vm) -> bool {
    matches!(vm.state.as_str(), "starting" | "running" | "stopping")
}
