//! Is this what was deployed?

use std::path::{Path, PathBuf};

use casemate_evidence::bundle::Bundle;
use casemate_intake::{Challenge, ExpectedImage, ExpectedWorkload};
use casemate_record::{Roster, WorkloadDigest};
use casemate_verify::{AcceptSimulated, Outcome, Policy, ReferenceValue, Style, Verdict, Workload};

use crate::{
    Error, answer,
    app::App,
    application_data,
    clock::{self, Moment},
    commands::{Context, explain},
    deployment::Deployment,
    ear::{self, ResultKey},
    endorsements::{complete, complete_bytes},
    error::exit,
    evidence, files,
    guest_image::{self, GuestImage},
    key_service::KeyService,
    output::Output,
    policy::{self, PolicyFile},
    session::{Expected, ExpectedChannel, Question},
};

/// Verify a VM, a website or recorded evidence, and show every check
///
/// A VM is compared with what `up` deployed from here. For a website or a file, say what you expect:
/// --digest or --manifest, --image. Simulated hardware is refused unless --accept-simulated is given
/// and the policy lists its root.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of a VM, https://SITE, or files with evidence and what belongs to it, in any order; - is standard input.
    /// Files are known by their content: evidence bundles, SEV-SNP reports, TDX and SGX quotes, quotes of TPMs with
    /// signature, PCR values and key, Azure's HCL reports, certificates of Google's vTPMs, documents of AWS Nitro, event
    /// logs, IMA lists, reports of NVIDIA devices, NVIDIA's manifests, certificates, revocation lists, Intel's collateral
    #[arg(required = true)]
    pub targets: Vec<String>,
    /// Policy file
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Let a simulated root count that the policy lists
    #[arg(long)]
    pub accept_simulated: bool,
    /// Workload digest expected, hexadecimal
    #[arg(long, value_name = "DIGEST", conflicts_with = "manifest")]
    pub digest: Option<WorkloadDigest>,
    /// Manifest expected
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Guest image expected: its name, or the folder of a built one
    #[arg(long)]
    pub image: Option<String>,
    /// Virtual CPUs that the image runs on
    #[arg(long, requires = "image")]
    pub vcpus: Option<u32>,
    /// Leaf certificate of a raw report (VCEK or VLEK); the same as naming the file with the evidence
    #[arg(long, value_name = "FILE", requires = "chain")]
    pub leaf: Option<PathBuf>,
    /// Its chain: intermediate, root
    #[arg(long, value_name = "FILE", requires = "leaf")]
    pub chain: Option<PathBuf>,
    /// Bytes over which a service of the guest asked for the evidence in a file: a file with them, or hexadecimal
    #[arg(long, value_name = "FILE|HEX")]
    pub application_data: Option<String>,
    /// When these bytes were chosen, in UTC; without it the evidence may be of any age
    #[arg(long, value_name = "TIME", requires = "application_data")]
    pub made: Option<Moment>,
    /// Write an EAT Attestation Result too, a JWT signed with the key in this file (`casemate key create --for-results`)
    #[arg(long, value_name = "KEY")]
    pub ear: Option<PathBuf>,
    /// Where the result goes; without it, it takes the verdict's place on standard output
    #[arg(long, short, value_name = "FILE", requires = "ear")]
    pub output: Option<PathBuf>,
    /// For recorded evidence: the time to judge it at, in UTC, such as 2026-05-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub at: Option<Moment>,
}

/// Runs the command.
///
/// # Errors
/// [`Error`] if there is no evidence to judge; otherwise the exit code tells the outcome.
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let target = arguments.targets.join(" ");
    let is_site = |name: &str| name.starts_with("https://") || name.starts_with("http://");
    let is_file = |name: &str| !is_site(name) && (name == "-" || Path::new(name).is_file());
    let of_files = arguments.targets.len() > 1 || is_file(&target);
    if !of_files && arguments.application_data.is_some() {
        return Err(Error::ApplicationDataElsewhere { target });
    }
    // A key that cannot be used is noticed before anybody is asked.
    let result_key = arguments.ear.as_deref().map(ResultKey::read).transpose()?;
    let verdict = match &arguments.targets[..] {
        [site] if is_site(site) => verify_site(context, &arguments, site).await?,
        [name] if !of_files => verify_vm(context, &arguments, name).await?,
        files => verify_files(context, &arguments, files).await?,
    };
    let output = context.output;
    match &result_key {
        None => show(output, &verdict, &target),
        Some(key) => {
            let result = ear::sign(&verdict, key, clock::now_ms());
            match &arguments.output {
                Some(file) => {
                    files::write(file, result.as_bytes())?;
                    show(output, &verdict, &target);
                }
                None => output.line(&result),
            }
        }
    }
    Ok(exit_code(verdict.outcome()))
}

/// Prints a verdict, and where to read more about what failed.
pub fn show(output: Output, verdict: &Verdict, subject: &str) {
    output.answer(verdict, || {
        let hint = explain::hint(verdict).map_or_else(String::new, |hint| format!("hint: {hint}\n"));
        verdict.render(subject, style(output)) + &hint
    });
}

/// How verdicts look here.
pub fn style(output: Output) -> Style {
    if output.colour { Style::color() } else { Style::plain() }
}

/// The exit code of an outcome.
pub fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Verified => exit::DONE,
        Outcome::Refused => exit::POLICY_REFUSES,
        Outcome::NotGenuine => exit::NOT_GENUINE,
    }
}

async fn verify_vm(context: &Context, arguments: &Arguments, name: &str) -> Result<Verdict, Error> {
    let deployment = Deployment::open(&context.home, name)?;
    let validator = validator_of(context, &deployment)?;
    let policy = PolicyFile::read(arguments.policy.as_deref().unwrap_or(&deployment.policy))?;
    let service = key_service_of(context, &deployment, &validator).await?;
    let accept_simulated = arguments.accept_simulated || deployment.simulated;
    let expected = expected_of(&deployment, accept_simulated, service.roster())?;
    let question = Question::new();
    let bundle = question.ask(&validator, name).await?;
    let bundle = complete_bytes(&context.endorsements()?, context.output, bundle, clock::now_ms()).await?;
    Ok(question.appraise(&bundle, &policy.policy, &expected)?.verdict)
}

/// The key service of a deployment's app, as the validator shows it and the app remembers it.
///
/// # Errors
/// As [`KeyService::of`].
pub async fn key_service_of(
    context: &Context,
    deployment: &Deployment,
    validator: &crate::api::Validator,
) -> Result<KeyService, Error> {
    let is_local = context.validator.is_none() && deployment.validator.is_none();
    KeyService::of(&mut App::open(&deployment.folder)?, validator, None, is_local).await
}

/// What a deployment's evidence must show, under the newest roster of its key service.
///
/// # Errors
/// [`Error::GuestImage`], [`Error::File`].
pub fn expected_of(
    deployment: &Deployment,
    accept_simulated: bool,
    roster: &Roster,
) -> Result<Expected, Error> {
    let image = GuestImage::open(&deployment.image)?;
    Ok(Expected {
        workload: Workload::Digest {
            digest: deployment.workload_digest,
            source: "compose.yaml + compose.lock".to_owned(),
        },
        images: vec![image.reference_value(&deployment.shape, deployment.simulated)?],
        instance: Some(deployment.instance),
        accept_simulated: accept(accept_simulated),
        channel: ExpectedChannel::SessionKey { app_id: deployment.app_id, roster: roster.clone() },
    })
}

/// The validator that a deployment was made with, unless another is named.
///
/// # Errors
/// [`Error::Api`].
pub fn validator_of(context: &Context, deployment: &Deployment) -> Result<crate::api::Validator, Error> {
    match (&context.validator, &deployment.validator) {
        (None, Some(address)) => context.named_validator(address),
        _ => context.validator(),
    }
}

async fn verify_site(context: &Context, arguments: &Arguments, site: &str) -> Result<Verdict, Error> {
    let question = Question::new();
    let url = format!("{}/.well-known/casemate?nonce={}", site.trim_end_matches('/'), question.nonce_text());
    let bundle = fetch(&url).await?;
    let bundle = complete_bytes(&context.endorsements()?, context.output, bundle, clock::now_ms()).await?;
    let expected = Expected {
        workload: expected_workload(arguments)?,
        images: expected_images(context, arguments)?,
        instance: None,
        accept_simulated: accept(arguments.accept_simulated),
        // TLS to the site ends somewhere; nothing ties that place to the guest whose evidence it shows.
        channel: ExpectedChannel::Other,
    };
    let policy = policy_for(arguments)?.policy;
    Ok(question.appraise(&bundle, &policy, &expected)?.verdict)
}

async fn fetch(url: &str) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Site { url: url.to_owned(), source };
    let client = reqwest::Client::builder()
        .timeout(std::time::Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(failed)?;
    let response =
        client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let unread = |source| Error::SiteAnswer { url: url.to_owned(), source };
    answer::read(response, Bundle::MAXIMUM_LEN).await.map_err(unread)
}

async fn verify_files(context: &Context, arguments: &Arguments, names: &[String]) -> Result<Verdict, Error> {
    let named = names.iter().map(PathBuf::from);
    let paths: Vec<PathBuf> = named.chain(arguments.leaf.clone()).chain(arguments.chain.clone()).collect();
    let mut sorted = evidence::sort(&paths)?;
    let question = casemate_intake::Question {
        accept_simulated: arguments.accept_simulated,
        workload: expected_digest(arguments)?,
        challenge: challenge(arguments)?,
        images: expected_images(context, arguments)?.into_iter().map(expected_image).collect(),
        ..casemate_intake::Question::new(
            policy_for(arguments)?.text,
            arguments.at.map_or_else(clock::now_ms, |moment| moment.0),
        )
    };
    sorted.bundle = complete(&context.endorsements()?, context.output, sorted.bundle, question.at_ms).await?;
    Ok(question.answer(sorted, casemate_crypto::provider())?.verdict)
}

fn expected_image(value: ReferenceValue) -> ExpectedImage {
    ExpectedImage { image: value.image, measurement: value.measurement, source: value.source }
}

/// The policy named, the one here, or the one that is recommended.
fn policy_for(arguments: &Arguments) -> Result<PolicyFile, Error> {
    let here = Path::new(policy::FILE_NAME);
    match &arguments.policy {
        Some(path) => PolicyFile::read(path),
        None if here.is_file() => PolicyFile::read(here),
        None => PolicyFile::parse(here, Policy::example(&[])),
    }
}

fn expected_digest(arguments: &Arguments) -> Result<Option<ExpectedWorkload>, Error> {
    if let Some(digest) = arguments.digest {
        return Ok(Some(ExpectedWorkload { digest, source: "--digest".to_owned() }));
    }
    let Some(path) = &arguments.manifest else { return Ok(None) };
    let bytes = files::read(path, casemate_workload::manifest::MAXIMUM_BYTES as u64)?;
    let (manifest, _) = casemate_workload::Manifest::parse(&bytes)?;
    Ok(Some(ExpectedWorkload { digest: manifest.digest(), source: path.display().to_string() }))
}

fn challenge(arguments: &Arguments) -> Result<Option<Challenge>, Error> {
    let Some(argument) = &arguments.application_data else { return Ok(None) };
    let value = application_data::bytes(argument)?;
    Ok(Some(Challenge::Application { value, made_ms: arguments.made.map(|moment| moment.0) }))
}

fn expected_workload(arguments: &Arguments) -> Result<Workload, Error> {
    Ok(expected_digest(arguments)?.map_or(Workload::Unchecked, |expected| Workload::Digest {
        digest: expected.digest,
        source: expected.source,
    }))
}

fn expected_images(context: &Context, arguments: &Arguments) -> Result<Vec<ReferenceValue>, Error> {
    let Some(name) = &arguments.image else { return Ok(Vec::new()) };
    let image = GuestImage::find(&context.home, Some(name))?;
    let shape = guest_image::shape(arguments.vcpus, None);
    let mut values = vec![image.reference_value(&shape, false)?];
    if arguments.accept_simulated {
        values.push(image.reference_value(&shape, true)?);
    }
    Ok(values)
}

fn accept(simulated: bool) -> AcceptSimulated {
    if simulated { AcceptSimulated::Yes } else { AcceptSimulated::No }
}
