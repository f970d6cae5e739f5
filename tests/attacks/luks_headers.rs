//! LUKS2 headers that a host wrote, or that somebody with the volume's key wrote.
//!
//! Attacks (issue: null-cipher, extra-keyslot, re-encrypting LUKS2 headers; peers C2: 1 and 2, CVE-2025-59054,
//! CVE-2025-58356, CVE-2021-4122): the header names a cipher that encrypts nothing, a second way in, a plain
//! segment, or a re-encryption to finish. Expected: without the volume's key no such header has a MAC, and none
//! is parsed (`HeaderDigest`, `NotGranted`, `StampForged`); with the key it is parsed and refused by the allow-list,
//! each by its own variant. In real guests: `volumes.rs`.

use casemate_crypto::{hash::sha256, secret::Secret};
use casemate_record::{BootId, Stamp};
use casemate_volume::{
    VolumeKeys,
    frame::{DATA_OFFSET, Frame, FrameError, HEADER_BYTES, HEADER_OFFSET, header_digest, slot_bytes},
    luks::{Header, LuksError},
};

/// One change to the JSON of a good header, and the refusal that it must meet.
pub(crate) struct HostileHeader {
    pub(crate) name: &'static str,
    from: &'static str,
    to: &'static str,
    refused: fn(&LuksError) -> bool,
}

const fn hostile(
    name: &'static str,
    from: &'static str,
    to: &'static str,
    refused: fn(&LuksError) -> bool,
) -> HostileHeader {
    HostileHeader { name, from, to, refused }
}

const SLOT: &str = r#""0":{"type":"luks2""#;
const SECOND_SLOT: &str = r#""1":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},"area":{"type":"raw","offset":"290816","size":"258048","encryption":"aes-xts-plain64","key_size":64},"kdf":{"type":"pbkdf2","hash":"sha256","iterations":1000,"salt":"6p8EwOAEDBe2yh63a4193L8Y4IyCey+/JC+7/o1hNCY="}},"0":{"type":"luks2""#;
const SEGMENT_CIPHER: &str = r#""encryption":"aes-xts-plain64","sector_size""#;
const SLOTS_SIZE: &str = r#""keyslots_size":"1015808""#;
const TOKENS: &str = r#""tokens":{}"#;

pub(crate) const HEADERS: &[HostileHeader] = &[
    hostile(
        "null cipher for the data",
        SEGMENT_CIPHER,
        r#""encryption":"cipher_null-ecb","sector_size""#,
        |error| matches!(error, LuksError::NullCipher { field: "segment encryption" }),
    ),
    hostile("an extra key slot", SLOT, SECOND_SLOT, |error| {
        matches!(error, LuksError::Keyslots { found: 2 })
    }),
    hostile(
        "a re-encryption to finish",
        SLOTS_SIZE,
        r#""keyslots_size":"1015808","requirements":{"mandatory":["online-reencrypt-v2"]}"#,
        |error| matches!(error, LuksError::Reencryption),
    ),
    hostile(
        "null cipher for the key slot",
        r#""encryption":"aes-xts-plain64","key_size":64}"#,
        r#""encryption":"cipher_null-ecb","key_size":64}"#,
        |error| matches!(error, LuksError::NullCipher { field: "key slot encryption" }),
    ),
    hostile("a plain segment", r#""type":"crypt""#, r#""type":"linear""#, |error| {
        matches!(error, LuksError::PlainSegment)
    }),
    hostile(
        "a second, plain segment",
        r#""segments":{"0""#,
        r#""segments":{"1":{"type":"linear","offset":"0","size":"dynamic"},"0""#,
        |error| matches!(error, LuksError::Segments { found: 2 }),
    ),
    hostile("a re-encryption slot", SLOT, r#""0":{"type":"reencrypt""#, |error| {
        matches!(error, LuksError::Reencryption)
    }),
    hostile(
        "a segment in re-encryption",
        r#""sector_size":4096"#,
        r#""sector_size":4096,"flags":["in-reencryption"]"#,
        |error| matches!(error, LuksError::Reencryption),
    ),
    hostile("no key slot but another", SLOT, r#""7":{"type":"luks2""#, |error| {
        matches!(error, LuksError::Keyslots { found: 1 })
    }),
    hostile("a token", TOKENS, r#""tokens":{"0":{"type":"luks2-keyring","keyslots":["0"]}}"#, |error| {
        matches!(error, LuksError::Tokens { found: 1 })
    }),
    hostile("a key derivation that takes no time", r#""time":4"#, r#""time":1"#, |error| {
        matches!(error, LuksError::KeyDerivation)
    }),
    hostile("one that takes all memory", r#""memory":65536"#, r#""memory":4194304"#, |error| {
        matches!(error, LuksError::KeyDerivation)
    }),
    hostile(
        "a malleable cipher mode",
        SEGMENT_CIPHER,
        r#""encryption":"aes-cbc-plain","sector_size""#,
        |error| matches!(error, LuksError::NotAllowed { field: "segment encryption", .. }),
    ),
    hostile("data elsewhere on the disk", r#""offset":"2097152""#, r#""offset":"0""#, |error| {
        matches!(error, LuksError::Layout { field: "segment offset", found: 0, .. })
    }),
    hostile("a key slot beyond the header", r#""size":"258048""#, r#""size":"9999999999""#, |error| {
        matches!(error, LuksError::Layout { field: "key slot area size", .. })
    }),
    hostile("a number that is none", r#""size":"258048""#, r#""size":"99999999999999999999999""#, |error| {
        matches!(error, LuksError::Number { field: "key slot area size" })
    }),
    hostile("a field that nobody knows", TOKENS, r#""tokens":{},"backdoor":1"#, |error| {
        matches!(error, LuksError::Json { .. })
    }),
    hostile("the same name twice", TOKENS, r#""tokens":{},"tokens":{}"#, |error| {
        matches!(error, LuksError::Json { .. })
    }),
    hostile("a digest that binds nothing", r#""keyslots":["0"]"#, r#""keyslots":[]"#, |error| {
        matches!(error, LuksError::DigestBinding)
    }),
];

impl HostileHeader {
    /// The header area `good` with this change, and checksums that are right.
    pub(crate) fn of(&self, good: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(&good[4096..SIZE]).expect("JSON and zeros").trim_end_matches('\0');
        let changed = text.replacen(self.from, self.to, 1);
        assert_ne!(changed, text, "{}: {} is not in the header", self.name, self.from);
        let mut header = good.to_vec();
        for start in [0, SIZE] {
            let area = &mut header[start + 4096..start + SIZE];
            area.fill(0);
            area[..changed.len()].copy_from_slice(changed.as_bytes());
        }
        seal(&mut header);
        header
    }
}

/// Header size of the allowed shape, in bytes.
const SIZE: usize = 0x4000;

/// Writes the checksums of both copies anew (LUKS2 On-Disk Format 1.1.2, section 2.1, csum).
fn seal(header: &mut [u8]) {
    for start in [0, SIZE] {
        header[start + 448..start + 512].fill(0);
        let digest = sha256(&header[start..start + SIZE]);
        header[start + 448..start + 480].copy_from_slice(digest.as_bytes());
    }
}

#[test]
fn each_hostile_header_is_refused_although_its_mac_is_good() {
    let keys = keys();
    let mut wrong = Vec::new();
    for hostile in HEADERS {
        match open(&keys, &hostile.of(&good_header())) {
            Err(error) if (hostile.refused)(&error) => {}
            other => wrong.push(format!("{}: {other:?}", hostile.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(open(&keys, &good_header()).expect("the good header is opened"), 4096);
}

#[test]
fn headers_of_another_size_are_refused_although_their_mac_is_good() {
    type Change = fn(&mut [u8]);
    type Refused = fn(&LuksError) -> bool;
    let sizes: &[(&str, Change, Refused)] = &[
        (
            "a header of 4 MiB in an area of 1 MiB",
            |header| resize(header, 4 << 20),
            |error| matches!(error, LuksError::Truncated { .. }),
        ),
        (
            "a header larger than LUKS2 knows",
            |header| resize(header, 1 << 62),
            |error| matches!(error, LuksError::HeaderSize { .. }),
        ),
        (
            "a header of 32 KiB",
            |header| resize(header, 0x8000),
            |error| matches!(error, LuksError::Checksum { .. }),
        ),
        ("LUKS1", |header| header[7] = 1, |error| matches!(error, LuksError::Version { found: 1 })),
    ];
    for (name, change, refused) in sizes {
        let mut header = good_header();
        change(&mut header);
        let outcome = open(&keys(), &header);
        assert!(outcome.as_ref().is_err_and(refused), "{name}: {outcome:?}");
    }
}

#[test]
fn without_the_volume_key_no_hostile_header_is_parsed() {
    let keys = keys();
    for hostile in HEADERS {
        let header = hostile.of(&good_header());
        // The host keeps the slot that the guest wrote, whose stamp names the good header.
        let (mut disk, stamp) = disk_with(&keys, &good_header());
        disk[HEADER_OFFSET..].copy_from_slice(&header);
        let refused = Frame::parse(&disk).and_then(|frame| frame.open(&keys, &stamp, &[])).map(drop);
        assert!(matches!(refused, Err(FrameError::HeaderDigest { .. })), "{}: {refused:?}", hostile.name);

        // The host makes a slot of its own, under a key of its own.
        let own = VolumeKeys::derive(&Secret::take(&mut [8; 64]));
        let (disk, forged) = disk_with(&own, &header);
        let refused = Frame::parse(&disk).and_then(|frame| frame.open(&keys, &stamp, &[])).map(drop);
        assert!(matches!(refused, Err(FrameError::NotGranted { .. })), "{}: {refused:?}", hostile.name);
        // Should a seat lie and grant that stamp, the key does not vouch for it.
        let refused = Frame::parse(&disk).and_then(|frame| frame.open(&keys, &forged, &[])).map(drop);
        assert!(matches!(refused, Err(FrameError::StampForged { .. })), "{}: {refused:?}", hostile.name);
    }
}

/// Opens a disk as init does whose stamp, digest and MAC are those of somebody with the volume's key: the sector
/// size, if the header is of the allowed shape.
fn open(keys: &VolumeKeys, header: &[u8]) -> Result<u32, LuksError> {
    let (disk, stamp) = disk_with(keys, header);
    let frame = Frame::parse(&disk).and_then(|frame| frame.open(keys, &stamp, &[]));
    let opened = frame.expect("the MAC is good");
    Header::parse(opened.header())?.check().map(|checked| checked.sector_size())
}

/// The first bytes of a partition with `header`, stamped and under a MAC by a holder of `keys`.
fn disk_with(keys: &VolumeKeys, header: &[u8]) -> (Vec<u8>, Stamp) {
    let stamp = keys.stamp(5, header_digest(header), BootId::from([1; 16]));
    let mut disk = vec![0; DATA_OFFSET];
    let slot = slot_bytes(keys, &stamp, header);
    disk[..slot.len()].copy_from_slice(&slot);
    disk[HEADER_OFFSET..].copy_from_slice(header);
    (disk, stamp)
}

fn keys() -> VolumeKeys {
    VolumeKeys::derive(&Secret::take(&mut [7; 64]))
}

fn resize(header: &mut [u8], size: u64) {
    for start in [0, SIZE] {
        header[start + 8..start + 16].copy_from_slice(&size.to_be_bytes());
    }
    seal(header);
}

/// What `cryptsetup` 2.6.1 writes with the documented arguments.
fn good_header() -> Vec<u8> {
    const JSON: &str = r#"{"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},"area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},"kdf":{"type":"argon2id","time":4,"memory":65536,"cpus":1,"salt":"6p8EwOAEDBe2yh63a4193L8Y4IyCey+/JC+7/o1hNCY="}}},"tokens":{},"segments":{"0":{"type":"crypt","offset":"2097152","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":4096}},"digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":1000,"salt":"KCvHNxIqHI8blMzo96JBDtwmGoMastAiS1ShYprMZHI=","digest":"DoS8Y8rX4urH3/AavYgftovGX6ifXQ11Zb73N6VjUco="}},"config":{"json_size":"12288","keyslots_size":"1015808"}}"#;
    let mut bytes = vec![0; HEADER_BYTES];
    for (start, magic) in [(0, b"LUKS\xba\xbe"), (SIZE, b"SKUL\xba\xbe")] {
        let copy = &mut bytes[start..start + SIZE];
        copy[..6].copy_from_slice(magic);
        copy[6..8].copy_from_slice(&2_u16.to_be_bytes());
        copy[8..16].copy_from_slice(&(SIZE as u64).to_be_bytes());
        copy[16..24].copy_from_slice(&3_u64.to_be_bytes());
        copy[72..78].copy_from_slice(b"sha256");
        copy[168..204].copy_from_slice(b"00000000-0000-4000-8000-000000000001");
        copy[256..264].copy_from_slice(&(start as u64).to_be_bytes());
        copy[4096..4096 + JSON.len()].copy_from_slice(JSON.as_bytes());
    }
    seal(&mut bytes);
    bytes
}
