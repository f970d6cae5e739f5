//! Why did a command fail, with which exit code, and what is to be done?

use std::path::PathBuf;

use casemate_crypto::hash::Sha256;
use casemate_workload::{compose, manifest};

use crate::{api::ApiError, app::AppError, key::KeyError, local::LocalError, lock::LockError, oci::OciError};

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
            Error::Key(_) | Error::App(_) => exit::OWNER,
            Error::Api(error) => error.exit_code(),
            Error::Local(_) => exit::SERVICES,
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
            Error::App(_) => "restore .casemate/app.toml from a backup".into(),
            Error::Api(error) => error.hint(),
            Error::Local(error) => error.hint(),
        }
    }
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

fn key_hint(error: &KeyError) -> &'static str {
    match error {
        KeyError::Exists { .. } => "`casemate key show` shows it",
        KeyError::Absent => "make one: `casemate key create`",
        KeyError::Damaged => "restore keys/owner.toml from a backup",
        KeyError::WrongPassphrase => "try again; CASEMATE_KEY_PASSPHRASE is used first if it is set",
        KeyError::NoTerminal => "set CASEMATE_KEY_PASSPHRASE, or run a command on a terminal once",
        KeyError::Differ => "type the same passphrase twice",
        KeyError::TooShort { .. } => "choose a longer one",
    }
}
