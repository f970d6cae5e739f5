//! Why did a command fail, with which exit code, and what is to be done?

use std::path::PathBuf;

use casemate_api::validator::SeatRefusal;
use casemate_crypto::hash::Sha256;
use casemate_workload::{compose, manifest};

use crate::{
    answer::AnswerError,
    api::ApiError,
    app::AppError,
    key::KeyError,
    key_service::{receipts_hint, roster_hint},
    local::LocalError,
    lock::LockError,
    oci::OciError,
    session::SessionError,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than is read.
    #[error("{path} has {found} bytes, at most {maximum} are read")]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// Limit.
        maximum: u64,
    },
    /// A file is no UTF-8.
    #[error("{path} is not UTF-8")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Nowhere to keep anything.
    #[error("neither CASEMATE_HOME nor HOME is set")]
    NoHome,
    /// No compose file.
    #[error("no compose file at {path}")]
    NoComposeFile {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The compose file is refused.
    #[error("{file}:{line}:{column}: {problem}", file = file.display(), line = source.place.line,
            column = source.place.column, problem = source.problem)]
    Compose {
        /// The file.
        file: PathBuf,
        /// Place and problem.
        #[source]
        source: compose::Error,
    },
    /// No manifest can be made.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// A line of `.env` is none.
    #[error("{path}:{line}: expected NAME=value", path = path.display())]
    DotEnv {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// Secrets without a value.
    #[error("no value for {}", names.join(", "))]
    SecretsMissing {
        /// Their names.
        names: Vec<String>,
    },
    /// A converted image vanished.
    #[error("the converted image {digest} is not in the cache any more")]
    CacheLost {
        /// SHA-256 of its OCI manifest.
        digest: Sha256,
    },
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// An image.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// The owner's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The app's file.
    #[error(transparent)]
    App(#[from] AppError),
    /// The validator.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The services of this machine.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A guest's evidence or answer.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A policy file.
    #[error("{path}: {source}", path = path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<casemate_verify::PolicyError>,
    },
    /// The policy file is there already.
    #[error("{path} is there already", path = path.display())]
    PolicyExists {
        /// The file.
        path: PathBuf,
    },
    /// Which simulated root a remote host has is for the owner to say.
    #[error("there is no {path}, and a remote host's simulated root is not accepted unseen", path = path.display())]
    RemoteSimulatedPolicy {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// No guest image, or several.
    #[error("{folder} has {found} guest images, expected one", folder = folder.display())]
    NoGuestImage {
        /// Where images are.
        folder: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// A guest image's description.
    #[error("{path}: {source}", path = path.display())]
    GuestImage {
        /// The description.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<casemate_measure::image::ImageError>,
    },
    /// There is no policy for a deployment of another system.
    #[error(transparent)]
    Import(#[from] crate::commands::import::ImportError),
    /// Files that cannot be launched.
    #[error("{path}: {source}", path = path.display())]
    Launch {
        /// The firmware.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<casemate_measure::snp::LaunchError>,
    },
    /// An image could not be built or differs.
    #[error("{source}")]
    ImageBuild {
        /// Why.
        #[source]
        source: Box<casemate_image::Error>,
    },
    /// The key service's roster.
    #[error("the key service's roster is refused: {source}")]
    Roster {
        /// Why.
        #[source]
        source: Box<casemate_record::Error>,
    },
    /// Too few seats signed that they took a submission.
    #[error("{source}{}", said(refusals))]
    NotConfirmed {
        /// Which seats signed, how many must, and why other receipts do not count.
        #[source]
        source: Box<casemate_record::Error>,
        /// What the validator says of the other seats.
        refusals: Vec<SeatRefusal>,
    },
    /// Nothing was deployed under this name from here.
    #[error("nothing was deployed as '{name}' from here")]
    NotDeployed {
        /// The name.
        name: String,
    },
    /// The note about a deployment.
    #[error("{path} is damaged", path = path.display())]
    DeploymentDamaged {
        /// The file.
        path: PathBuf,
    },
    /// A VM of this name runs something else.
    #[error("'{name}' runs workload {}, compose.yaml and compose.lock make {}", running.short(), wanted.short())]
    OtherWorkload {
        /// The VM.
        name: String,
        /// What it runs.
        running: casemate_record::WorkloadDigest,
        /// What should run.
        wanted: casemate_record::WorkloadDigest,
    },
    /// A service without ports was to be published.
    #[error("service '{service}' publishes no port in the compose file")]
    NothingPublished {
        /// The service.
        service: String,
    },
    /// Not a name for a VM.
    #[error("'{name}' cannot name a VM: letters a-z, digits and '-', at most 40")]
    VmName {
        /// The name.
        name: String,
    },
    /// The guest gave up.
    #[error("the guest failed: {message} ({code})")]
    Guest {
        /// Stable word.
        code: String,
        /// What it says.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The guest took too long.
    #[error("the guest did not get there in {seconds} s; it is at '{phase}'")]
    GuestLate {
        /// How long it was waited for.
        seconds: u64,
        /// How far it came.
        phase: String,
    },
    /// Neither a file nor hexadecimal.
    #[error("'{found}' is no file and not hexadecimal")]
    NotApplicationData {
        /// What was given, cut short.
        found: String,
    },
    /// Bytes over which no guest gives a service evidence.
    #[error("--application-data: {0}")]
    ApplicationData(#[from] casemate_release::report_data::ChosenError),
    /// Evidence that is made anew answers a nonce, not the bytes of a service.
    #[error("--application-data goes with a file of evidence, not with {target}")]
    ApplicationDataElsewhere {
        /// The VM or site.
        target: String,
    },
    /// A website.
    #[error("{url}: {source}")]
    Site {
        /// Its evidence's address.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A website's answer is too long, or broke off.
    #[error("{url} {source}")]
    SiteAnswer {
        /// Its evidence's address.
        url: String,
        /// Why.
        #[source]
        source: AnswerError,
    },
    /// No token in the file that should hold it.
    #[error("{path} holds no token: expected one line of 1 to 4096 visible ASCII characters", path = path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// What somebody named cannot be judged.
    #[error(transparent)]
    Intake(#[from] casemate_intake::Error),
    /// A file begins like an SEV-SNP report, and is none.
    #[error("{path} is no SEV-SNP report: {source}", path = path.display())]
    NotReport {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<casemate_evidence::snp::ReportError>,
    },
    /// Certificates were to be verified as if they were evidence.
    #[error("{path} holds certificates or a revocation list: they endorse evidence and are none", path = path.display())]
    NothingToVerify {
        /// The file.
        path: PathBuf,
    },
    /// No certificates endorse the evidence, so it was not judged.
    #[error("{source}")]
    Endorsements {
        /// Why.
        #[source]
        source: Box<casemate_endorse::Error>,
    },
    /// A verdict has no check of this name.
    #[error("no check is called '{found}'")]
    UnknownCode {
        /// What was given.
        found: String,
        /// Checks with similar names.
        similar: Vec<casemate_verify::Code>,
    },
    /// Evidence was to be kept as if it endorsed some.
    #[error("{path} is no certificate and no list ({kind}): nothing that is kept here", path = path.display())]
    NotEndorsement {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: casemate_intake::Kind,
    },
    /// Certificates that were given.
    #[error("the certificates cannot be read: {source}")]
    Certificates {
        /// Why.
        #[source]
        source: Box<casemate_verify::snp::EndorsementsError>,
    },
}

impl Error {
    /// `docs/reference/exit-codes.md`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Compose { .. }
            | Error::Manifest(_)
            | Error::Lock(_)
            | Error::Oci(_)
            | Error::NoComposeFile { .. }
            | Error::DotEnv { .. }
            | Error::SecretsMissing { .. } => exit::PROJECT,
            Error::Intake(error) if is_misuse(error) => exit::USAGE,
            Error::Key(_) | Error::App(_) => exit::OWNER,
            Error::Api(error) => error.exit_code(),
            Error::Local(_) | Error::Site { .. } | Error::SiteAnswer { .. } => exit::SERVICES,
            Error::Session(SessionError::Denied { .. }) => exit::REFUSED,
            Error::Session(_)
            | Error::Intake(_)
            | Error::NotReport { .. }
            | Error::Certificates { .. }
            | Error::NotConfirmed { .. }
            | Error::Roster { .. } => exit::NOT_GENUINE,
            Error::Guest { .. } | Error::GuestLate { .. } => exit::GUEST,
            Error::VmName { .. }
            | Error::Token { .. }
            | Error::UnknownCode { .. }
            | Error::NothingPublished { .. }
            | Error::NotEndorsement { .. }
            | Error::NotApplicationData { .. }
            | Error::ApplicationData(_)
            | Error::ApplicationDataElsewhere { .. }
            | Error::Import(_)
            | Error::NothingToVerify { .. } => exit::USAGE,
            Error::Endorsements { .. } => exit::ENDORSEMENTS,
            Error::OtherWorkload { .. } => exit::REFUSED,
            _ => exit::FAILED,
        }
    }

    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            Error::File { .. } => "check that the path exists and that you may use it".into(),
            Error::FileTooLarge { .. } => "is this the right file? Large contents belong into an image".into(),
            Error::NotText { .. } => "save it as UTF-8".into(),
            Error::NoHome => "set CASEMATE_HOME to a folder of yours".into(),
            Error::NoComposeFile { .. } => {
                "go to the folder of your compose.yaml, or name it: `casemate up PATH`".into()
            }
            Error::Compose { .. } => "docs/reference/compose.md lists what is supported, and why".into(),
            Error::Manifest(_) => "`casemate lock` shows what the manifest would be made of".into(),
            Error::DotEnv { .. } => "write one NAME=value per line; '#' begins a comment".into(),
            Error::SecretsMissing { .. } => {
                "set them in the environment or in .env; they reach the guest only after it was verified".into()
            }
            Error::CacheLost { .. } => "run the command again".into(),
            Error::Lock(LockError::Syntax { .. } | LockError::Version { .. }) => {
                "restore compose.lock from version control, or make it anew: `casemate lock --update`".into()
            }
            Error::Lock(_) => "if this change is meant: `casemate lock --update`".into(),
            Error::Oci(error) => oci_hint(error).into(),
            Error::Key(error) => key_hint(error).into(),
            Error::App(AppError::OtherOwner { .. }) => {
                "use the key that made this app, or start a new app: move .casemate away (its volumes stay behind)"
                    .into()
            }
            Error::App(AppError::OtherKms { found, .. }) => {
                format!("do not go on unless you moved to it yourself; its operator tells its id: --kms {found}")
            }
            Error::App(AppError::KmsUnnamed { .. }) => {
                "ask the key service's operator, not the validator, for its id, and give it once: --kms ID".into()
            }
            Error::App(_) => "restore .casemate/app.toml from a backup".into(),
            Error::Api(error) => error.hint(),
            Error::Local(error) => error.hint(),
            Error::Session(SessionError::Denied { .. }) => {
                "what the guest grants stands in the compose file under `x-casemate: observe`".into()
            }
            Error::Session(_) => "`casemate verify` shows each check; do not trust this guest before it passes".into(),
            Error::Policy { .. } => "docs/reference/policy.md lists every rule; `casemate policy check` reads the file".into(),
            Error::PolicyExists { .. } => "edit it, or move it away first".into(),
            Error::RemoteSimulatedPolicy { .. } => {
                "write the policy yourself: `casemate policy init`, then list the root under [simulated_roots]".into()
            }
            Error::NoGuestImage { .. } => {
                "name one: --image NAME or FOLDER; `casemate image build` makes one".into()
            }
            Error::GuestImage { .. } | Error::ImageBuild { .. } => "`casemate image verify` compares an image with its description".into(),
            Error::Import(error) => error.hint().into(),
            Error::Launch { .. } => "docs/reference/launch-measurement.md says what firmware, vCPUs and features must be".into(),
            Error::Roster { source } => roster_hint(source).into(),
            Error::NotConfirmed { source, .. } => receipts_hint(source).into(),
            Error::NotDeployed { .. } => {
                "`casemate ps` lists what runs; to verify what others run, give its address or evidence file".into()
            }
            Error::DeploymentDamaged { .. } => "run `casemate up` in the app's folder again".into(),
            Error::OtherWorkload { name, .. } => {
                format!("`casemate down {name}` first, or undo the change to the compose file or lock")
            }
            Error::Token { .. } => "write what the validator's operator gave you into it".into(),
            Error::NothingPublished { .. } => "name a service that has `ports:`".into(),
            Error::VmName { .. } => "give another one: --name".into(),
            Error::Guest { hint, .. } => {
                hint.clone().unwrap_or_else(|| "docs/reference/boot.md explains each failure".into())
            }
            Error::GuestLate { .. } => {
                "`casemate ps` shows how far it is; on slow machines give it longer: --timeout".into()
            }
            Error::NotApplicationData { .. } | Error::ApplicationData(_) => {
                "give the bytes that the service sent to its evidence socket: a file that holds them, or hexadecimal".into()
            }
            Error::ApplicationDataElsewhere { .. } => {
                "have the service ask for evidence, and give the file with its answer".into()
            }
            Error::Site { .. } | Error::SiteAnswer { .. } => {
                "does the site serve /.well-known/casemate? A file with its evidence can be verified as well".into()
            }
            Error::Intake(error) => error.hint().into(),
            Error::NotReport { .. } => "was it cut on its way, or encoded? A report has 1184 bytes".into(),
            Error::NothingToVerify { .. } => {
                "`casemate inspect` shows what it says; with a report it serves as --leaf or --chain".into()
            }
            Error::Endorsements { source } => endorsements_hint(source).into(),
            Error::UnknownCode { similar, .. } if !similar.is_empty() => {
                let names: Vec<&str> = similar.iter().take(5).map(|code| code.as_str()).collect();
                format!("similar: {}", names.join(", "))
            }
            Error::UnknownCode { .. } => "`casemate explain` lists all checks".into(),
            Error::NotEndorsement { .. } => "`casemate endorsements fetch` fetches what endorses a report".into(),
            Error::Certificates { .. } => "the leaf is DER, the chain PEM: intermediate first, then root".into(),
        }
    }
}

/// Whether the files are sound, and are not what was asked for.
fn is_misuse(error: &casemate_intake::Error) -> bool {
    use casemate_intake::Error as E;
    matches!(error, E::TooMany { .. } | E::Twice { .. } | E::NoEvidence { .. })
}

/// `; the validator says of seat 2: ...` for each.
fn said(refusals: &[SeatRefusal]) -> String {
    refusals.iter().fold(String::new(), |text, refusal| {
        format!("{text}; the validator says of seat {}: {}", refusal.seat, refusal.problem)
    })
}

/// Exit codes.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed for a reason without a code of its own.
    pub const FAILED: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// The evidence is genuine, and the policy refuses it.
    pub const POLICY_REFUSES: u8 = 3;
    /// The evidence is not genuine, or does not answer this question.
    pub const NOT_GENUINE: u8 = 4;
    /// Compose file, lock or images cannot be used.
    pub const PROJECT: u8 = 5;
    /// The owner's key or the app's file cannot be used.
    pub const OWNER: u8 = 6;
    /// A service does not answer, or does not run.
    pub const SERVICES: u8 = 7;
    /// A service understood, and refused.
    pub const REFUSED: u8 = 8;
    /// The guest did not get as far as it should.
    pub const GUEST: u8 = 9;
    /// What endorses the evidence cannot be had, so nothing was judged.
    pub const ENDORSEMENTS: u8 = 10;

    /// All of them, with what they mean.
    pub const ALL: &[(u8, &str)] = &[
        (DONE, "done"),
        (FAILED, "failed for a reason without a code of its own"),
        (USAGE, "the command line is wrong"),
        (POLICY_REFUSES, "the evidence is genuine, and the policy refuses it"),
        (NOT_GENUINE, "the evidence is not genuine, or does not answer this question"),
        (PROJECT, "compose file, lock or images cannot be used"),
        (OWNER, "the owner's key or the app's file cannot be used"),
        (SERVICES, "a service does not answer, or does not run"),
        (REFUSED, "a service or the guest understood, and refused"),
        (GUEST, "the guest did not get as far as it should"),
        (ENDORSEMENTS, "what endorses the evidence cannot be had, so nothing was judged"),
    ];
}

fn oci_hint(error: &OciError) -> &'static str {
    match error {
        OciError::Reference { .. } => "examples: nginx:1.27, oci:images/db, oci-archive:web.tar",
        OciError::NoLayout { .. } => "make the layout first, or correct the path in the compose file",
        OciError::NotOneImage { .. } => "name one: oci:PATH:TAG",
        OciError::NoPlatform { .. } => "guests are linux/amd64; build or choose such an image",
        OciError::WrongBlob { .. } | OciError::TooLarge { .. } => {
            "fetch or build the image again; if it stays so, do not trust where it came from"
        }
        OciError::LayerType { .. } => "build it with a current builder",
        OciError::Registry { .. } => {
            "is the name right and the registry reachable? CASEMATE_REGISTRY_USER and CASEMATE_REGISTRY_PASSWORD log in"
        }
        OciError::NoBuilder { .. } => {
            "install one of them, or build elsewhere and write `image: oci:PATH` instead of `build:`"
        }
        OciError::Build { .. } => "the builder's own messages stand above",
        _ => "build the image again with a current builder",
    }
}

fn endorsements_hint(error: &casemate_endorse::Error) -> &'static str {
    use casemate_endorse::Error as E;
    match error {
        E::Shared(error) => endorsements_hint(error),
        E::NotStored { .. } => {
            "give the certificates: --leaf vcek.der --chain chain.pem; or fetch them where there is a network and \
             bring them along: `casemate endorsements export`, `import`"
        }
        E::NoCollateral { .. } | E::NoManifest { .. } => {
            "fetch it where there is a network and bring it along: `casemate endorsements fetch`, `export`, `import`"
        }
        E::PckNotCarried => {
            "ask whoever made the quote for one with certificates (certification data of type 5)"
        }
        E::AzureHost { .. } => "run this inside an SEV-SNP VM of Azure",
        E::Network { .. } | E::Slow { .. } | E::TooManyRequests { .. } => {
            "is there a way to that address? Without one: `casemate endorsements import` and --offline"
        }
        E::Status { status: 404, .. } => {
            "its maker knows no such chip, platform, firmware or driver: the evidence may be made up, or is of a test machine"
        }
        E::Status { .. } => "wait a minute and try again, or work with --offline",
        E::VlekNotServed | E::ChipMasked => {
            "ask the cloud provider for the certificate; give it with --leaf and --chain, or `casemate endorsements import`"
        }
        E::File { .. } => "check permissions and space of the folder `endorsements` in CASEMATE_HOME",
        E::OlderRevocationList { .. } => "somebody serves an old list: see who answers for the key server",
        E::AuthorityMissing { .. } => "import ARK and ASK or ASVK together with it",
        E::OfflineBundle(_) | E::OfflineVersion { .. } | E::OfflineOrder { .. } => {
            "give a file that `casemate endorsements export` wrote"
        }
        _ => "do not trust what sent this; fetch it from the maker's own service",
    }
}

fn key_hint(error: &KeyError) -> &'static str {
    match error {
        KeyError::Exists { .. } => "`casemate key show` shows it",
        KeyError::Absent => "make one: `casemate key create`",
        KeyError::Damaged => "restore keys/owner.toml from a backup",
        KeyError::WrongPassphrase => "try again; CASEMATE_KEY_PASSPHRASE is used first if it is set",
        KeyError::NoTerminal => "set CASEMATE_KEY_PASSPHRASE, or run a command on a terminal once",
        KeyError::Differ => "type the same passphrase twice",
        KeyError::TooShort { .. } => "choose a longer one",
        KeyError::ResultKey { .. } => "`casemate key create --for-results FILE` makes one",
        KeyError::ResultKeyExists { .. } => {
            "name a new file; results that it signed can be checked with it only"
        }
    }
}
