//! What does the caller know that no policy file can?

use casemate_canon::{ParseBytesError, Short};
use casemate_crypto::hash::Sha256;
use casemate_evidence::{Measurement, ReportData};
use casemate_record::{AppId, LeaseFault, LeaseTerm, WorkloadDigest};
use serde::{Serialize, Serializer};

/// What the caller expects of this very evidence. Nothing is skipped by omission: what the caller does
/// not expect is written `Unchecked`, and fails if the policy says `"expected"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectations {
    /// The challenge that the evidence must answer.
    pub freshness: Freshness,
    /// The workload that must run.
    pub workload: Workload,
    /// Known launch measurements; may be empty, then only a policy that lists digests or says `"any"`
    /// accepts an image.
    pub images: Vec<ReferenceValue>,
    /// The session that the report data must bind.
    pub channel: Channel,
}

/// The challenge that the evidence must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// REPORT_DATA must be this value, which commits to a nonce of the caller.
    Challenge {
        /// Computed from nonce and context, as `docs/reference/report-data.md` says.
        report_data: ReportData,
        /// When the nonce was made, in milliseconds since 1970.
        made_ms: u64,
    },
    /// REPORT_DATA must be this value, and nobody says when it was chosen: of any age, unless the policy asks
    /// for a challenge.
    Undated {
        /// Computed from what it is to commit to, as `docs/reference/report-data.md` says.
        report_data: ReportData,
    },
    /// The evidence may be of any age.
    Unchecked,
}

/// The workload that must run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// This one.
    Digest {
        /// Its digest.
        digest: WorkloadDigest,
        /// Where the caller has it from, for people: `compose.yaml + compose.lock`.
        source: String,
    },
    /// One that the authority of an app authorised; the caller has verified its record.
    Authorised {
        /// The app.
        app_id: AppId,
        /// The digest in the record.
        digest: WorkloadDigest,
    },
    /// Whatever the policy accepts.
    Unchecked,
}

/// What a platform measured at launch, as one value: the SEV-SNP launch digest; of TDX a digest over MRTD
/// and RTMR 0 to 2 (`docs/reference/launch-measurement.md`); an enclave's MRENCLAVE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchMeasurement {
    /// 48 bytes, a SHA-384 chain or digest.
    Long(Measurement),
    /// 32 bytes, a SHA-256 chain or digest.
    Short(Sha256),
}

impl From<Measurement> for LaunchMeasurement {
    fn from(measurement: Measurement) -> Self {
        LaunchMeasurement::Long(measurement)
    }
}

impl From<Sha256> for LaunchMeasurement {
    fn from(digest: Sha256) -> Self {
        LaunchMeasurement::Short(digest)
    }
}

impl AsRef<[u8]> for LaunchMeasurement {
    fn as_ref(&self) -> &[u8] {
        match self {
            LaunchMeasurement::Long(bytes) => bytes.as_ref(),
            LaunchMeasurement::Short(bytes) => bytes.as_ref(),
        }
    }
}

impl LaunchMeasurement {
    /// Six and four hexadecimal digits, for people.
    pub fn short(&self) -> Short<'_> {
        Short::new(self.as_ref())
    }
}

impl std::str::FromStr for LaunchMeasurement {
    type Err = ParseBytesError;

    /// 96 or 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, ParseBytesError> {
        if text.len() == 2 * Sha256::LEN {
            text.parse().map(LaunchMeasurement::Short)
        } else {
            text.parse().map(LaunchMeasurement::Long)
        }
    }
}

impl std::fmt::Display for LaunchMeasurement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LaunchMeasurement::Long(bytes) => bytes.fmt(f),
            LaunchMeasurement::Short(bytes) => bytes.fmt(f),
        }
    }
}

impl Serialize for LaunchMeasurement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A launch measurement and the image to which it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceValue {
    /// The image's name, as a policy may list it: `casemate-lite 2026.11`.
    pub image: String,
    /// Its measurement for the shape in use.
    pub measurement: LaunchMeasurement,
    /// Where the value comes from, for people: `computed from image.lock`.
    pub source: String,
}

/// Under which roster and lease a session stands, and what the caller knows of its key service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionStanding {
    /// Digest of the roster that the session names.
    pub roster_digest: Sha256,
    /// Key epoch that it names.
    pub key_epoch: u32,
    /// The newest roster that the caller knows of the app's key service, which is to be that roster.
    pub newest: KnownRoster,
    /// What [`casemate_record::Roster::check_leases`] of that newest roster says of its leases.
    pub lease: Result<LeaseTerm, LeaseFault>,
}

/// What matters here of a roster that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownRoster {
    /// Its digest.
    pub digest: Sha256,
    /// Its key epoch.
    pub key_epoch: u32,
}

/// How far the caller's clock may be from the seats', in milliseconds: a lease counts so long after its
/// end and before its beginning.
pub const LEASE_ALLOWANCE_MS: u64 = 60_000;

/// The session that the report data must bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The challenge's report data commits to this key; so if it matches, the key is the guest's.
    Session {
        /// SHA-256 of the public key.
        key_digest: Sha256,
        /// Under which roster and lease.
        standing: SessionStanding,
    },
    /// The evidence is about a guest, not about a conversation.
    Unchecked,
}
