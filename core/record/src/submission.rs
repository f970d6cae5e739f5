//! What does an owner send to a seat?

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::hash::{Sha256, sha256};
use minicbor::{Decode, Encode, bytes::ByteVec};

use crate::{AuthorityRecord, Error, Genesis, InstanceRecord, Signed, Taken, VolumeRecord};

casemate_canon::byte_type! {
    /// 32 random bytes that an owner chose for one sending, so that no older receipt answers it.
    pub struct SubmissionNonce([u8; 32]);
}

/// The body of `POST /v1/records`: a submission, and what its receipts must repeat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SubmissionRequest {
    /// Chosen anew for each sending, also of the same submission.
    #[n(0)]
    pub nonce: SubmissionNonce,
    /// What is submitted.
    #[n(1)]
    pub submission: Submission,
}

impl SubmissionRequest {
    /// Longest encoding accepted in bytes.
    pub const MAXIMUM_BYTES: usize = Submission::MAXIMUM_BYTES + 64;

    /// Reads a request; nothing in it is checked yet.
    ///
    /// # Errors
    /// [`Error::Encoding`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let request: Self = from_cbor(bytes, Self::MAXIMUM_BYTES)
            .map_err(|source| Error::Encoding { what: "submission request", source })?;
        Ok(request)
    }

    /// The encoding that [`SubmissionRequest::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }
}

/// Records on their way to a seat: whoever carries them can withhold them, not change them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Submission {
    /// The app may run this workload under this policy.
    #[n(0)]
    Authority {
        /// What the app was born with; sent every time.
        #[n(0)]
        genesis: Genesis,
        /// The owner's record.
        #[n(1)]
        record: Signed<AuthorityRecord>,
        /// The policy file that the record names by digest, byte for byte.
        #[n(2)]
        policy: ByteVec,
    },
    /// The instance exists.
    #[n(1)]
    Instance(#[n(0)] Signed<InstanceRecord>),
    /// Erase or restore a volume.
    #[n(2)]
    Volume(#[n(0)] Signed<VolumeRecord>),
}

impl Submission {
    /// Longest encoding accepted in bytes.
    pub const MAXIMUM_BYTES: usize = 128 * 1024;

    /// SHA-256 of the encoding, by which receipts name it.
    pub fn digest(&self) -> Sha256 {
        sha256(&to_cbor(self))
    }

    /// What is true at a seat once it has taken this submission.
    ///
    /// # Errors
    /// [`Error::Encoding`] of the record within.
    pub fn outcome(&self) -> Result<Taken, Error> {
        Ok(match self {
            Submission::Authority { record, .. } => Taken::Authority { number: record.claimed()?.number },
            Submission::Instance(record) => Taken::Instance { number: record.claimed()?.number },
            Submission::Volume(record) => record.claimed()?.outcome(),
        })
    }
}
