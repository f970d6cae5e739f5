//! Which key follows from this one?
//!
//! HMAC (RFC 2104, FIPS 198-1) and HKDF (RFC 5869), always into [`Secret`]s.

use hmac::{KeyInit as _, Mac as _};

use crate::secret::Secret;

casemate_canon::byte_type! {
    /// An HMAC-SHA-256 tag, 32 bytes; compare with [`verify_hmac_sha256`], not with `==`, where an
    /// attacker chooses it.
    pub struct MacTag([u8; 32]);
}

/// HMAC-SHA-512 of `message` under `key`, 64 bytes.
pub fn hmac_sha512(key: &[u8], message: &[u8]) -> Secret<64> {
    let mut mac = hmac::Hmac::<sha2::Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    let mut out: [u8; 64] = mac.finalize().into_bytes().into();
    Secret::take(&mut out)
}

/// HMAC-SHA-256 of `tag` and `fields`, each preceded by its length in 8 bytes, big-endian.
pub fn hmac_sha256(key: &Secret<32>, tag: &str, fields: &[&[u8]]) -> MacTag {
    MacTag::from(<[u8; 32]>::from(keyed(key, tag, fields).finalize().into_bytes()))
}

/// Whether `expected` is [`hmac_sha256`] of the same input, in constant time.
#[must_use]
pub fn verify_hmac_sha256(key: &Secret<32>, tag: &str, fields: &[&[u8]], expected: &MacTag) -> bool {
    keyed(key, tag, fields).verify_slice(expected.as_bytes()).is_ok()
}

/// HKDF-SHA-256: extract with `salt`, expand with `info` to `N` bytes (at most 8160).
pub fn hkdf_sha256<const N: usize>(salt: &[u8], key_material: &[u8], info: &[u8]) -> Secret<N> {
    let mut out = [0; N];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(salt), key_material)
        .expand(info, &mut out)
        .expect("N is a small constant");
    Secret::take(&mut out)
}

/// HKDF-SHA-512: extract with `salt`, expand with `info` to `N` bytes (at most 16320).
pub fn hkdf_sha512<const N: usize>(salt: &[u8], key_material: &[u8], info: &[u8]) -> Secret<N> {
    let mut out = [0; N];
    hkdf::Hkdf::<sha2::Sha512>::new(Some(salt), key_material)
        .expand(info, &mut out)
        .expect("N is a small constant");
    Secret::take(&mut out)
}

fn keyed(key: &Secret<32>, tag: &str, fields: &[&[u8]]) -> hmac::Hmac<sha2::Sha256> {
    let mut mac =
        hmac::Hmac::<sha2::Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    for field in std::iter::once(tag.as_bytes()).chain(fields.iter().copied()) {
        mac.update(&(field.len() as u64).to_be_bytes());
        mac.update(field);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4231, test case 2.
    #[test]
    fn hmac_sha512_known_answer() {
        let out = hmac_sha512(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(&out.expose()[..8], &[0x16, 0x4b, 0x7a, 0x7b, 0xfc, 0xf8, 0x19, 0xe2]);
    }

    // RFC 5869, test case 1.
    #[test]
    fn hkdf_sha256_known_answer() {
        let salt: Vec<u8> = (0..13).collect();
        let info: Vec<u8> = (0xf0..0xfa).collect();
        let out = hkdf_sha256::<42>(&salt, &[0x0b; 22], &info);
        assert_eq!(&out.expose()[..6], &[0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac]);
    }

    #[test]
    fn a_tag_holds_for_its_own_input_only() {
        let key = Secret::from_slice(&[1; 32]).unwrap();
        let tag = hmac_sha256(&key, "t", &[b"ab", b"c"]);
        assert!(verify_hmac_sha256(&key, "t", &[b"ab", b"c"], &tag));
        assert!(!verify_hmac_sha256(&key, "t", &[b"a", b"bc"], &tag));
        assert!(!verify_hmac_sha256(&key, "u", &[b"ab", b"c"], &tag));
    }
}
