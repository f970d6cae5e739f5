//! When does a VM run, and when is it gone?

use std::time::{Duration, Instant};

use casemate_record::{Confirmed, Submission};

use crate::{
    Error,
    api::{ApiError, Validator},
    app::App,
    commands::{
        Context,
        verify::{key_service_of, validator_of},
    },
    deployment::Deployment,
    exit, key,
};

/// Stop a VM in order; its volumes stay
#[derive(Debug, clap::Args)]
pub struct Stop {
    /// Name of the VM
    pub vm: String,
}

/// Start a stopped VM again
///
/// `casemate up` does the same, verifies and waits.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Name of the VM
    pub vm: String,
}

/// Remove a VM; with --volumes also its data, for good
#[derive(Debug, clap::Args)]
pub struct Down {
    /// Name of the VM
    pub vm: String,
    /// Erase its volumes: the key service destroys what their keys are made of, then the disks go
    #[arg(long)]
    pub volumes: bool,
}

/// How long a VM may take to change its state.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `stop`.
///
/// # Errors
/// [`Error::Api`].
pub async fn stop(context: &Context, arguments: Stop) -> Result<u8, Error> {
    let validator = validator_for(context, &arguments.vm)?;
    let step = context.output.long_step("Stopping", &arguments.vm);
    validator.order(&arguments.vm, "stop").await?;
    let state = settle(&validator, &arguments.vm, &["stopped", "failed"]).await?;
    step.done(&format!("{} is {state}", arguments.vm));
    Ok(exit::DONE)
}

/// Runs `start`.
///
/// # Errors
/// [`Error::Api`].
pub async fn start(context: &Context, arguments: Start) -> Result<u8, Error> {
    let validator = validator_for(context, &arguments.vm)?;
    let step = context.output.long_step("Starting", &arguments.vm);
    validator.order(&arguments.vm, "start").await?;
    let state = settle(&validator, &arguments.vm, &["running", "stopped", "failed"]).await?;
    step.done(&format!("{} is {state}; `casemate verify {}` checks it", arguments.vm, arguments.vm));
    Ok(if state == "running" { exit::DONE } else { exit::GUEST })
}

/// Runs `down`.
///
/// # Errors
/// [`Error::Api`], [`Error::Key`], [`Error::App`].
pub async fn down(context: &Context, arguments: Down) -> Result<u8, Error> {
    let name = &arguments.vm;
    let validator = validator_for(context, name)?;
    let step = context.output.long_step("Removing", name);
    match validator.vm(name).await {
        Ok(vm) if !matches!(vm.state.as_str(), "stopped" | "failed" | "defined") => {
            step.say("stopping");
            validator.order(name, "stop").await?;
            settle(&validator, name, &["stopped", "failed"]).await?;
        }
        Ok(_) | Err(ApiError::NoVm { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let mut erased = None;
    if arguments.volumes {
        // First the keys, then the disks: a disk that a host kept is then worth nothing.
        step.say("erasing volumes at the key service");
        erased = Some(erase(context, &validator, name).await?);
    }
    match validator.remove(name, arguments.volumes).await {
        Ok(_) => settle_removed(&validator, name).await?,
        Err(ApiError::NoVm { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    if arguments.volumes {
        Deployment::forget(&context.home, name)?;
    }
    let rest = erased.map_or_else(String::new, |confirmed| {
        let (seats, all) = (confirmed.seats.len(), confirmed.seat_count);
        format!("; its volumes are erased, signed by {seats} of {all} seats")
    });
    step.done(&format!("{name} is removed{rest}"));
    Ok(exit::DONE)
}

/// Has the seats destroy what the volume's keys are made of. Only their receipts say that they did; the
/// instance is kept until then, so that the command can be repeated.
async fn erase(context: &Context, validator: &Validator, name: &str) -> Result<Confirmed, Error> {
    let deployment = Deployment::open(&context.home, name)?;
    let owner = key::unlock(&context.home)?;
    let service = key_service_of(context, &deployment, validator).await?;
    let mut app = App::open(&deployment.folder)?;
    let record = app.erase_volume(&owner, deployment.instance, casemate_workload::manifest::DATA_VOLUME)?;
    let confirmed = service.submit(validator, Submission::Volume(record)).await?;
    app.forget_instance(name)?;
    Ok(confirmed)
}

fn validator_for(context: &Context, name: &str) -> Result<Validator, Error> {
    match Deployment::find(&context.home, name)? {
        Some(deployment) => validator_of(context, &deployment),
        None => context.validator(),
    }
}

/// Waits until a VM has one of these states.
///
/// # Errors
/// [`Error::GuestLate`], [`Error::Api`].
pub(crate) async fn settle(validator: &Validator, name: &str, states: &[&str]) -> Result<String, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let vm = validator.vm(name).await?;
        if states.contains(&vm.state.as_str()) {
            return Ok(vm.state);
        }
        if Instant::now() > deadline {
            return Err(Error::GuestLate { seconds: PATIENCE.as_secs(), phase: vm.state });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn settle_removed(validator: &Validator, name: &str) -> Result<(), Error> {
    match settle(validator, name, &["removed"]).await {
        Ok(_) | Err(Error::Api(ApiError::NoVm { .. })) => Ok(()),
        Err(other) => Err(other),
    }
}
