//! What do guest and seat say to each other?
//!
//! CBOR both ways, through a relay that may drop, change, repeat and reorder everything. Whatever a seat
//! answers is signed and names the request it answers by its transcript. `docs/reference/release.md` has
//! the CDDL and worked bytes.

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::{
    hash::{Sha256, tagged_sha256},
    kdf::MacTag,
    seal::{Sealed, SealingPublicKey},
    sign::PublicKey,
};
use casemate_evidence::ReportData;
use casemate_record::{
    AppId, BootId, InstanceId, Lease, Record, Signed, Stamp, SubsetCommitment, VolumeName, WorkloadDigest,
};
use casemate_verify::TrustClass;
use casemate_volume::Standing;
use minicbor::{Decode, Encode, bytes::ByteVec};

use crate::{
    challenge::Challenge,
    derive::KeyPurpose,
    report_data::{Purpose, report_data},
};

/// Longest request in bytes.
pub const MAXIMUM_REQUEST_BYTES: usize = 512 * 1024;
/// Longest response in bytes.
pub const MAXIMUM_RESPONSE_BYTES: usize = 512 * 1024;
/// Most keys in a request.
pub const MAXIMUM_KEYS: usize = 16;

const TRANSCRIPT_TAG: &str = "casemate/1/transcript";

/// What a guest asks of a seat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SeatRequest {
    /// A challenge.
    #[n(0)]
    Challenge,
    /// Keys.
    #[n(1)]
    Release(#[n(0)] ReleaseRequest),
    /// "I am about to write this stamp."
    #[n(2)]
    Prepare(#[n(0)] VolumeStep),
    /// "I have written and flushed this stamp."
    #[n(3)]
    Commit(#[n(0)] VolumeStep),
    /// Another lease.
    #[n(4)]
    Renew(#[n(0)] RenewRequest),
}

impl SeatRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// Those of [`casemate_canon::from_cbor`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, casemate_canon::Error> {
        from_cbor(bytes, MAXIMUM_REQUEST_BYTES)
    }

    /// The encoding that [`SeatRequest::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }
}

/// Names one request to one seat: every signed answer repeats it.
pub fn transcript(seat: &PublicKey, request: &[u8]) -> Sha256 {
    tagged_sha256(TRANSCRIPT_TAG, &[seat.as_bytes(), request])
}

/// A seat's answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SeatResponse {
    /// A challenge.
    #[n(0)]
    Challenge(#[n(0)] ChallengeReply),
    /// Keys.
    #[n(1)]
    Granted(#[n(0)] Signed<Grant>),
    /// No.
    #[n(2)]
    Denied(#[n(0)] Signed<Denial>),
    /// The stamp is prepared.
    #[n(3)]
    Prepared(#[n(0)] Signed<Receipt>),
    /// The stamp is committed.
    #[n(4)]
    Committed(#[n(0)] Signed<Receipt>),
    /// Another lease.
    #[n(5)]
    Renewed(#[n(0)] Signed<Renewal>),
}

impl SeatResponse {
    /// Reads a response.
    ///
    /// # Errors
    /// Those of [`casemate_canon::from_cbor`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, casemate_canon::Error> {
        from_cbor(bytes, MAXIMUM_RESPONSE_BYTES)
    }

    /// The encoding that [`SeatResponse::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }
}

/// A challenge, and which roster the seat goes by.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ChallengeReply {
    /// To be put into report data within its lifetime.
    #[n(0)]
    pub challenge: Challenge,
    /// Digest of the seat's roster.
    #[n(1)]
    pub roster_digest: Sha256,
}

/// One seat's challenge within a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct SeatChallenge {
    /// Signing key of the seat.
    #[n(0)]
    pub seat: PublicKey,
    /// What it challenged with.
    #[n(1)]
    pub challenge: Challenge,
}

/// One key asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct KeyRequest {
    /// What for.
    #[n(0)]
    pub purpose: KeyPurpose,
    /// For purpose disk: which volume.
    #[n(1)]
    pub volume: Option<VolumeName>,
    /// For purpose disk: SHA-256 of the salt proposed, in case the volume does not live yet.
    #[n(2)]
    pub salt_digest: Option<Sha256>,
}

/// A proposed salt, sealed to one seat with the report data as associated data.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SealedSalt {
    /// The volume.
    #[n(0)]
    pub volume: VolumeName,
    /// Sealed to the seat's key in the roster.
    #[n(1)]
    pub sealed: Sealed,
}

/// "Give me these keys; here is my evidence."
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReleaseRequest {
    /// The roster that the guest goes by.
    #[n(0)]
    pub roster_digest: Sha256,
    /// Every seat asked and its challenge, by rising seat key, each once.
    #[n(1)]
    pub challenges: Vec<SeatChallenge>,
    /// The key made for this one release.
    #[n(2)]
    pub ephemeral: SealingPublicKey,
    /// The app that the manifest names.
    #[n(3)]
    pub app_id: AppId,
    /// Digest of the manifest.
    #[n(4)]
    pub workload_digest: WorkloadDigest,
    /// The instance.
    #[n(5)]
    pub instance: InstanceId,
    /// This boot.
    #[n(6)]
    pub boot_id: BootId,
    /// The keys asked for, in rising order, each once.
    #[n(7)]
    pub keys: Vec<KeyRequest>,
    /// One salt per volume asked for, sealed to the seat this request goes to.
    #[n(8)]
    pub salts: Vec<SealedSalt>,
    /// The evidence bundle.
    #[n(9)]
    pub evidence: ByteVec,
}

impl ReleaseRequest {
    /// What the evidence must carry: it covers every field but the sealed salts (each checked against
    /// its digest) and the evidence itself.
    pub fn report_data(&self) -> ReportData {
        release_report_data(&ReleaseFields {
            roster_digest: &self.roster_digest,
            challenges: &self.challenges,
            ephemeral: &self.ephemeral,
            app_id: &self.app_id,
            workload_digest: &self.workload_digest,
            instance: &self.instance,
            boot_id: &self.boot_id,
            keys: &self.keys,
        })
    }
}

pub(crate) struct ReleaseFields<'a> {
    pub roster_digest: &'a Sha256,
    pub challenges: &'a [SeatChallenge],
    pub ephemeral: &'a SealingPublicKey,
    pub app_id: &'a AppId,
    pub workload_digest: &'a WorkloadDigest,
    pub instance: &'a InstanceId,
    pub boot_id: &'a BootId,
    pub keys: &'a [KeyRequest],
}

pub(crate) fn release_report_data(fields: &ReleaseFields<'_>) -> ReportData {
    let (challenges, key, keys) =
        (to_cbor(&fields.challenges), fields.ephemeral.digest(), to_cbor(&fields.keys));
    let fields: [&[u8]; 8] = [
        fields.roster_digest.as_bytes(),
        &challenges,
        key.as_bytes(),
        fields.app_id.as_bytes(),
        fields.workload_digest.as_bytes(),
        fields.instance.as_bytes(),
        fields.boot_id.as_bytes(),
        &keys,
    ];
    report_data(Purpose::Release, &fields)
}

/// "I am still the same; here is fresh evidence."
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RenewRequest {
    /// The roster that the guest goes by.
    #[n(0)]
    pub roster_digest: Sha256,
    /// Every seat asked and its challenge, by rising seat key, each once.
    #[n(1)]
    pub challenges: Vec<SeatChallenge>,
    /// The app.
    #[n(2)]
    pub app_id: AppId,
    /// Digest of the manifest.
    #[n(3)]
    pub workload_digest: WorkloadDigest,
    /// The instance.
    #[n(4)]
    pub instance: InstanceId,
    /// This boot.
    #[n(5)]
    pub boot_id: BootId,
    /// The evidence bundle.
    #[n(6)]
    pub evidence: ByteVec,
}

impl RenewRequest {
    /// What the evidence must carry.
    pub fn report_data(&self) -> ReportData {
        let challenges = to_cbor(&self.challenges);
        let fields: [&[u8]; 6] = [
            self.roster_digest.as_bytes(),
            &challenges,
            self.app_id.as_bytes(),
            self.workload_digest.as_bytes(),
            self.instance.as_bytes(),
            self.boot_id.as_bytes(),
        ];
        report_data(Purpose::Renewal, &fields)
    }
}

/// One step of a volume, in the session of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VolumeStep {
    /// Transcript of the grant that began the session.
    #[n(0)]
    pub session: Sha256,
    /// The volume.
    #[n(1)]
    pub volume: VolumeName,
    /// The stamp to prepare or commit.
    #[n(2)]
    pub stamp: Stamp,
    /// HMAC-SHA-256 under the session's secret over step, session, volume and stamp.
    #[n(3)]
    pub mac: MacTag,
}

/// Which step of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Step {
    /// About to write.
    #[n(0)]
    Prepare,
    /// Written and flushed.
    #[n(1)]
    Commit,
}

/// What a seat signs when it gives keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// The request it answers.
    #[n(0)]
    pub transcript: Sha256,
    /// The seat's clock, Unix milliseconds.
    #[n(1)]
    pub time_ms: u64,
    /// Until when the boot may go on without renewal; begins at `time_ms`.
    #[n(2)]
    pub lease: Signed<Lease>,
    /// What stands behind the evidence, as the seat found it.
    #[n(3)]
    pub trust_class: TrustClass,
    /// The seat's set of secrets.
    #[n(4)]
    pub key_epoch: u32,
    /// One entry per key asked for, in the order of the request.
    #[n(5)]
    pub keys: Vec<GrantedKey>,
    /// One entry per volume asked for, by rising name.
    #[n(6)]
    pub volumes: Vec<GrantedVolume>,
    /// Sealed to the request's ephemeral key: 32 bytes of the seat's entropy, then 64 bytes per
    /// commitment in `keys`, in order.
    #[n(7)]
    pub sealed: Sealed,
}

impl Record for Grant {
    const PURPOSE: &'static str = "casemate/1/grant";
    const MAXIMUM_BYTES: usize = 256 * 1024;
}

/// One key given, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GrantedKey {
    /// Digest of the derivation's input x.
    #[n(0)]
    pub input_digest: Sha256,
    /// SHA-256 of tag, input digest, subset and sub-output, by rising subset.
    #[n(1)]
    pub commitments: Vec<SubsetCommitment>,
}

/// What the seat knows about a volume.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GrantedVolume {
    /// The volume.
    #[n(0)]
    pub volume: VolumeName,
    /// Creating (may be formatted) or live (must be opened).
    #[n(1)]
    pub standing: Standing,
    /// Input of the derivation.
    #[n(2)]
    pub generation: u32,
    /// The newest committed stamp, if live.
    #[n(3)]
    pub stamp: Option<Stamp>,
    /// A stamp prepared after it.
    #[n(4)]
    pub prepared: Option<Stamp>,
    /// The counter of the next stamp.
    #[n(5)]
    pub next_counter: u64,
}

/// What a seat signs when it refuses: the check and what was found, never what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Denial {
    /// The request it answers.
    #[n(0)]
    pub transcript: Sha256,
    /// The seat's clock, Unix milliseconds.
    #[n(1)]
    pub time_ms: u64,
    /// Name of the check, at most 64 characters.
    #[n(2)]
    pub check: String,
    /// What was found, at most 256 characters.
    #[n(3)]
    pub found: String,
}

impl Record for Denial {
    const PURPOSE: &'static str = "casemate/1/denial";
}

/// What a seat signs when it took a step of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// The request it answers.
    #[n(0)]
    pub transcript: Sha256,
    /// The seat's clock, Unix milliseconds.
    #[n(1)]
    pub time_ms: u64,
    /// The step taken.
    #[n(2)]
    pub step: Step,
    /// The volume.
    #[n(3)]
    pub volume: VolumeName,
    /// The stamp.
    #[n(4)]
    pub stamp: Stamp,
}

impl Record for Receipt {
    const PURPOSE: &'static str = "casemate/1/receipt";
}

/// What a seat signs when it renews a lease.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Renewal {
    /// The request it answers.
    #[n(0)]
    pub transcript: Sha256,
    /// The seat's clock, Unix milliseconds.
    #[n(1)]
    pub time_ms: u64,
    /// Until when the boot may go on from now; begins at `time_ms`.
    #[n(2)]
    pub lease: Signed<Lease>,
}

impl Record for Renewal {
    const PURPOSE: &'static str = "casemate/1/renewal";
}
