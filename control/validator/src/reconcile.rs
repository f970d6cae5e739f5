//! Does what runs equal what was asked?
//!
//! One loop takes each unfinished job a step further and looks at what each host says. Each step may
//! be repeated: the host's calls are idempotent by VM id, and a step is noted only after it is done.

use std::{sync::Arc, time::Duration};

use casemate_api::{
    host::{
        DataDisk, DataVolume, HostVm, HostVmSpec, HostVmState, ImageDisk, ImageSource, NoticedProgress,
        Platform, PublishedPort, StopRequest, VmNetwork,
    },
    progress::Phase,
    validator::{Failure, Port, Vm},
};
use reqwest::Method;

use crate::{
    Error, Validator,
    lifecycle::Event,
    now_ms,
    store::{Change, Job, Notice, Verb},
};

/// How often hosts are asked, when nothing else wakes the loop.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often a start is tried on a host that does not answer.
const START_ATTEMPTS: u32 = 40;

/// Runs until the process ends.
pub async fn run(validator: Arc<Validator>) {
    loop {
        if let Err(error) = round(&validator).await {
            tracing::warn!(%error, "a round of work failed and is tried again");
        }
        let _ = tokio::time::timeout(INTERVAL, validator.wake.notified()).await;
    }
}

/// Takes every job one step further, then notes what the host reports.
///
/// # Errors
/// [`Error::Database`] and its like; what a host or seat answers never stops the round.
pub async fn round(validator: &Validator) -> Result<(), Error> {
    let mut busy = Vec::new();
    // Before the jobs: a VM that is made in between has a job that this round does not know, and nothing on
    // its host yet.
    let vms = validator.store.vms().await?;
    for job in validator.store.jobs().await? {
        let id = job.vm.id.clone();
        if let Err(error) = take(validator, &job).await {
            tracing::info!(vm = %id, verb = ?job.verb, attempts = job.attempts, %error, "job not done");
            // What was done and could not be written down is done again: no fault of the host's.
            if !error.is_own() {
                not_done(validator, &job, &error).await?;
            }
        }
        busy.push(id);
    }
    for vm in vms {
        let watched = matches!(vm.state.as_str(), "starting" | "running" | "stopping");
        if watched
            && !busy.contains(&vm.id)
            && let Err(error) = look(validator, &vm).await
        {
            tracing::info!(vm = %vm.id, %error, "the host cannot be asked about it");
        }
    }
    Ok(())
}

/// Takes one job a step further; every step may be repeated.
async fn take(validator: &Validator, job: &Job) -> Result<(), Error> {
    let id = &job.vm.id;
    let found = host_vm(validator, id).await?;
    match job.verb {
        Verb::Start => {
            let ready = match found {
                Some(vm) => vm,
                None => {
                    let spec = host_spec(validator, &job.vm).await?;
                    post(validator, "/v1/vms", Some(&spec)).await?
                }
            };
            let running = match ready.state {
                HostVmState::Running => ready,
                _ => post(validator, &format!("/v1/vms/{id}/start"), None::<&()>).await?,
            };
            let change = Change { ports: Some(ports(&running)), ..Change::default() };
            validator.store.happened(id, None, &change, Some(job.verb), now_ms()).await?;
        }
        Verb::Stop => {
            if let Some(vm) = found
                && vm.state == HostVmState::Running
            {
                let stopped =
                    post(validator, &format!("/v1/vms/{id}/stop"), Some(&StopRequest::default())).await?;
                if stopped.state == HostVmState::Running {
                    return Ok(()); // the guest takes its time; the next round looks again
                }
            }
            let done = Some(job.verb);
            validator
                .store
                .happened(id, Some(Event::HostStopped), &Change::default(), done, now_ms())
                .await?;
        }
        Verb::Remove { disks } => {
            if found.is_some() {
                let path = format!("/v1/vms/{id}?disks={disks}");
                validator.host.send(Method::DELETE, &path, "", None).await?;
            }
            let done = Some(job.verb);
            validator
                .store
                .happened(id, Some(Event::HostRemoved), &Change::default(), done, now_ms())
                .await?;
        }
    }
    Ok(())
}

/// Counts the try, and gives a start up if the host refuses it or stays away too long.
///
/// Stops and removals are tried until they succeed: giving one up would leave a guest behind.
async fn not_done(validator: &Validator, job: &Job, error: &Error) -> Result<(), Error> {
    validator.store.tried(&job.vm.id).await?;
    let refused = matches!(error, Error::Refused { status: 400..=499, .. } | Error::Unexpected { .. });
    if job.verb != Verb::Start || !(refused || job.attempts >= START_ATTEMPTS) {
        return Ok(());
    }
    let failure = match error {
        Error::Refused { problem, .. } => Failure {
            code: problem.code.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        },
        other => Failure {
            code: "host_unreachable".to_owned(),
            message: other.to_string(),
            hint: Some("look at the host's log, then start the VM again".to_owned()),
        },
    };
    fail(validator, &job.vm.id, failure, Vec::new(), Some(job.verb)).await
}

/// Notes what the host says of a VM that has no job.
async fn look(validator: &Validator, vm: &Vm) -> Result<(), Error> {
    let id = &vm.id;
    let Some(found) = host_vm(validator, id).await? else {
        let failure = Failure {
            code: "host_lost_it".to_owned(),
            message: format!("the host knows no VM {id}"),
            hint: Some("start it again; its volumes are safe if the host still has its disk".to_owned()),
        };
        return fail(validator, id, failure, Vec::new(), None).await;
    };
    let notices = found.notices.iter().map(notice).collect::<Vec<_>>();
    match found.state {
        HostVmState::Failed => {
            let failure = found.failure.map_or_else(unasked, |failure| Failure {
                code: word(&failure.code),
                message: failure.message,
                hint: Some(failure.hint),
            });
            fail(validator, id, failure, notices, None).await
        }
        HostVmState::Stopped if vm.state == "stopping" => {
            let change = Change { notices, ..Change::default() };
            validator.store.happened(id, Some(Event::HostStopped), &change, None, now_ms()).await.map(drop)
        }
        HostVmState::Stopped => fail(validator, id, unasked(), notices, None).await,
        _ => {
            let ready = vm.state == "starting"
                && found.progress.as_ref().is_some_and(|noticed| noticed.progress.phase == Phase::Ready);
            let change = Change { notices, ..Change::default() };
            let event = ready.then_some(Event::GuestReady);
            validator.store.happened(id, event, &change, None, now_ms()).await.map(drop)
        }
    }
}

async fn fail(
    validator: &Validator,
    id: &str,
    failure: Failure,
    notices: Vec<Notice>,
    done: Option<Verb>,
) -> Result<(), Error> {
    let change = Change { notices, failure: Some(failure), ports: None };
    validator.store.happened(id, Some(Event::GuestFailed), &change, done, now_ms()).await.map(drop)
}

fn unasked() -> Failure {
    Failure {
        code: "guest_powered_off".to_owned(),
        message: "the guest powered off and nobody asked it to".to_owned(),
        hint: Some("`casemate logs` may say why; start it again".to_owned()),
    }
}

async fn host_vm(validator: &Validator, id: &str) -> Result<Option<HostVm>, Error> {
    let answer = validator.host.json(Method::GET, &format!("/v1/vms/{id}"), None::<&()>, "a VM").await;
    match answer {
        Ok(vm) => Ok(Some(vm)),
        Err(Error::Refused { status: 404, .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

async fn post(
    validator: &Validator,
    path: &str,
    body: Option<&impl serde::Serialize>,
) -> Result<HostVm, Error> {
    validator.host.json(Method::POST, path, body, "a VM").await
}

/// What the host is told: nothing that it could not see anyway.
async fn host_spec(validator: &Validator, vm: &Vm) -> Result<HostVmSpec, Error> {
    let spec = &vm.spec;
    let blob = |field, text: &str| {
        text.parse().map_err(|_| Error::Specification {
            field,
            found: text.chars().take(80).collect(),
            expected: "64 lower-case hexadecimal digits",
        })
    };
    let image_disks = spec
        .images
        .iter()
        .map(|image| Ok(ImageDisk { serial: image.serial.clone(), blob: blob("images.blob", &image.blob)? }))
        .collect::<Result<_, Error>>()?;
    let volumes = spec
        .volumes
        .iter()
        .map(|volume| DataVolume { name: volume.name.clone(), size_bytes: volume.size_bytes })
        .collect::<Vec<_>>();
    let published = spec
        .ports
        .iter()
        .map(|port| {
            let host_ip = port.host_ip.parse().map_err(|_| Error::Specification {
                field: "ports.host_ip",
                found: port.host_ip.chars().take(80).collect(),
                expected: "an IP address",
            })?;
            Ok(PublishedPort { host_ip, host_port: port.host_port, guest_port: port.guest_port })
        })
        .collect::<Result<_, Error>>()?;
    Ok(HostVmSpec {
        id: vm.id.clone(),
        platform: if spec.simulated { Platform::Simulated } else { Platform::SevSnp },
        image: match spec.image.starts_with('/') {
            true => ImageSource::Directory { path: spec.image.clone().into() },
            false => ImageSource::Named { name: spec.image.clone() },
        },
        shape: spec.shape,
        workload_digest: spec.workload_digest,
        launch: blob("launch_blob", &spec.launch_blob)?,
        image_disks,
        data_disk: (!volumes.is_empty()).then_some(DataDisk { volumes }),
        network: VmNetwork { outbound: spec.egress, ports: published, ..VmNetwork::default() },
        seats: validator.seat_addresses().await?,
    })
}

fn ports(vm: &HostVm) -> Vec<Port> {
    vm.endpoints
        .iter()
        .map(|port| Port {
            host_ip: port.host_ip.to_string(),
            host_port: port.host_port,
            guest_port: port.guest_port,
        })
        .collect()
}

fn notice(noticed: &NoticedProgress) -> Notice {
    Notice { at_ms: noticed.at_ms, phase: phase_text(&noticed.progress.phase) }
}

/// The word by which a phase is written in JSON, and after spaces what else it says: `starting db`.
fn phase_text(phase: &Phase) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(phase) else { return String::new() };
    let words: Vec<String> = fields
        .into_iter()
        .map(|(_, value)| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        })
        .collect();
    words.join(" ")
}

/// The word by which a code is written in JSON.
fn word(code: &impl serde::Serialize) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "failed".to_owned(),
    }
}
