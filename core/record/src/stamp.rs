//! Which state of a volume is this?

use casemate_canon::to_cbor;
use casemate_crypto::{hash::Sha256, kdf::MacTag};
use minicbor::{Decode, Encode};

use crate::BootId;

/// Names one committed (or prepared) state of a volume.
///
/// The MAC is made under a key derived from the volume's own: seats and host can withhold a stamp,
/// not invent one. How it is made and checked stands in `casemate-volume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Stamp {
    /// Rises with each commit, beginning at 1.
    #[n(0)]
    pub counter: u64,
    /// SHA-256 of the LUKS2 header area.
    #[n(1)]
    pub header_digest: Sha256,
    /// The boot that made it.
    #[n(2)]
    pub boot_id: BootId,
    /// HMAC-SHA-256 under the volume's stamp key.
    #[n(3)]
    pub mac: MacTag,
}

impl Stamp {
    /// The encoding, for keeping beside a backup.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }
}
