//! Which keys belong to a volume, and what do they vouch for?

use casemate_canon::to_cbor;
use casemate_crypto::{
    hash::Sha256,
    kdf::{self, MacTag},
    secret::Secret,
};
use casemate_record::{BootId, Stamp};

const SALT: &[u8] = b"casemate/1/volume-keys";
const STAMP_TAG: &str = "casemate/1/stamp";
const HEADER_TAG: &str = "casemate/1/header";

/// The keys of one volume in one generation, derived from what t seats gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeKeys {
    disk: Secret<64>,
    header_mac: Secret<32>,
    stamp_mac: Secret<32>,
}

impl VolumeKeys {
    /// Derives the keys from the combined output for purpose `disk` (HKDF-SHA-512, one label each).
    pub fn derive(combined: &Secret<64>) -> Self {
        VolumeKeys {
            disk: kdf::hkdf_sha512(SALT, combined.expose(), b"disk"),
            header_mac: kdf::hkdf_sha512(SALT, combined.expose(), b"header-mac"),
            stamp_mac: kdf::hkdf_sha512(SALT, combined.expose(), b"stamp-mac"),
        }
    }

    /// The 64-byte key that opens LUKS2 key slot 0.
    pub fn disk(&self) -> &Secret<64> {
        &self.disk
    }

    /// Stamps a header for a boot: what a guest prepares and commits at the seats.
    pub fn stamp(&self, counter: u64, header_digest: Sha256, boot_id: BootId) -> Stamp {
        let mac =
            kdf::hmac_sha256(&self.stamp_mac, STAMP_TAG, &[&stamp_input(counter, &header_digest, &boot_id)]);
        Stamp { counter, header_digest, boot_id, mac }
    }

    /// Whether a holder of this volume's key made `stamp`.
    #[must_use]
    pub fn made(&self, stamp: &Stamp) -> bool {
        let input = stamp_input(stamp.counter, &stamp.header_digest, &stamp.boot_id);
        kdf::verify_hmac_sha256(&self.stamp_mac, STAMP_TAG, &[&input], &stamp.mac)
    }

    /// The MAC over the whole header area (binary headers, JSON, key slots) and the stamp.
    pub fn header_mac(&self, header: &[u8], stamp: &Stamp) -> MacTag {
        kdf::hmac_sha256(&self.header_mac, HEADER_TAG, &[header, &to_cbor(stamp)])
    }

    /// Whether `mac` is [`VolumeKeys::header_mac`] of these, in constant time.
    #[must_use]
    pub fn verify_header(&self, header: &[u8], stamp: &Stamp, mac: &MacTag) -> bool {
        kdf::verify_hmac_sha256(&self.header_mac, HEADER_TAG, &[header, &to_cbor(stamp)], mac)
    }
}

fn stamp_input(counter: u64, header_digest: &Sha256, boot_id: &BootId) -> Vec<u8> {
    to_cbor(&(counter, header_digest, boot_id))
}
