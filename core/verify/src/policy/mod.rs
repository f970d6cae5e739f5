//! Is genuine evidence good enough?
//!
//! An appraisal policy is a TOML file, closed: every rule is written out, an unknown or missing key is
//! refused, no list is empty, and what is not checked says `"any"`. Each platform has rules of its own;
//! evidence of a platform without rules is refused. Reference: `docs/reference/policy.md`.

mod clouds;
mod error;
mod example;
mod file;
mod firmware;
mod import;
mod intel;
mod logs;
mod nitro;
mod nvidia;
mod registers;
mod section;
mod snp;
mod tables;
mod tpm;
mod value;
mod workload;

use casemate_crypto::hash::Sha256;
use casemate_record::PolicyDigest;

use crate::expectations::LaunchMeasurement;
use crate::trust::{Roots, SimulatedRoot};
use crate::verdict::Platform;
pub(crate) use clouds::{AzureRules, GcpRules};
pub use error::PolicyError;
pub use import::Deployment;
pub(crate) use intel::{IntelRules, ServiceTdRule, SgxRules, TdxRules};
pub(crate) use logs::{EventRules, ImaRules};
pub(crate) use nitro::NitroRules;
pub(crate) use nvidia::{NvidiaFloor, NvidiaRules};
pub use section::Section;
pub(crate) use snp::{BlockId, IdBlockRules, SnpRules};
pub(crate) use tpm::TpmRules;
pub(crate) use workload::{DigestRule, WorkloadRegisterRules, WorkloadRules};

/// What a Relying Party accepts. See [`Policy::example`] for the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub(crate) digest: PolicyDigest,
    pub(crate) simulated_roots: Vec<Sha256>,
    pub(crate) snp: Option<SnpRules>,
    /// Present if `tdx` or `sgx` is.
    pub(crate) intel: Option<IntelRules>,
    pub(crate) tdx: Option<TdxRules>,
    pub(crate) sgx: Option<SgxRules>,
    pub(crate) nitro: Option<NitroRules>,
    /// Present if `gcp` or `azure` is.
    pub(crate) tpm: Option<TpmRules>,
    pub(crate) gcp: Option<GcpRules>,
    pub(crate) azure: Option<AzureRules>,
    pub(crate) events: Option<EventRules>,
    pub(crate) ima: Option<ImaRules>,
    pub(crate) nvidia: Option<NvidiaRules>,
    pub(crate) measurements: MeasurementRule,
    pub(crate) workload: WorkloadRules,
    pub(crate) collateral: CollateralRules,
    pub(crate) freshness: FreshnessRules,
}

impl Policy {
    /// Greatest length of a file, in bytes: what an owner can submit to a seat.
    pub const MAXIMUM_LEN: usize = 128 * 1024;

    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        file::read(text)
    }

    /// A policy file to start from: current AMD firmware, no debugging, the workload and the image that
    /// the Verifier expects. `simulated_roots` are key digests of simulated TEEs to accept as well.
    pub fn example(simulated_roots: &[Sha256]) -> String {
        example::text(simulated_roots)
    }

    /// The [`example`](Self::example) for evidence of strangers: it asks as much of the hardware, and
    /// accepts any image, any workload and evidence of any age. The verdict says that none of these is
    /// established.
    pub fn hardware_only() -> String {
        example::hardware_only()
    }

    /// [`hardware_only`](Self::hardware_only) for one deployment of another system: its image and its workload,
    /// as far as they were computed from its public files.
    pub fn of_deployment(deployment: &Deployment) -> String {
        import::text(deployment)
    }

    /// `text`, a policy file without this section, and the section to start from: strict, and absent unless
    /// it is asked for.
    pub fn with_section(text: &str, section: Section) -> String {
        section.add_to(text)
    }

    /// SHA-256 of the policy file, byte for byte: comments count.
    pub fn digest(&self) -> PolicyDigest {
        self.digest
    }

    /// The roots at which this policy lets a chain end: those of the vendors that it names, and the
    /// simulated ones it lists. Simulated roots count only if the caller accepts simulation as well.
    pub fn roots(&self) -> Roots {
        let mut roots = Roots::none();
        if self.snp.as_ref().is_some_and(|rules| rules.amd_roots) {
            roots = roots.with_amd();
        }
        if self.intel.as_ref().is_some_and(|rules| rules.intel_roots) {
            roots = roots.with_intel();
        }
        if self.nitro.as_ref().is_some_and(|rules| rules.aws_roots) {
            roots = roots.with_aws();
        }
        if self.gcp.as_ref().is_some_and(|rules| rules.google_roots) {
            roots = roots.with_google();
        }
        if self.nvidia.as_ref().is_some_and(|rules| rules.nvidia_roots) {
            roots = roots.with_nvidia();
        }
        if let Some(rules) = &self.tpm {
            roots = roots.with_tpm(rules.anchors());
        }
        roots.with_simulated(self.simulated_roots.iter().map(|digest| SimulatedRoot { key_digest: *digest }))
    }

    /// Whether it has rules for a platform; evidence of any other is refused.
    pub fn has_rules(&self, platform: Platform) -> bool {
        match platform {
            Platform::Snp => self.snp.is_some(),
            Platform::Tdx => self.tdx.is_some(),
            Platform::Sgx => self.sgx.is_some(),
            Platform::Nitro => self.nitro.is_some(),
            Platform::Tpm => self.tpm.is_some(),
            Platform::Gcp => self.gcp.is_some() && self.tpm.is_some(),
            Platform::Azure => self.azure.is_some() && self.tpm.is_some(),
            Platform::Nvidia => self.nvidia.is_some(),
        }
    }

    /// Whether any simulated root is listed.
    pub fn lists_simulated_roots(&self) -> bool {
        !self.simulated_roots.is_empty()
    }

    /// Whether it lists launch measurements by value: what a Verifier needs that knows no image and is to
    /// release keys, for without it any guest that the host cares to boot would do.
    pub fn lists_measurements(&self) -> bool {
        let is_value = |named: &NamedMeasurement| matches!(named, NamedMeasurement::Value(_));
        matches!(&self.measurements, MeasurementRule::Only(list) if list.iter().any(is_value))
    }

    /// How old the Verifier's challenge may be when the evidence is appraised, in milliseconds.
    pub fn maximum_age_ms(&self) -> u64 {
        self.freshness.maximum_age_ms
    }
}

/// A rule that names what it accepts, or says that it accepts anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Accept<T> {
    Any,
    Only(Vec<T>),
}

impl<T: PartialEq> Accept<T> {
    pub(crate) fn accepts(&self, found: &T) -> bool {
        match self {
            Accept::Any => true,
            Accept::Only(list) => list.contains(found),
        }
    }
}

/// A rule for one bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BitRule {
    Required,
    Forbidden,
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MeasurementRule {
    Any,
    Expected,
    Only(Vec<NamedMeasurement>),
}

/// An accepted launch measurement: itself, or the name of an image whose reference values the caller has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedMeasurement {
    Value(LaunchMeasurement),
    Image(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CollateralRules {
    pub revocation_list_required: bool,
    pub maximum_age_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FreshnessRules {
    pub report_data_required: bool,
    pub maximum_age_ms: u64,
}
