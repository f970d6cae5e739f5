//! What should run where, and does it?
//!
//! The validator keeps the list of VMs, takes each through its lifecycle on a host, and carries
//! signed records to the seats and sealed calls to the guests. It holds no key, sees no secret, and
//! its word proves nothing: whoever wants to know what runs verifies the guest's evidence.
//!
//! ```no_run
//! # async fn example() -> Result<(), casemate_validator::Error> {
//! let validator = casemate_validator::Validator::open(&casemate_validator::Options {
//!     state: "/var/lib/casemate/validator".into(),
//!     host: "unix:/run/casemate/hostd.sock".into(),
//!     seats: vec!["unix:/run/casemate/kms.sock".into()],
//!     token: None,
//!     accept_image_paths: false,
//! })
//! .await?;
//! let router = casemate_validator::http::router(validator);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod dial;
mod error;
pub mod http;
pub mod lifecycle;
pub mod reconcile;
pub mod store;
mod submit;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use casemate_api::{
    host::SeatAddress,
    validator::{Vm, VmSpec},
};
use casemate_record::RosterChain;
use reqwest::Method;
use tokio::sync::Notify;

use dial::Dial;
pub use error::Error;
use store::{Store, Verb};

/// How a validator is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder for the database, made if it is missing.
    pub state: PathBuf,
    /// The host: `unix:PATH` or `http://HOST:PORT`.
    pub host: String,
    /// The seats that records and rosters go through.
    pub seats: Vec<String>,
    /// What callers must show as `authorization: Bearer TOKEN`.
    pub token: Option<String>,
    /// Whether a VM's image may be the absolute path of a folder on the host, instead of a name among the
    /// host's images. Only where every caller may read all files of the host anyway: on one's own machine.
    pub accept_image_paths: bool,
}

/// A running validator.
#[derive(Debug)]
pub struct Validator {
    store: Store,
    host: Dial,
    seats: Vec<Dial>,
    token: Option<Token>,
    accept_image_paths: bool,
    wake: Notify,
}

impl Validator {
    /// Opens the state folder. Nothing runs yet: serve [`http::router`] and spawn [`reconcile::run`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Database`], [`Error::Migration`], [`Error::Address`].
    pub async fn open(options: &Options) -> Result<Arc<Self>, Error> {
        std::fs::create_dir_all(&options.state)
            .map_err(|source| Error::Io { what: options.state.display().to_string(), source })?;
        Ok(Arc::new(Self {
            store: Store::open(&options.state.join("validator.db")).await?,
            host: Dial::new("host", &options.host)?,
            seats: options.seats.iter().map(|seat| Dial::new("seat", seat)).collect::<Result<_, _>>()?,
            token: options.token.clone().map(Token),
            accept_image_paths: options.accept_image_paths,
            wake: Notify::new(),
        }))
    }

    /// Writes a VM down and asks for its start.
    async fn create(&self, spec: &VmSpec) -> Result<Vm, Error> {
        check(spec, self.accept_image_paths)?;
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|_| Error::Io {
            what: "the system's random numbers".to_owned(),
            source: std::io::Error::from(std::io::ErrorKind::Other),
        })?;
        let id = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let vm = self.store.create(&id, spec, now_ms()).await?;
        self.wake.notify_one();
        Ok(vm)
    }

    /// The roster chain as the first seat serves it.
    async fn roster_chain(&self) -> Result<Vec<u8>, Error> {
        let seat =
            self.seats.first().ok_or(Error::Unexpected { whom: "seat", expected: "at least one seat" })?;
        seat.bytes(Method::GET, "/v1/roster", None).await
    }

    /// Where a host finds each seat of the roster; `--seat` names them in the roster's order.
    ///
    /// The chain is checked against its own genesis only: a wrong one makes guests call nobody, and
    /// convinces none of them.
    async fn seat_addresses(&self) -> Result<Vec<SeatAddress>, Error> {
        let wrong = |_| Error::Unexpected { whom: "seat", expected: "a roster chain" };
        let chain = RosterChain::from_bytes(&self.roster_chain().await?).map_err(wrong)?;
        let roster = chain.verify(&chain.genesis.kms_id()).map_err(wrong)?;
        if roster.seats.len() != self.seats.len() {
            return Err(Error::Specification {
                field: "--seat",
                found: format!("{} addresses", self.seats.len()),
                expected: "one for each seat of the roster, in its order",
            });
        }
        let addresses = roster.seats.iter().zip(&self.seats);
        Ok(addresses
            .map(|(seat, dial)| SeatAddress { public_key: seat.signing, url: dial.address().to_owned() })
            .collect())
    }

    async fn request(&self, id_or_name: &str, verb: Verb) -> Result<Vm, Error> {
        let vm = self.store.vm(id_or_name).await?;
        let vm = self.store.request(&vm.id, verb, now_ms()).await?;
        self.wake.notify_one();
        Ok(vm)
    }
}

/// The token of a validator that listens on more than its own socket.
struct Token(String);

impl Token {
    /// Compares in time that does not depend on where the two differ.
    fn matches(&self, shown: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), shown.as_bytes());
        ours.len() == theirs.len() && ours.iter().zip(theirs).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Refuses a specification that no host should see.
fn check(spec: &VmSpec, accept_image_paths: bool) -> Result<(), Error> {
    let name_fits = (1..=63).contains(&spec.name.len())
        && spec.name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !spec.name.starts_with('-')
        && !spec.name.ends_with('-');
    let refuse = |field, found: String, expected| Err(Error::Specification { field, found, expected });
    if !name_fits {
        return refuse("name", spec.name.chars().take(80).collect(), "1 to 63 of a-z, 0-9 and inner hyphens");
    }
    check_image(&spec.image, accept_image_paths)?;
    if !(1..=64).contains(&spec.shape.vcpus) {
        return refuse("shape.vcpus", spec.shape.vcpus.to_string(), "1 to 64");
    }
    if !(128..=1 << 20).contains(&spec.shape.memory_mib) {
        return refuse("shape.memory_mib", spec.shape.memory_mib.to_string(), "128 to 1048576");
    }
    if spec.images.len() > 20 {
        return refuse("images", spec.images.len().to_string(), "at most 20");
    }
    if spec.volumes.len() > 8 {
        return refuse("volumes", spec.volumes.len().to_string(), "at most 8");
    }
    Ok(())
}

/// A path would let a caller have the host read any folder, and say by its refusal what is there.
fn check_image(image: &str, accept_image_paths: bool) -> Result<(), Error> {
    let is_name = (1..=100).contains(&image.len())
        && image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !image.starts_with('.');
    if is_name || (accept_image_paths && image.starts_with('/')) {
        return Ok(());
    }
    let expected = match accept_image_paths {
        true => "the name of an image of the host, or the absolute path of its folder",
        false => {
            "the name of an image of the host: letters, digits, `.`, `_` and `-`; paths are not taken here"
        }
    };
    Err(Error::Specification { field: "image", found: image.chars().take(80).collect(), expected })
}

/// Now, in Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the machine's clock is past 1970");
    u64::try_from(since.as_millis()).expect("milliseconds since 1970 fit 64 bits")
}
