//! Which VMs are there, and how are they?

use crate::{Error, commands::Context, exit, output};

/// List VMs: what their host says about them, which `casemate verify` checks
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// [`Error::Api`].
pub async fn run(context: &Context, _: Arguments) -> Result<u8, Error> {
    let vms = context.validator()?.vms().await?;
    context.output.answer(&vms, || {
        let rows: Vec<Vec<String>> = vms
            .iter()
            .map(|vm| {
                let ports: Vec<String> = vm
                    .ports
                    .iter()
                    .map(|port| format!("{}:{}->{}", port.host_ip, port.host_port, port.guest_port))
                    .collect();
                let tee = if vm.spec.simulated { "SIMULATED" } else { "hardware" };
                let phase = match (&vm.failure, &vm.phase) {
                    (Some(failure), _) => failure.code.clone(),
                    (None, Some(phase)) => phase.clone(),
                    (None, None) => "-".to_owned(),
                };
                vec![
                    vm.id.chars().take(6).collect(),
                    vm.spec.name.clone(),
                    vm.state.clone(),
                    phase,
                    tee.to_owned(),
                    vm.spec.workload_digest.short().to_string(),
                    if ports.is_empty() { "-".to_owned() } else { ports.join(" ") },
                ]
            })
            .collect();
        output::table(&["VM", "NAME", "STATE", "PHASE", "TEE", "WORKLOAD", "PORTS"], &rows)
    });
    Ok(exit::DONE)
}
