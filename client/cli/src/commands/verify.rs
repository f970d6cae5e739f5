//! Is this what was deployed?

use std::path::{Path, PathBuf};

use casemate_evidence::bundle::{Bundle, Item};
use casemate_record::{Roster, WorkloadDigest};
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, Outcome, Policy, Style, Verdict, Verifier, Workload,
    snp::Endorsements,
};

use crate::{
    Error,
    app::App,
    application_data,
    clock::{self, Moment},
    commands::Context,
    deployment::Deployment,
    endorsements::{complete, complete_bytes},
    error::exit,
    evidence::Evidence,
    files,
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
    /// Name of a VM, https://SITE, a file with an evidence bundle, a raw SEV-SNP report or a TDX or SGX quote,
    /// or - for standard input
    pub target: String,
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
    /// Leaf certificate of a raw report (VCEK or VLEK), DER
    #[arg(long, value_name = "FILE", requires = "chain")]
    pub leaf: Option<PathBuf>,
    /// Its chain, PEM: intermediate, root
    #[arg(long, value_name = "FILE", requires = "leaf")]
    pub chain: Option<PathBuf>,
    /// Bytes over which a service of the guest asked for the evidence in a file: a file with them, or hexadecimal
    #[arg(long, value_name = "FILE|HEX")]
    pub application_data: Option<String>,
    /// When these bytes were chosen, in UTC; without it the evidence may be of any age
    #[arg(long, value_name = "TIME", requires = "application_data")]
    pub made: Option<Moment>,
    /// For recorded evidence: the time to judge it at, in UTC, such as 2026-05-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub at: Option<Moment>,
}

/// Runs the command.
///
/// # Errors
/// [`Error`] if there is no evidence to judge; otherwise the exit code tells the outcome.
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let target = arguments.target.clone();
    let is_site = target.starts_with("https://") || target.starts_with("http://");
    let is_file = !is_site && (target == "-" || Path::new(&target).is_file());
    if !is_file && arguments.application_data.is_some() {
        return Err(Error::ApplicationDataElsewhere { target });
    }
    let verdict = if is_site {
        verify_site(context, &arguments, &target).await?
    } else if is_file {
        verify_file(context, &arguments, Path::new(&target)).await?
    } else {
        verify_vm(context, &arguments, &target).await?
    };
    let output = context.output;
    output.answer(&verdict, || verdict.render(&target, style(output)));
    Ok(exit_code(verdict.outcome()))
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
        (None, Some(address)) => Ok(crate::api::Validator::at(address)?),
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
    let policy = policy_for(arguments)?;
    Ok(question.appraise(&bundle, &policy, &expected)?.verdict)
}

async fn fetch(url: &str) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Site { url: url.to_owned(), source };
    let client = reqwest::Client::builder()
        .timeout(std::time::Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(failed)?;
    let mut response =
        client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > Bundle::MAXIMUM_LEN {
            return Err(Error::SiteTooLarge { url: url.to_owned(), maximum: Bundle::MAXIMUM_LEN });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn verify_file(context: &Context, arguments: &Arguments, path: &Path) -> Result<Verdict, Error> {
    let bundle = read_evidence(path)?;
    let endorsements = read_endorsements(arguments)?;
    let policy = policy_for(arguments)?;
    let expectations = Expectations {
        freshness: expected_answer(arguments)?,
        workload: expected_workload(arguments)?,
        images: expected_images(context, arguments)?,
        channel: Channel::Unchecked,
    };
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: accept(arguments.accept_simulated),
        provider: casemate_crypto::provider(),
    };
    let now_ms = arguments.at.map_or_else(clock::now_ms, |moment| moment.0);
    // Certificates that somebody names stand in for those that the evidence does not carry.
    let bundle = match endorsements {
        Some(named) if bundle.snp_certificates().is_none() => {
            bundle.with(Item::SnpCertificates(named.to_bundle_item()))
        }
        _ => bundle,
    };
    let bundle = complete(&context.endorsements()?, context.output, bundle, now_ms).await?;
    Ok(verifier.verify_bundle(&bundle, None, &expectations, now_ms).verdict().clone())
}

/// The evidence in a file, as a bundle.
fn read_evidence(path: &Path) -> Result<Bundle, Error> {
    let bytes = files::read_input(path, Evidence::MAXIMUM_LEN as u64)?;
    let evidence =
        Evidence::recognise(bytes).ok_or_else(|| Error::UnknownEvidence { path: path.to_owned() })?;
    match evidence.into_bundle() {
        Ok(Some(bundle)) => Ok(bundle),
        Ok(None) => Err(Error::NothingToVerify { path: path.to_owned() }),
        Err(source) => Err(Error::NotEvidence { path: path.to_owned(), source: Box::new(source) }),
    }
}

fn read_endorsements(arguments: &Arguments) -> Result<Option<Endorsements>, Error> {
    let (Some(leaf), Some(chain)) = (&arguments.leaf, &arguments.chain) else { return Ok(None) };
    let bytes = files::read(leaf, 64 << 10)?;
    let text = files::read_text(chain, 64 << 10)?;
    Endorsements::parse_with_pem_chain(&bytes, &text)
        .map(Some)
        .map_err(|source| Error::Certificates { source: Box::new(source) })
}

/// The policy named, the one here, or the one that is recommended.
fn policy_for(arguments: &Arguments) -> Result<Policy, Error> {
    if let Some(path) = &arguments.policy {
        return Ok(PolicyFile::read(path)?.policy);
    }
    let here = Path::new(policy::FILE_NAME);
    if here.is_file() {
        return Ok(PolicyFile::read(here)?.policy);
    }
    let text = Policy::example(&[]);
    Policy::parse(&text).map_err(|source| Error::Policy { path: here.to_owned(), source: Box::new(source) })
}

fn expected_answer(arguments: &Arguments) -> Result<Freshness, Error> {
    let Some(argument) = &arguments.application_data else { return Ok(Freshness::Unchecked) };
    let report_data = application_data::report_data(argument)?;
    Ok(match arguments.made {
        Some(Moment(made_ms)) => Freshness::Challenge { report_data, made_ms },
        None => Freshness::Undated { report_data },
    })
}

fn expected_workload(arguments: &Arguments) -> Result<Workload, Error> {
    if let Some(digest) = arguments.digest {
        return Ok(Workload::Digest { digest, source: "--digest".to_owned() });
    }
    let Some(path) = &arguments.manifest else { return Ok(Workload::Unchecked) };
    let bytes = files::read(path, casemate_workload::manifest::MAXIMUM_BYTES as u64)?;
    let (manifest, _) = casemate_workload::Manifest::parse(&bytes)?;
    Ok(Workload::Digest { digest: manifest.digest(), source: path.display().to_string() })
}

fn expected_images(
    context: &Context,
    arguments: &Arguments,
) -> Result<Vec<casemate_verify::ReferenceValue>, Error> {
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
