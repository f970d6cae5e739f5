//! What does an owner send to a seat?

use casemate_canon::{from_cbor, to_cbor};
use minicbor::{Decode, Encode, bytes::ByteVec};
use serde::{Deserialize, Serialize};

use crate::{AuthorityRecord, Error, Genesis, InstanceRecord, Signed, VolumeRecord};

/// The body of `POST /v1/records`: whoever carries it can withhold it, not change it.
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

    /// Reads a submission; nothing in it is checked yet.
    ///
    /// # Errors
    /// [`Error::Encoding`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        from_cbor(bytes, Self::MAXIMUM_BYTES).map_err(|source| Error::Encoding { what: "submission", source })
    }

    /// The encoding that [`Submission::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }
}

/// A seat's answer to a [`Submission`] it took, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmissionTaken {
    /// `authority`, `instance` or `volume`.
    pub kind: String,
    /// The number of the record that now counts.
    pub number: u64,
}
