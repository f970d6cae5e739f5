//! How does a folder with a compose file become a verified, running app?

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use casemate_api::{
    agent::{Command, OwnerReply, SecretValue},
    launch::LaunchBundle,
    validator::{ImageDisk, Port, Vm, VmSpec, VolumeDisk},
};
use casemate_canon::to_cbor;
use casemate_crypto::{hash::sha256, sign::SigningKey};
use casemate_measure::shape::Shape;
use casemate_record::{Confirmed, InstanceId, KmsId, Submission};
use casemate_verify::{AcceptSimulated, Outcome, TrustClass, Workload};
use casemate_workload::Manifest;
use serde::Serialize;

use crate::{
    Error,
    api::{ApiError, Validator},
    app::App,
    clock,
    commands::{Context, verify},
    deployment::Deployment,
    endorsements::complete_bytes,
    exit,
    guest_image::{self, GuestImage},
    key,
    key_service::KeyService,
    local,
    oci::Converted,
    output::{Step, size},
    policy::{self, PolicyFile},
    project::{Pins, Project},
    session::{Appraised, Expected, ExpectedChannel, Question, SessionError},
};

/// Run the compose app in a VM, verify it, deliver its secrets, and wait until it is healthy
///
/// Without --validator this machine runs it, with services that `up` starts. Nothing secret leaves
/// this machine before the guest's evidence has passed casemate.policy.toml; if it does not, `up` fails.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Compose file, or its folder
    pub compose: Option<PathBuf>,
    /// Name of the VM, instead of the compose file's
    #[arg(long)]
    pub name: Option<String>,
    /// Guest image: its name, or the folder of a built one
    #[arg(long, env = "CASEMATE_IMAGE", hide_env_values = true)]
    pub image: Option<String>,
    /// Policy file, instead of casemate.policy.toml beside the compose file
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Publish a service's port elsewhere on the host: SERVICE=PORT; may be repeated
    #[arg(long, value_name = "SERVICE=PORT", value_parser = publish)]
    pub publish: Vec<(String, u16)>,
    /// Let a remote host run it on a simulated TEE: no confidentiality
    #[arg(long)]
    pub accept_simulated: bool,
    /// Key service to entrust volumes and secrets to, by its id; needed once with --validator
    #[arg(long, value_name = "ID")]
    pub kms: Option<KmsId>,
    /// Seconds to wait for the guest
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub timeout: u64,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    name: &'a str,
    vm: &'a str,
    app_id: String,
    instance: String,
    workload_digest: String,
    measurement: String,
    simulated: bool,
    ports: &'a [Port],
    checks_passed: usize,
}

/// Runs the command.
///
/// # Errors
/// [`Error`], of any kind.
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let (output, home) = (context.output, &context.home);
    let mut project = Project::open(arguments.compose.as_deref(), Pins::Keep)?;
    let secrets = project.secret_values()?;
    let name = vm_name(arguments.name.clone().unwrap_or_else(|| project.name()))?;
    output.step("Reading", &reading(&project));

    let simulated = match &context.validator {
        Some(_) => arguments.accept_simulated,
        None => !crate::tee::is_here(),
    };
    let image = GuestImage::find(home, arguments.image.as_deref())?;
    let shape = guest_image::shape(project.compose.casemate.vcpus, project.compose.casemate.memory_bytes);
    let measurement = image.measurement(&shape, simulated)?;
    output.step(
        "Image",
        &format!("{} for {} vCPU  measurement {}", image.name(), shape.vcpus, measurement.short()),
    );

    let owner = match key::public(home) {
        Ok(_) => key::unlock(home)?,
        Err(Error::Key(key::KeyError::Absent)) => {
            let public = key::create(home)?;
            output.step("Key", &format!("made your owner key {}", public.short()));
            key::unlock(home)?
        }
        Err(other) => return Err(other),
    };
    let mut app = App::open_or_create(&project.folder, &owner.public())?;

    let images = resolve_images(context, &mut project).await?;
    let validator = match &context.validator {
        Some(address) => context.named_validator(address)?,
        None => {
            let step = output.long_step("Services", "starting kms, hostd and validator");
            let validator = local::validator(home).await?;
            step.done("kms, hostd and validator of this machine answer");
            validator
        }
    };
    let service = KeyService::of(&mut app, &validator, arguments.kms, context.validator.is_none()).await?;
    let (kms_id, threshold) = (service.roster().kms_id, service.roster().threshold);
    let (manifest, files) = project.manifest(&name, &images, app.id(), kms_id, threshold)?;
    let digest = manifest.digest();
    output.step("Workload", &format!("{name}  digest {}", digest.short()));
    let host = if context.validator.is_some() { "chosen by the validator" } else { "this machine" };
    let tee = if simulated { "SIMULATED TEE (no confidentiality; see `casemate doctor`)" } else { "SEV-SNP" };
    output.step("Host", &format!("{host}, {tee}"));

    let policy = read_or_create_policy(context, &arguments, &project, &image, &shape, simulated)?;
    let (instance, instance_record) = app.instance(&owner, &name)?;
    let authority = app.authorise(&owner, digest, policy.policy.digest())?;
    let submissions = [
        Submission::Authority {
            genesis: app.genesis,
            record: authority,
            policy: policy.text.clone().into_bytes().into(),
        },
        Submission::Instance(instance_record.clone()),
    ];
    let mut recorded = Vec::new();
    for submission in submissions {
        recorded.push(service.submit(&validator, submission).await?);
    }
    output.step("Recorded", &confirmation(&recorded));

    let deployment = Deployment {
        name: name.clone(),
        folder: project.folder.clone(),
        policy: policy.path.clone(),
        image: image.folder.clone(),
        validator: context.validator.clone(),
        app_id: app.id(),
        instance,
        workload_digest: digest,
        simulated,
        shape,
    };
    deployment.save(home)?;

    let started = Instant::now();
    let launch = LaunchBundle {
        manifest: manifest.to_bytes(),
        genesis: to_cbor(&app.genesis),
        roster_chain: service.chain().to_bytes(),
        instance_record: instance_record.to_bytes(),
        files,
    };
    let spec = Spec { context, arguments: &arguments, manifest: &manifest, images: &images, instance };
    let vm = spec.ensure_vm(&validator, &deployment, &image, launch).await?;

    let mut watch = Watch::new(context, &validator, &vm.id, arguments.timeout);
    watch.until(Stage::Agent, &manifest).await?;

    let reference = image.reference_value(&shape, simulated)?;
    let expected = Expected {
        workload: Workload::Digest { digest, source: "compose.yaml + compose.lock".to_owned() },
        images: vec![reference],
        instance: Some(instance),
        accept_simulated: if simulated { AcceptSimulated::Yes } else { AcceptSimulated::No },
        channel: ExpectedChannel::SessionKey { app_id: app.id(), roster: service.roster().clone() },
    };
    let appraised = ask(context, &validator, &vm.id, &policy, &expected, started, arguments.timeout).await?;
    let verdict = appraised.verdict.clone();
    if verdict.outcome() != Outcome::Verified {
        verify::show(output, &verdict, &name);
        return Ok(verify::exit_code(verdict.outcome()));
    }
    let mark = if verdict.trust_class() == Some(TrustClass::Simulated) { ", SIMULATED ROOT" } else { "" };
    output.step("Verified", &format!("policy {}: {} checks passed{mark}", policy.name(), verdict.passed()));
    let session = appraised.session()?;
    if !manifest.secret_names.is_empty() {
        deliver(&validator, &vm.id, &owner, &mut app, &session, secrets).await?;
        output.step(
            "Secrets",
            &format!("{} delivered to the verified guest", manifest.secret_names.join(", ")),
        );
    }
    watch.until(Stage::Ready, &manifest).await?;

    let vm = validator.vm(&vm.id).await?;
    let answer = Answer {
        name: &name,
        vm: &vm.id,
        app_id: app.id().to_string(),
        instance: instance.to_string(),
        workload_digest: digest.to_string(),
        measurement: measurement.to_string(),
        simulated,
        ports: &vm.ports,
        checks_passed: verdict.passed(),
    };
    output.answer(&answer, || {
        let address = vm
            .ports
            .first()
            .map_or_else(String::new, |port| format!("    http://{}:{}", port.host_ip, port.host_port));
        let id: String = vm.id.chars().take(4).collect();
        format!("\n{name} is up{address}    vm {id}    `casemate verify {name}` shows the proof")
    });
    Ok(exit::DONE)
}

fn reading(project: &Project) -> String {
    let file = project.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let count = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let compose = &project.compose;
    let locked = if project.lock.image.is_empty() { "not locked yet" } else { "locked in compose.lock" };
    format!(
        "{file}: {}, {}, {} ({locked})",
        count(compose.services.len(), "service"),
        count(compose.volumes.len(), "volume"),
        count(compose.services.len(), "image")
    )
}

async fn resolve_images(
    context: &Context,
    project: &mut Project,
) -> Result<BTreeMap<String, Converted>, Error> {
    let step = context.output.long_step("Images", "reading container images");
    let mut total = 0;
    let images = project
        .resolve_images(&context.home, Pins::Keep, |service, image| {
            total += image.size_bytes;
            step.say(&format!("{service}: root hash {}", image.root_hash.short()));
        })
        .await?;
    step.done(&format!(
        "{} as verified disks, {}",
        images.keys().cloned().collect::<Vec<_>>().join(", "),
        size(total)
    ));
    Ok(images)
}

/// `authority record 3, instance record 1: signed by 1 of 1 seats`.
fn confirmation(recorded: &[Confirmed]) -> String {
    let records: Vec<_> = recorded.iter().map(|confirmed| confirmed.taken.to_string()).collect();
    let fewest = recorded.iter().map(|confirmed| confirmed.seats.len()).min().unwrap_or_default();
    let all = recorded.first().map_or(0, |confirmed| confirmed.seat_count);
    format!("{}: signed by {fewest} of {all} seats", records.join(", "))
}

fn read_or_create_policy(
    context: &Context,
    arguments: &Arguments,
    project: &Project,
    image: &GuestImage,
    shape: &Shape,
    simulated: bool,
) -> Result<PolicyFile, Error> {
    let path = arguments.policy.clone().unwrap_or_else(|| project.folder.join(policy::FILE_NAME));
    if path.exists() {
        return PolicyFile::read(&path);
    }
    let listed = policy::Image { name: image.name(), measurement: image.measurement(shape, simulated)? };
    let root = match simulated {
        true if context.validator.is_none() => Some(local::simulated_root(&context.home)?),
        true => return Err(Error::RemoteSimulatedPolicy { path }),
        false => None,
    };
    let file = PolicyFile::create(&path, &listed, root, &[])?;
    let mark = if root.is_some() { ", which accepts this machine's SIMULATED root" } else { "" };
    context.output.step("Policy", &format!("wrote {}{mark}", file.name()));
    Ok(file)
}

/// What a VM is made of.
struct Spec<'a> {
    context: &'a Context,
    arguments: &'a Arguments,
    manifest: &'a Manifest,
    images: &'a BTreeMap<String, Converted>,
    instance: InstanceId,
}

impl Spec<'_> {
    /// The VM that runs this workload: the one there is, started if need be, or a new one.
    async fn ensure_vm(
        &self,
        validator: &Validator,
        deployment: &Deployment,
        image: &GuestImage,
        launch: LaunchBundle,
    ) -> Result<Vm, Error> {
        let name = &deployment.name;
        match validator.vm(name).await {
            Ok(vm) if vm.spec.workload_digest != deployment.workload_digest => {
                return Err(Error::OtherWorkload {
                    name: name.clone(),
                    running: vm.spec.workload_digest,
                    wanted: deployment.workload_digest,
                });
            }
            Ok(vm) if matches!(vm.state.as_str(), "stopped" | "failed") => {
                return Ok(validator.order(&vm.id, "start").await?);
            }
            Ok(vm) => return Ok(vm),
            Err(ApiError::NoVm { .. }) => {}
            Err(other) => return Err(other.into()),
        }
        let step = self.context.output.long_step("Disks", "handing images to the host");
        let disk = launch.to_disk();
        let launch_digest = sha256(&disk);
        validator.put_bytes(&launch_digest, disk).await?;
        let mut seen = BTreeSet::new();
        let mut disks = Vec::new();
        for (named, converted) in
            self.manifest.images.iter().map(|named| (named, &self.images[&named.service]))
        {
            if seen.insert(named.disk_serial()) {
                validator.put_blob(&converted.blob, &converted.disk).await?;
                disks.push(ImageDisk { serial: named.disk_serial(), blob: converted.blob.to_string() });
            }
        }
        let image_name = match &self.context.validator {
            None => image.folder.display().to_string(),
            Some(_) => self.arguments.image.clone().unwrap_or_else(|| image.description.name.clone()),
        };
        let volumes = self.manifest.volumes.iter();
        let spec = VmSpec {
            name: name.clone(),
            image: image_name,
            simulated: deployment.simulated,
            shape: deployment.shape,
            app_id: deployment.app_id,
            instance: self.instance,
            workload_digest: deployment.workload_digest,
            launch_blob: launch_digest.to_string(),
            images: disks,
            volumes: volumes
                .map(|volume| VolumeDisk { name: volume.name.clone(), size_bytes: volume.size_bytes })
                .collect(),
            ports: self.ports()?,
            egress: !self.manifest.egress.is_empty(),
        };
        let vm = validator.create(&spec).await?;
        step.done(&format!("{} image disks and the launch disk are at the host", spec.images.len()));
        Ok(vm)
    }

    fn ports(&self) -> Result<Vec<Port>, Error> {
        let (_, compose) = Manifest::parse(&self.manifest.to_bytes())?;
        for (service, _) in &self.arguments.publish {
            if compose.services.get(service).is_none_or(|service| service.ports.is_empty()) {
                return Err(Error::NothingPublished { service: service.clone() });
            }
        }
        let mut ports = Vec::new();
        for service in compose.services.values() {
            for (index, port) in service.ports.iter().enumerate() {
                let elsewhere =
                    self.arguments.publish.iter().find(|(name, _)| index == 0 && *name == service.name);
                ports.push(Port {
                    host_ip: port.host_ip.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string()),
                    host_port: elsewhere.map_or(port.host_port.unwrap_or(0), |(_, port)| *port),
                    guest_port: port.guest_port(),
                });
            }
        }
        Ok(ports)
    }
}

/// Asks for evidence until the agent answers.
async fn ask(
    context: &Context,
    validator: &Validator,
    vm: &str,
    policy: &PolicyFile,
    expected: &Expected,
    started: Instant,
    timeout: u64,
) -> Result<Appraised, Error> {
    let endorsements = context.endorsements()?;
    loop {
        let question = Question::new();
        match question.ask(validator, vm).await {
            Ok(bundle) => {
                let bundle = complete_bytes(&endorsements, context.output, bundle, clock::now_ms()).await?;
                return question.appraise(&bundle, &policy.policy, expected);
            }
            Err(error) if started.elapsed() > Duration::from_secs(timeout) => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// Seals the secrets to the verified guest.
async fn deliver(
    validator: &Validator,
    vm: &str,
    owner: &SigningKey,
    app: &mut App,
    session: &crate::session::Session,
    secrets: BTreeMap<String, zeroize::Zeroizing<Vec<u8>>>,
) -> Result<(), Error> {
    let values =
        secrets.into_iter().map(|(name, value)| SecretValue { name, value: value.to_vec() }).collect();
    let number = app.next_order()?;
    match session.order(validator, vm, owner, number, &Command::DeliverSecrets { values }).await? {
        OwnerReply::SecretsStored { .. } => Ok(()),
        _ => Err(SessionError::Answer.into()),
    }
}

/// How far a guest must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The machine runs.
    Booting,
    /// Its manifest is the one that the hardware names.
    Attesting,
    /// Its agent answers.
    Agent,
    /// Everything runs.
    Ready,
}

/// The stage of a phase, as the validator writes it: a word, and perhaps more after a space.
fn stage(phase: &str) -> Stage {
    match phase.split([' ', ':']).next().unwrap_or_default() {
        "ready" => Stage::Ready,
        "switched" | "awaiting_secrets" | "starting" | "healthy" => Stage::Agent,
        "manifest_accepted" | "attesting" | "keys_granted" | "volume_formatted" | "volume_opened" => {
            Stage::Attesting
        }
        _ => Stage::Booting,
    }
}

/// Follows a VM, saying what it does.
struct Watch<'a> {
    context: &'a Context,
    validator: &'a Validator,
    vm: &'a str,
    deadline: Instant,
    timeout: u64,
    step: Option<(Stage, Step)>,
    last_phase: String,
    healthy: BTreeSet<String>,
}

impl<'a> Watch<'a> {
    fn new(context: &'a Context, validator: &'a Validator, vm: &'a str, timeout: u64) -> Self {
        let deadline = Instant::now() + Duration::from_secs(timeout);
        let step = Some((Stage::Booting, context.output.long_step("Booting", "the machine starts")));
        Watch {
            context,
            validator,
            vm,
            deadline,
            timeout,
            step,
            last_phase: String::new(),
            healthy: BTreeSet::new(),
        }
    }

    async fn until(&mut self, wanted: Stage, manifest: &Manifest) -> Result<(), Error> {
        loop {
            let vm = self.validator.vm(self.vm).await?;
            if let Some(failure) = &vm.failure {
                return Err(Error::Guest {
                    code: failure.code.clone(),
                    message: failure.message.clone(),
                    hint: failure.hint.clone(),
                });
            }
            if vm.state == "stopped" || vm.state == "failed" {
                return Err(Error::Guest {
                    code: vm.state.clone(),
                    message: format!("the guest ended after phase '{}'", self.last_phase),
                    hint: None,
                });
            }
            let phase = vm.phase.unwrap_or_default();
            let reached = stage(&phase);
            if phase != self.last_phase {
                self.enter(&phase, reached, manifest);
                self.last_phase = phase;
            }
            if reached >= wanted {
                if wanted == Stage::Ready {
                    self.finish(manifest);
                }
                return Ok(());
            }
            if Instant::now() > self.deadline {
                return Err(Error::GuestLate { seconds: self.timeout, phase: self.last_phase.clone() });
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn enter(&mut self, phase: &str, reached: Stage, manifest: &Manifest) {
        if let Some(service) = phase.strip_prefix("healthy ") {
            self.healthy.insert(service.to_owned());
        }
        let current = self.step.as_ref().map(|(stage, _)| *stage);
        if current.is_some_and(|current| reached > current) {
            self.finish(manifest);
            self.step = match reached {
                Stage::Attesting => {
                    Some((reached, self.context.output.long_step("Attesting", "asking the key service")))
                }
                Stage::Agent => Some((reached, self.context.output.long_step("Starting", "services"))),
                _ => None,
            };
        }
        if let Some((_, step)) = &self.step {
            step.say(&phase.replace('_', " "));
        }
    }

    fn finish(&mut self, manifest: &Manifest) {
        let Some((stage, step)) = self.step.take() else { return };
        match stage {
            Stage::Booting => step.done("firmware accepted kernel, initrd and command line"),
            Stage::Attesting => step.done("the key service granted the volume key"),
            _ => {
                let services: Vec<&str> =
                    manifest.images.iter().map(|image| image.service.as_str()).collect();
                step.done(&format!("{} healthy", services.join(", ")));
            }
        }
    }
}

fn vm_name(name: String) -> Result<String, Error> {
    let plain = (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if plain { Ok(name) } else { Err(Error::VmName { name }) }
}

fn publish(text: &str) -> Result<(String, u16), String> {
    text.split_once('=')
        .and_then(|(service, port)| Some((service.to_owned(), port.parse().ok()?)))
        .ok_or_else(|| "expected SERVICE=PORT, such as web=8081".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_rise_through_the_stages() {
        assert_eq!(stage(""), Stage::Booting);
        assert_eq!(stage("root_verified"), Stage::Booting);
        assert_eq!(stage("attesting 1"), Stage::Attesting);
        assert_eq!(stage("starting db"), Stage::Agent);
        assert_eq!(stage("ready"), Stage::Ready);
        assert!(Stage::Booting < Stage::Attesting && Stage::Agent < Stage::Ready);
    }

    #[test]
    fn names_are_dns_labels() {
        assert!(vm_name("notes-1".into()).is_ok());
        for name in ["", "Notes", "a_b", "-a", "a-", "a.b"] {
            assert!(vm_name(name.into()).is_err(), "{name}");
        }
    }
}
