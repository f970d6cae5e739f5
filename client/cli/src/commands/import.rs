//! Which policy accepts exactly this deployment of another system?
//!
//! From its public files: what the rules of dstack and SecretVM make of them (`casemate-measure`) is listed in the
//! policy for strangers. What a publisher says of its builds is taken on trust by whoever uses that policy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use casemate_crypto::hash::{Sha256, sha256};
use casemate_measure::dstack::{self, ConfigDocument, DocumentError, KeyProvider, KeyProviderKind, Launch};
use casemate_measure::dstack_log::{RuntimeLog, RuntimeLogError};
use casemate_measure::secretvm::{self, Build, ListError, SnpBuild};
use casemate_measure::snp::LaunchError;
use casemate_verify::{Deployment, Policy};

use crate::commands::Context;
use crate::policy::PolicyFile;
use crate::{Error, exit, files};

/// Whose deployment it is.
#[derive(Debug, clap::Subcommand)]
pub enum Peer {
    /// A deployment of dstack, by its app-compose.json
    Dstack(DstackFiles),
    /// A deployment of SecretVM, by its compose file and the published list of builds
    Secretvm(SecretvmFiles),
}

/// Public files of a deployment of dstack.
#[derive(Debug, clap::Args)]
pub struct DstackFiles {
    /// The deployment's app-compose.json, byte for byte
    #[arg(long, value_name = "FILE")]
    app_compose: Option<PathBuf>,
    /// Instead of the file: its SHA-256
    #[arg(long, value_name = "HEX", conflicts_with = "app_compose", required_unless_present = "app_compose")]
    compose_hash: Option<Sha256>,
    /// On which hardware it runs
    #[arg(long, value_enum, default_value = "tdx")]
    platform: PlatformName,
    /// dstack's document of the configuration (version 3), which MRCONFIGID or HOST_DATA names
    #[arg(long, value_name = "FILE", conflicts_with_all = ["app_id", "key_provider"], required_if_eq("platform", "snp"))]
    mr_config: Option<PathBuf>,
    /// Who gives the app its keys: then only MRCONFIGID of version 2 will do, which names it
    #[arg(long, value_enum)]
    key_provider: Option<ProviderName>,
    /// Its id, hexadecimal; of a key service its public key
    #[arg(long, value_name = "HEX", requires = "key_provider", value_parser = bytes, default_value = "")]
    key_provider_id: HexBytes,
    /// App id; of itself the first 20 bytes of the SHA-256
    #[arg(long, value_name = "HEX", requires = "key_provider", value_parser = bytes)]
    app_id: Option<HexBytes>,
    /// The log of the deployment's guest, JSON: then only RTMR 3 as it gives it will do
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// What dstack-mr computed of the image on the machine, JSON; may be given several times
    #[arg(long, value_name = "FILE")]
    measurements: Vec<PathBuf>,
}

/// Public files of a deployment of SecretVM.
#[derive(Debug, clap::Args)]
pub struct SecretvmFiles {
    /// The deployment's compose file, byte for byte
    #[arg(long, value_name = "FILE")]
    compose: PathBuf,
    /// The archive of further files, if the deployment has one
    #[arg(long, value_name = "FILE")]
    files: Option<PathBuf>,
    /// The publisher's list of builds: tdx.csv for TDX, sev.json for SEV-SNP
    #[arg(long, value_name = "FILE")]
    artifacts: PathBuf,
    /// Kind of build, as the list has it; builds for developers let their maker log in
    #[arg(long, default_value = "prod")]
    kind: String,
    /// Version of the build; all of them, if none is named
    #[arg(long)]
    version: Option<String>,
    /// Size of machine, as the list for TDX has it; all of them, if none is named
    #[arg(long)]
    template: Option<String>,
    /// Numbers of virtual CPUs, which SEV-SNP measures
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32")]
    vcpus: Vec<u32>,
    /// App id, if the deployment has its keys from dstack's key service
    #[arg(long, value_name = "HEX", value_parser = bytes)]
    app_id: Option<HexBytes>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ProviderName {
    None,
    Local,
    Kms,
    Tpm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PlatformName {
    Tdx,
    Snp,
}

#[derive(Debug, Clone)]
struct HexBytes(Vec<u8>);

/// Why there is no policy for a deployment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// None of dstack's documents.
    #[error("{path}: {source}", path = path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<DocumentError>,
    },
    /// Not the log of a guest of dstack.
    #[error("{path}: {source}", path = path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<RuntimeLogError>,
    },
    /// Not the list of builds.
    #[error("{path}: {source}", path = path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<ListError>,
    },
    /// A build that cannot be launched.
    #[error("{path}: {source}", path = path.display())]
    Launch {
        /// The list.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<LaunchError>,
    },
    /// The document, or the log, names another compose file.
    #[error("{path} names the compose file {found}, expected {expected}", path = path.display())]
    OtherCompose {
        /// The document, or the log.
        path: PathBuf,
        /// Named in it.
        found: Sha256,
        /// Of the file, or named by the caller.
        expected: Sha256,
    },
    /// Another number of bytes.
    #[error("the app id has {found} bytes, expected 20")]
    AppId {
        /// Bytes found.
        found: usize,
    },
    /// A launch on the other hardware.
    #[error("{path} is of a launch on {found}, expected {expected}", path = path.display())]
    OtherPlatform {
        /// The document.
        path: PathBuf,
        /// The hardware that it is for.
        found: &'static str,
        /// The hardware that was asked for.
        expected: &'static str,
    },
    /// No build that was asked for is in the list.
    #[error(
        "{path} lists no build of kind {kind:?} that was asked for, but {builds}",
        path = path.display(), builds = listed(found)
    )]
    NoBuild {
        /// The list.
        path: PathBuf,
        /// The kind.
        kind: String,
        /// Kind and version of each build that it lists.
        found: BTreeSet<String>,
    },
}

impl ImportError {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            ImportError::Document { .. } => {
                "give what dstack-mr writes as JSON, and the configuration as the deployment publishes it"
            }
            ImportError::Log { .. } => {
                "give the event log as the guest's agent answers it, with its last event"
            }
            ImportError::List { .. } => "give tdx.csv or sev.json as SecretVM's registry has them",
            ImportError::Launch { .. } => "docs/reference/launch-measurement.md says what a launch must be",
            ImportError::OtherCompose { .. } => {
                "give the compose file and the configuration of one deployment"
            }
            ImportError::AppId { .. } => "give the 40 digits that dstack shows of the app",
            ImportError::OtherPlatform { .. } => "name the hardware of the deployment: --platform tdx or snp",
            ImportError::NoBuild { .. } => {
                "the list names its kinds, versions and templates: --kind, --version, --template"
            }
        }
    }
}

/// Computes and prints the policy.
///
/// # Errors
/// [`Error::File`], [`Error::Import`].
pub fn run(context: &Context, peer: &Peer) -> Result<u8, Error> {
    let deployment = match peer {
        Peer::Dstack(files) => files.deployment()?,
        Peer::Secretvm(files) => files.deployment()?,
    };
    let file = PolicyFile::parse(Path::new("the policy"), Policy::of_deployment(&deployment))?;
    let answer = serde_json::json!({ "policy": file.text, "digest": file.policy.digest() });
    context.output.answer(&answer, || file.text.clone());
    Ok(exit::DONE)
}

impl DstackFiles {
    fn deployment(&self) -> Result<Deployment, Error> {
        let compose = match (&self.app_compose, self.compose_hash) {
            (Some(path), _) => dstack::compose_digest(&files::read(path, MAXIMUM_BYTES)?),
            (None, Some(digest)) => digest,
            (None, None) => unreachable!("clap asks for one of the two"),
        };
        let mut deployment = Deployment {
            remarks: vec![format!("dstack: app-compose.json {compose}")],
            ..Deployment::default()
        };
        self.add_configuration(&compose, &mut deployment)?;
        if let Some(path) = &self.event_log {
            let log_error = |source| ImportError::Log { path: path.clone(), source: Box::new(source) };
            let log = RuntimeLog::parse(&files::read(path, MAXIMUM_BYTES)?).map_err(log_error)?;
            same_compose(path, log.compose().map_err(log_error)?, compose)?;
            deployment.remarks.push("RTMR 3: one boot of one instance, by its log".to_owned());
            deployment.rtmr3.push(log.rtmr3());
        }
        for path in &self.measurements {
            let launch = Launch::parse(&files::read(path, MAXIMUM_BYTES)?)
                .map_err(|source| ImportError::Document { path: path.clone(), source: Box::new(source) })?;
            deployment.measurements.push(match (launch, self.platform) {
                (Launch::Tdx(registers), PlatformName::Tdx) => registers.launch_measurement(),
                (Launch::Snp(measurement), PlatformName::Snp) => measurement,
                (Launch::Tdx(_), PlatformName::Snp) => return Err(other_platform(path, "TDX", "SEV-SNP")),
                (Launch::Snp(_), PlatformName::Tdx) => return Err(other_platform(path, "SEV-SNP", "TDX")),
            });
        }
        Ok(deployment)
    }

    /// Where the host names the app before the launch.
    fn add_configuration(&self, compose: &Sha256, deployment: &mut Deployment) -> Result<(), Error> {
        if let Some(path) = &self.mr_config {
            let document = ConfigDocument::parse(&files::read(path, MAXIMUM_BYTES)?)
                .map_err(|source| ImportError::Document { path: path.clone(), source: Box::new(source) })?;
            same_compose(path, document.compose(), *compose)?;
            deployment.remarks.push("configuration, version 3: app, key provider, instance".to_owned());
            match self.platform {
                PlatformName::Tdx => deployment.mr_config_ids.push(document.mr_config_id().into()),
                PlatformName::Snp => deployment.digests.push(document.host_data().into()),
            }
            return Ok(());
        }
        deployment.mr_config_ids.push(match self.key_provider {
            None => {
                deployment
                    .remarks
                    .push("MRCONFIGID, version 1: who gives the app its keys is not named".to_owned());
                dstack::mr_config_id_1(compose).into()
            }
            Some(name) => {
                let id = app_id(self.app_id.as_ref())?.unwrap_or_else(|| dstack::app_id(compose));
                let provider = KeyProvider { kind: name.kind(), id: &self.key_provider_id.0 };
                dstack::mr_config_id_2(compose, &id, &provider).into()
            }
        });
        Ok(())
    }
}

impl SecretvmFiles {
    fn deployment(&self) -> Result<Deployment, Error> {
        let compose = sha256(&files::read(&self.compose, MAXIMUM_BYTES)?);
        let archive = self.files.as_ref().map(|path| files::read(path, MAXIMUM_ARCHIVE_BYTES)).transpose()?;
        let archive = archive.map(|bytes| sha256(&bytes));
        let mut deployment = Deployment {
            remarks: vec![format!("SecretVM: compose file {compose}")],
            ..Deployment::default()
        };
        let text = files::read_text(&self.artifacts, MAXIMUM_BYTES)?;
        let found = if text.trim_start().starts_with('[') {
            self.add_snp(&text, &compose, archive.as_ref(), &mut deployment)?
        } else {
            self.add_tdx(&text, &compose, archive.as_ref(), &mut deployment)?
        };
        if deployment.measurements.is_empty() {
            let (path, kind) = (self.artifacts.clone(), self.kind.clone());
            return Err(ImportError::NoBuild { path, kind, found }.into());
        }
        Ok(deployment)
    }

    /// RTMR 3 holds compose file and root image; MRTD and RTMR 0 to 2 the rest. Kind and version of all builds listed.
    fn add_tdx(
        &self,
        text: &str,
        compose: &Sha256,
        archive: Option<&Sha256>,
        deployment: &mut Deployment,
    ) -> Result<BTreeSet<String>, Error> {
        let app_id = app_id(self.app_id.as_ref())?;
        let builds = Build::parse_list(text).map_err(|source| self.list_error(source))?;
        let wanted = |build: &Build| {
            self.wants(&build.kind, &build.version)
                && self.template.as_ref().is_none_or(|template| *template == build.template)
        };
        for build in builds.iter().filter(|build| wanted(build)) {
            let rtmr3 = match &app_id {
                None => secretvm::rtmr3(compose, &build.root_image, archive),
                Some(id) => secretvm::rtmr3_with_dstack_keys(id, compose, &build.root_image, archive),
            };
            let bare = if build.registers.rtmr2.as_bytes() == &[0; 48] {
                "; RTMR 2 is zero: which initrd ran is not measured, and RTMR 3 is that initrd's word"
            } else {
                ""
            };
            let Build { template, kind, version, registers, .. } = &build;
            deployment.remarks.push(format!("TDX: {template} {kind} {version}{bare}"));
            deployment.measurements.push(registers.launch_measurement());
            deployment.rtmr3.push(rtmr3);
        }
        Ok(builds.iter().map(|build| format!("{} {}", build.kind, build.version)).collect())
    }

    /// The launch measurement holds everything, the compose file by the kernel's command line. Kind and version of all
    /// builds listed.
    fn add_snp(
        &self,
        text: &str,
        compose: &Sha256,
        archive: Option<&Sha256>,
        deployment: &mut Deployment,
    ) -> Result<BTreeSet<String>, Error> {
        let builds = SnpBuild::parse_list(text).map_err(|source| self.list_error(source))?;
        for build in builds.iter().filter(|build| self.wants(&build.kind, &build.version)) {
            deployment.remarks.push(format!("SEV-SNP: {} {}", build.kind, build.version));
            for vcpus in &self.vcpus {
                let measurement = build.measurement(compose, archive, *vcpus).map_err(|source| {
                    ImportError::Launch { path: self.artifacts.clone(), source: Box::new(source) }
                })?;
                deployment.measurements.push(measurement);
                deployment.workload_measurements.push(measurement);
            }
        }
        Ok(builds.iter().map(|build| format!("{} {}", build.kind, build.version)).collect())
    }

    fn list_error(&self, source: ListError) -> ImportError {
        ImportError::List { path: self.artifacts.clone(), source: Box::new(source) }
    }

    fn wants(&self, kind: &str, version: &str) -> bool {
        kind == self.kind && self.version.as_deref().is_none_or(|wanted| wanted == version)
    }
}

impl ProviderName {
    fn kind(self) -> KeyProviderKind {
        match self {
            ProviderName::None => KeyProviderKind::None,
            ProviderName::Local => KeyProviderKind::Local,
            ProviderName::Kms => KeyProviderKind::Kms,
            ProviderName::Tpm => KeyProviderKind::Tpm,
        }
    }
}

fn same_compose(path: &Path, found: Sha256, expected: Sha256) -> Result<(), ImportError> {
    if found == expected {
        return Ok(());
    }
    Err(ImportError::OtherCompose { path: path.to_owned(), found, expected })
}

fn other_platform(path: &Path, found: &'static str, expected: &'static str) -> Error {
    ImportError::OtherPlatform { path: path.to_owned(), found, expected }.into()
}

/// The last of them: lists grow at their end.
fn listed(builds: &BTreeSet<String>) -> String {
    match builds.iter().rev().take(MOST_SHOWN).rev().map(String::as_str).collect::<Vec<_>>() {
        none if none.is_empty() => "nothing".to_owned(),
        some => some.join(", "),
    }
}

fn app_id(given: Option<&HexBytes>) -> Result<Option<[u8; 20]>, ImportError> {
    let read = |HexBytes(bytes): &HexBytes| {
        bytes.as_slice().try_into().map_err(|_| ImportError::AppId { found: bytes.len() })
    };
    given.map(read).transpose()
}

fn bytes(text: &str) -> Result<HexBytes, hex::FromHexError> {
    hex::decode(text).map(HexBytes)
}

const MOST_SHOWN: usize = 12;
const MAXIMUM_BYTES: u64 = 4 << 20;
const MAXIMUM_ARCHIVE_BYTES: u64 = 256 << 20;
