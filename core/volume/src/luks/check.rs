//! Which LUKS2 header does a guest open?
//!
//! Exactly what `cryptsetup luksFormat` writes with [`FORMAT_ARGUMENTS`] and a detached header, and
//! nothing else. Argon2id is pinned so that no benchmark chooses it; over a random 512-bit key it adds
//! nothing.

use base64::Engine as _;

use super::{
    Found, Header, LuksError,
    json::{Area, Digest, Kdf, Keyslot, Segment},
};
use crate::frame::{DATA_OFFSET, HEADER_BYTES};

/// Arguments of `cryptsetup luksFormat` (2.6 and later) that give the allowed shape; besides them come
/// `--header` with a file of [`HEADER_BYTES`], `--sector-size` 512 or 4096, `--uuid`, `--key-file` and
/// the partition.
pub const FORMAT_ARGUMENTS: &[&str] = &[
    "--batch-mode",
    "--type=luks2",
    "--cipher=aes-xts-plain64",
    "--key-size=512",
    "--hash=sha256",
    "--pbkdf=argon2id",
    "--pbkdf-force-iterations=4",
    "--pbkdf-memory=65536",
    "--pbkdf-parallel=1",
    "--luks2-metadata-size=16k",
    "--luks2-keyslots-size=1015808", // HEADER_BYTES - 2 * HEADER_SIZE
    "--offset=4096",                 // DATA_OFFSET in sectors of 512 bytes
];

const CIPHER: &str = "aes-xts-plain64";
const KEY_BYTES: u32 = 64;
const STRIPES: u32 = 4000;
const HEADER_SIZE: u64 = 0x4000;
const AREA_OFFSET: u64 = 2 * HEADER_SIZE;
const AREA_SIZE: u64 = 258_048; // 64 bytes * 4000 stripes, rounded up to 4096

/// A header of the one allowed shape. It says nothing about who wrote it: that is the MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedHeader {
    sector_size: u32,
}

impl CheckedHeader {
    /// Size of an encryption sector in bytes, 512 or 4096.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }
}

impl Header {
    /// Compares every value with the allow-list.
    ///
    /// # Errors
    /// The variants of [`LuksError`] from [`LuksError::Number`] on.
    pub fn check(&self) -> Result<CheckedHeader, LuksError> {
        let json = &self.json;
        expect_layout("header size", self.size, HEADER_SIZE)?;
        if self.label_set {
            return Err(not_allowed("label or subsystem", "set", "empty"));
        }
        let requirements = json.config.requirements.is_some();
        if requirements || json.keyslots.0.values().any(is_reencryption) {
            return Err(LuksError::Reencryption);
        }
        if !json.tokens.0.is_empty() {
            return Err(LuksError::Tokens { found: json.tokens.0.len() });
        }
        // The null cipher first: it is the attack, whatever else is wrong.
        for (field, cipher) in json
            .segments
            .0
            .values()
            .map(|segment| ("segment encryption", &segment.encryption))
            .chain(json.keyslots.0.values().map(|slot| ("key slot encryption", &slot.area.encryption)))
        {
            if cipher.as_deref().is_some_and(|cipher| cipher.contains("null")) {
                return Err(LuksError::NullCipher { field });
            }
        }
        let segment = only(&json.segments.0).ok_or(LuksError::Segments { found: json.segments.0.len() })?;
        let sector_size = check_segment(segment)?;
        let keyslot = only(&json.keyslots.0).ok_or(LuksError::Keyslots { found: json.keyslots.0.len() })?;
        check_keyslot(keyslot)?;
        let digest = only(&json.digests.0).ok_or(LuksError::Digests { found: json.digests.0.len() })?;
        check_digest(digest)?;
        expect_number("config.json_size", &json.config.json_size, HEADER_SIZE - 4096)?;
        let keyslots_size = HEADER_BYTES as u64 - AREA_OFFSET;
        expect_number("config.keyslots_size", &json.config.keyslots_size, keyslots_size)?;
        if json.config.flags.as_ref().is_some_and(|flags| !flags.is_empty()) {
            return Err(not_allowed("config.flags", "set", "none"));
        }
        Ok(CheckedHeader { sector_size })
    }
}

fn check_segment(segment: &Segment) -> Result<u32, LuksError> {
    if segment.kind != "crypt" {
        return Err(LuksError::PlainSegment);
    }
    if segment.flags.is_some() {
        return Err(LuksError::Reencryption);
    }
    expect_text("segment encryption", segment.encryption.as_deref(), CIPHER)?;
    expect_number("segment offset", &segment.offset, DATA_OFFSET as u64)?;
    expect_text("segment size", Some(&segment.size), "dynamic")?;
    expect_text("segment iv_tweak", segment.iv_tweak.as_deref(), "0")?;
    if segment.integrity.is_some() {
        return Err(not_allowed("segment integrity", "set", "none"));
    }
    match segment.sector_size {
        Some(size @ (512 | 4096)) => Ok(size),
        Some(size) => Err(not_allowed("segment sector_size", &size.to_string(), "512 or 4096")),
        None => Err(LuksError::Missing { field: "segment sector_size" }),
    }
}

fn check_keyslot(slot: &Keyslot) -> Result<(), LuksError> {
    expect_text("key slot type", Some(&slot.kind), "luks2")?;
    expect_layout("key slot key_size", slot.key_size.into(), KEY_BYTES.into())?;
    if slot.priority.is_some() {
        return Err(not_allowed("key slot priority", "set", "none"));
    }
    let kdf = slot.kdf.as_ref().ok_or(LuksError::Missing { field: "key slot kdf" })?;
    check_kdf(kdf)?;
    let af = slot.af.as_ref().ok_or(LuksError::Missing { field: "key slot af" })?;
    expect_text("anti-forensic type", Some(&af.kind), "luks1")?;
    expect_text("anti-forensic hash", Some(&af.hash), "sha256")?;
    expect_layout("anti-forensic stripes", af.stripes.into(), STRIPES.into())?;
    check_area(&slot.area)
}

fn check_kdf(kdf: &Kdf) -> Result<(), LuksError> {
    let pinned = kdf.kind == "argon2id"
        && kdf.time == Some(4)
        && kdf.memory == Some(65_536) // KiB
        && kdf.cpus == Some(1)
        && kdf._hash.is_none()
        && kdf._iterations.is_none();
    if !pinned {
        return Err(LuksError::KeyDerivation);
    }
    expect_32_bytes("key slot kdf salt", &kdf.salt)
}

fn check_area(area: &Area) -> Result<(), LuksError> {
    expect_text("key slot area type", Some(&area.kind), "raw")?;
    expect_text("key slot encryption", area.encryption.as_deref(), CIPHER)?;
    let key_size = area.key_size.ok_or(LuksError::Missing { field: "key slot area key_size" })?;
    expect_layout("key slot area key_size", key_size.into(), KEY_BYTES.into())?;
    expect_number("key slot area offset", &area.offset, AREA_OFFSET)?;
    expect_number("key slot area size", &area.size, AREA_SIZE)?;
    if area._hash.is_some() || area._sector_size.is_some() || area._shift_size.is_some() {
        return Err(LuksError::Reencryption);
    }
    Ok(())
}

fn check_digest(digest: &Digest) -> Result<(), LuksError> {
    if digest.keyslots != ["0"] || digest.segments != ["0"] {
        return Err(LuksError::DigestBinding);
    }
    expect_text("digest type", Some(&digest.kind), "pbkdf2")?;
    expect_text("digest hash", digest.hash.as_deref(), "sha256")?;
    let iterations = digest.iterations.ok_or(LuksError::Missing { field: "digest iterations" })?;
    if !(1000..=10_000_000).contains(&iterations) {
        return Err(LuksError::DigestIterations { found: iterations });
    }
    expect_32_bytes("digest salt", &digest.salt)?;
    expect_32_bytes("digest value", &digest.digest)
}

fn is_reencryption(slot: &Keyslot) -> bool {
    slot.kind == "reencrypt" || slot.mode.is_some() || slot.direction.is_some()
}

/// The entry named "0", if it is the only one.
fn only<T>(entries: &std::collections::BTreeMap<String, T>) -> Option<&T> {
    entries.get("0").filter(|_| entries.len() == 1)
}

fn expect_text(field: &'static str, found: Option<&str>, expected: &'static str) -> Result<(), LuksError> {
    match found {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(not_allowed(field, found, expected)),
        None => Err(LuksError::Missing { field }),
    }
}

fn expect_number(field: &'static str, text: &str, expected: u64) -> Result<(), LuksError> {
    let found: u64 = text.parse().map_err(|_| LuksError::Number { field })?;
    if found.to_string() != text {
        return Err(LuksError::Number { field });
    }
    expect_layout(field, found, expected)
}

fn expect_layout(field: &'static str, found: u64, expected: u64) -> Result<(), LuksError> {
    if found == expected { Ok(()) } else { Err(LuksError::Layout { field, found, expected }) }
}

fn expect_32_bytes(field: &'static str, text: &str) -> Result<(), LuksError> {
    match base64::engine::general_purpose::STANDARD.decode(text) {
        Ok(bytes) if bytes.len() == 32 => Ok(()),
        _ => Err(LuksError::Salt { field }),
    }
}

fn not_allowed(field: &'static str, found: &str, expected: &'static str) -> LuksError {
    LuksError::NotAllowed { field, found: Found::new(found), expected }
}
