//! What does the caller know that no policy file can?

use casemate_crypto::hash::Sha256;
use casemate_evidence::{Measurement, ReportData};
use casemate_record::{AppId, WorkloadDigest};

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

/// A launch measurement and the image to which it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceValue {
    /// The image's name, as a policy may list it: `casemate-lite 2026.11`.
    pub image: String,
    /// Its measurement for the shape in use.
    pub measurement: Measurement,
    /// Where the value comes from, for people: `computed from image.lock`.
    pub source: String,
}

/// The session that the report data must bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The challenge's report data commits to this key; so if it matches, the key is the guest's.
    Session {
        /// SHA-256 of the public key.
        key_digest: Sha256,
    },
    /// The evidence is about a guest, not about a conversation.
    Unchecked,
}
