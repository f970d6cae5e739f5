//! One header of the allowed shape, and one change at a time.

use casemate_crypto::hash::sha256;
use casemate_volume::{
    frame::HEADER_BYTES,
    luks::{Header, LuksError},
};

/// What `cryptsetup` 2.6.1 writes with the documented arguments.
const JSON: &str = r#"{"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},"area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},"kdf":{"type":"argon2id","time":4,"memory":65536,"cpus":1,"salt":"6p8EwOAEDBe2yh63a4193L8Y4IyCey+/JC+7/o1hNCY="}}},"tokens":{},"segments":{"0":{"type":"crypt","offset":"2097152","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":4096}},"digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":1000,"salt":"KCvHNxIqHI8blMzo96JBDtwmGoMastAiS1ShYprMZHI=","digest":"DoS8Y8rX4urH3/AavYgftovGX6ifXQ11Zb73N6VjUco="}},"config":{"json_size":"12288","keyslots_size":"1015808"}}"#;
const SIZE: usize = 0x4000;

/// Both copies of a header around `json`.
fn header(json: &str) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    for (start, magic) in [(0, b"LUKS\xba\xbe"), (SIZE, b"SKUL\xba\xbe")] {
        let copy = &mut bytes[start..start + SIZE];
        copy[..6].copy_from_slice(magic);
        copy[6..8].copy_from_slice(&2u16.to_be_bytes());
        copy[8..16].copy_from_slice(&(SIZE as u64).to_be_bytes());
        copy[16..24].copy_from_slice(&3u64.to_be_bytes());
        copy[72..78].copy_from_slice(b"sha256");
        copy[168..204].copy_from_slice(b"00000000-0000-4000-8000-000000000001");
        copy[256..264].copy_from_slice(&(start as u64).to_be_bytes());
        copy[4096..4096 + json.len()].copy_from_slice(json.as_bytes());
    }
    seal(&mut bytes);
    bytes
}

/// Writes the checksums of both copies anew.
fn seal(bytes: &mut [u8]) {
    for start in [0, SIZE] {
        bytes[start + 448..start + 512].fill(0);
        let digest = sha256(&bytes[start..start + SIZE]);
        bytes[start + 448..start + 480].copy_from_slice(digest.as_bytes());
    }
}

fn outcome(bytes: &[u8]) -> Result<u32, LuksError> {
    Header::parse(bytes)?.check().map(|checked| checked.sector_size())
}

/// The refusal after one replacement in the JSON.
fn refused(from: &str, to: &str) -> LuksError {
    let changed = JSON.replacen(from, to, 1);
    assert_ne!(changed, JSON, "{from} is not in the header");
    outcome(&header(&changed)).expect_err(to)
}

#[test]
fn the_allowed_shape_is_opened() {
    assert_eq!(outcome(&header(JSON)).unwrap(), 4096);
    let small = JSON.replace("\"sector_size\":4096", "\"sector_size\":512");
    assert_eq!(outcome(&header(&small)).unwrap(), 512);
}

#[test]
fn each_change_to_the_json_has_its_own_refusal() {
    type Expected = fn(&LuksError) -> bool;
    let slot = r#""0":{"type":"luks2""#;
    let table: &[(&str, &str, Expected)] = &[
        (
            r#""encryption":"aes-xts-plain64","sector_size""#,
            r#""encryption":"cipher_null-ecb","sector_size""#,
            |e| matches!(e, LuksError::NullCipher { field: "segment encryption" }),
        ),
        (
            r#""encryption":"aes-xts-plain64","key_size":64}"#,
            r#""encryption":"cipher_null-ecb","key_size":64}"#,
            |e| matches!(e, LuksError::NullCipher { field: "key slot encryption" }),
        ),
        (
            r#""encryption":"aes-xts-plain64","sector_size""#,
            r#""encryption":"aes-cbc-plain","sector_size""#,
            |e| matches!(e, LuksError::NotAllowed { field: "segment encryption", .. }),
        ),
        (r#""type":"crypt""#, r#""type":"linear""#, |e| matches!(e, LuksError::PlainSegment)),
        (r#""offset":"2097152""#, r#""offset":"0""#, |e| {
            matches!(e, LuksError::Layout { field: "segment offset", found: 0, .. })
        }),
        (r#""size":"dynamic""#, r#""size":"4096""#, |e| {
            matches!(e, LuksError::NotAllowed { field: "segment size", .. })
        }),
        (r#""iv_tweak":"0""#, r#""iv_tweak":"8""#, |e| {
            matches!(e, LuksError::NotAllowed { field: "segment iv_tweak", .. })
        }),
        (r#""sector_size":4096"#, r#""sector_size":1024"#, |e| {
            matches!(e, LuksError::NotAllowed { field: "segment sector_size", .. })
        }),
        (r#""sector_size":4096"#, r#""sector_size":4096,"integrity":{"type":"hmac"}"#, |e| {
            matches!(e, LuksError::NotAllowed { field: "segment integrity", .. })
        }),
        (r#""sector_size":4096"#, r#""sector_size":4096,"flags":["in-reencryption"]"#, |e| {
            matches!(e, LuksError::Reencryption)
        }),
        (slot, r#""1":{"type":"luks2""#, |e| matches!(e, LuksError::Keyslots { found: 1 })),
        (slot, r#""0":{"type":"reencrypt""#, |e| matches!(e, LuksError::Reencryption)),
        (slot, r#""0":{"type":"luks3""#, |e| {
            matches!(e, LuksError::NotAllowed { field: "key slot type", .. })
        }),
        (r#""key_size":64,"af""#, r#""key_size":32,"af""#, |e| {
            matches!(e, LuksError::Layout { field: "key slot key_size", .. })
        }),
        (r#""key_size":64,"af""#, r#""key_size":64,"priority":2,"af""#, |e| {
            matches!(e, LuksError::NotAllowed { field: "key slot priority", .. })
        }),
        (r#""stripes":4000"#, r#""stripes":2"#, |e| {
            matches!(e, LuksError::Layout { field: "anti-forensic stripes", .. })
        }),
        (r#""hash":"sha256"},"area""#, r#""hash":"md5"},"area""#, |e| {
            matches!(e, LuksError::NotAllowed { field: "anti-forensic hash", .. })
        }),
        (r#""offset":"32768""#, r#""offset":"0""#, |e| {
            matches!(e, LuksError::Layout { field: "key slot area offset", .. })
        }),
        (r#""size":"258048""#, r#""size":"0258048""#, |e| {
            matches!(e, LuksError::Number { field: "key slot area size" })
        }),
        (r#""size":"258048""#, r#""size":"99999999999999999999""#, |e| {
            matches!(e, LuksError::Number { field: "key slot area size" })
        }),
        (r#""type":"argon2id""#, r#""type":"argon2i""#, |e| matches!(e, LuksError::KeyDerivation)),
        (r#""time":4"#, r#""time":5"#, |e| matches!(e, LuksError::KeyDerivation)),
        (r#""memory":65536"#, r#""memory":4294967295"#, |e| matches!(e, LuksError::KeyDerivation)),
        (r#""cpus":1"#, r#""cpus":4"#, |e| matches!(e, LuksError::KeyDerivation)),
        (r#""salt":"6p8E"#, r#""salt":"!p8E"#, |e| {
            matches!(e, LuksError::Salt { field: "key slot kdf salt" })
        }),
        (r#""tokens":{}"#, r#""tokens":{"0":{"type":"luks2-keyring"}}"#, |e| {
            matches!(e, LuksError::Tokens { found: 1 })
        }),
        (r#""keyslots":["0"]"#, r#""keyslots":[]"#, |e| matches!(e, LuksError::DigestBinding)),
        (r#""segments":["0"]"#, r#""segments":["1"]"#, |e| matches!(e, LuksError::DigestBinding)),
        (r#""digests":{"0""#, r#""digests":{"1""#, |e| matches!(e, LuksError::Digests { found: 1 })),
        (r#""iterations":1000"#, r#""iterations":1"#, |e| {
            matches!(e, LuksError::DigestIterations { found: 1 })
        }),
        (r#""json_size":"12288""#, r#""json_size":"4096""#, |e| {
            matches!(e, LuksError::Layout { field: "config.json_size", .. })
        }),
        (r#""keyslots_size":"1015808""#, r#""keyslots_size":"1""#, |e| {
            matches!(e, LuksError::Layout { field: "config.keyslots_size", .. })
        }),
        (
            r#""keyslots_size":"1015808""#,
            r#""keyslots_size":"1015808","requirements":{"mandatory":["online-reencrypt"]}"#,
            |e| matches!(e, LuksError::Reencryption),
        ),
        (r#""keyslots_size":"1015808""#, r#""keyslots_size":"1015808","flags":["allow-discards"]"#, |e| {
            matches!(e, LuksError::NotAllowed { field: "config.flags", .. })
        }),
        (r#""tokens":{}"#, r#""tokens":{},"extra":1"#, |e| matches!(e, LuksError::Json { .. })),
        (r#""tokens":{}"#, r#""tokens":{},"tokens":{}"#, |e| matches!(e, LuksError::Json { .. })),
        (r#""segments":{"0""#, r#""segments":{"0":{"type":"crypt","offset":"0","size":"1"},"0""#, |e| {
            matches!(e, LuksError::Json { .. })
        }),
    ];
    for (from, to, expected) in table {
        let found = refused(from, to);
        assert!(expected(&found), "{to}: {found:?}");
    }
}

#[test]
fn each_change_to_the_binary_header_has_its_own_refusal() {
    type Expected = fn(&LuksError) -> bool;
    let table: &[(usize, bool, Expected)] = &[
        (0, false, |e| matches!(e, LuksError::Magic { .. })),
        (7, false, |e| matches!(e, LuksError::Version { .. })),
        (15, false, |e| matches!(e, LuksError::HeaderSize { .. })),
        (20, true, |e| matches!(e, LuksError::CopiesDiffer { field: "sequence id" })),
        (30, true, |e| matches!(e, LuksError::CopiesDiffer { field: "label" })),
        (72, false, |e| matches!(e, LuksError::ChecksumAlgorithm { .. })),
        (110, false, |e| matches!(e, LuksError::Checksum { .. })),
        (170, true, |e| matches!(e, LuksError::CopiesDiffer { field: "uuid" })),
        (210, true, |e| matches!(e, LuksError::CopiesDiffer { field: "subsystem" })),
        (263, false, |e| matches!(e, LuksError::HeaderOffset { .. })),
        (300, true, |e| matches!(e, LuksError::NotZero { field: "padding", .. })),
        (450, false, |e| matches!(e, LuksError::Checksum { .. })),
        (600, true, |e| matches!(e, LuksError::NotZero { field: "padding 4096", .. })),
        (SIZE - 1, true, |e| matches!(e, LuksError::NotZero { field: "JSON area after its end", .. })),
        (SIZE, false, |e| matches!(e, LuksError::Magic { .. })),
        (SIZE + 20, true, |e| matches!(e, LuksError::CopiesDiffer { field: "sequence id" })),
    ];
    for (place, sealed, expected) in table {
        let mut bytes = header(JSON);
        bytes[*place] ^= 1;
        if *sealed {
            seal(&mut bytes);
        }
        let found = outcome(&bytes).expect_err("a changed header is refused");
        assert!(expected(&found), "byte {place}: {found:?}");
    }
}

#[test]
fn a_label_in_both_copies_is_refused() {
    let mut bytes = header(JSON);
    for start in [0, SIZE] {
        bytes[start + 24] = b'x';
    }
    seal(&mut bytes);
    assert!(matches!(outcome(&bytes), Err(LuksError::NotAllowed { field: "label or subsystem", .. })));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = header(JSON);
    for length in (0..2 * SIZE).step_by(511) {
        assert!(matches!(outcome(&bytes[..length]), Err(LuksError::Truncated { .. })), "{length}");
    }
}
