//! What a TPM signs, with one field changed at a time: each has its own refusal.
//!
//! The statement is built here field by field, so that a field without a row fails the test.

use casemate_crypto::RustCrypto;
use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_evidence::tpm::{
    Attest, ClockInfo, Name, PcrValues, Public, Signature, TpmError, qualified_name,
};
use casemate_verify::tpm::{
    AttestationKey, ClockError, KeyError, QuoteError, authenticate_quote, check_clock, pcr_digest,
};
use p256::ecdsa::signature::Signer as _;

/// What a Verifier says of a statement that a known key signed, with a nonce, and after an earlier statement.
#[derive(Debug, PartialEq)]
enum Refusal {
    Parse(TpmError),
    Quote(QuoteError),
    Nonce,
    Clock(ClockError),
    Firmware,
}

/// Bytes of one field: its name, and what it holds.
type Field = (&'static str, Vec<u8>);

const NONCE: [u8; 32] = [0x5A; 32];
const FIRMWARE: u64 = 0x2020_0312_0012_0003;
const EARLIER: ClockInfo = ClockInfo { clock_ms: 1_000, reset_count: 7, restart_count: 1, safe: true };

fn signer() -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a number below the group order")
}

/// TPMT_PUBLIC of a restricted signing key, field by field.
fn public_fields() -> Vec<Field> {
    let point = signer().verifying_key().to_sec1_point(false).as_bytes()[1..].to_vec();
    vec![
        ("type", vec![0x00, 0x23]),
        ("nameAlg", vec![0x00, 0x0B]),
        ("objectAttributes", 0x0005_0072_u32.to_be_bytes().to_vec()),
        ("authPolicy", vec![0, 0]),
        ("symmetric", vec![0x00, 0x10]),
        ("scheme", vec![0x00, 0x18, 0x00, 0x0B]),
        ("curveID", vec![0x00, 0x03]),
        ("kdf", vec![0x00, 0x10]),
        ("unique.x", [&[0, 32], &point[..32]].concat()),
        ("unique.y", [&[0, 32], &point[32..]].concat()),
    ]
}

/// TPMS_ATTEST of a quote over PCR 4 and 7 of the SHA-256 bank, field by field.
fn quote_fields() -> Vec<Field> {
    let name = Public::parse(&join(&public_fields())).expect("a public area").name();
    let signer = qualified_name(0x4000_000B, &[], &name).expect("a name").to_bytes();
    let digest = HashAlgorithm::Sha256.digest_parts(&[&[4; 32], &[7; 32]]);
    vec![
        ("magic", 0xFF54_4347_u32.to_be_bytes().to_vec()),
        ("type", vec![0x80, 0x18]),
        ("qualifiedSigner", [&[0, 34], signer.as_slice()].concat()),
        ("extraData", [&[0, 32], &NONCE[..]].concat()),
        ("clockInfo.clock", 2_000_u64.to_be_bytes().to_vec()),
        ("clockInfo.resetCount", 7_u32.to_be_bytes().to_vec()),
        ("clockInfo.restartCount", 1_u32.to_be_bytes().to_vec()),
        ("clockInfo.safe", vec![1]),
        ("firmwareVersion", FIRMWARE.to_be_bytes().to_vec()),
        ("pcrSelect.count", 1_u32.to_be_bytes().to_vec()),
        ("pcrSelect.hash", vec![0x00, 0x0B]),
        ("pcrSelect.sizeofSelect", vec![3]),
        ("pcrSelect.pcrSelect", vec![0x90, 0, 0]),
        ("pcrDigest", [&[0, 32], digest.as_bytes()].concat()),
    ]
}

fn join(fields: &[Field]) -> Vec<u8> {
    fields.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
}

/// Signs whatever the bytes are, as a TPM would not, and lets a Verifier judge them.
fn judge(bytes: &[u8]) -> Result<(), Refusal> {
    let signature: p256::ecdsa::Signature = signer().sign(bytes);
    let signature = signature.to_bytes();
    let tpmt = [&[0x00, 0x18, 0x00, 0x0B, 0, 32][..], &signature[..32], &[0, 32], &signature[32..]].concat();
    let public = Public::parse(&join(&public_fields())).expect("a public area");
    let key = AttestationKey::enrolled(&public).expect("an attestation key");
    let mut pcrs = PcrValues::new();
    for index in [4, 7] {
        pcrs.insert(HashAlgorithm::Sha256, index, &[index; 32]).expect("a PCR value");
    }
    let attest = Attest::parse(bytes).map_err(Refusal::Parse)?;
    let signature = Signature::parse(&tpmt).map_err(Refusal::Parse)?;
    let genuine = authenticate_quote(attest, &signature, &key, &pcrs, &RustCrypto).map_err(Refusal::Quote)?;
    let name = qualified_name(0x4000_000B, &[], &public.name()).expect("a name");
    genuine.check_signer(&name).map_err(Refusal::Quote)?;
    if genuine.attest().extra_data != NONCE {
        return Err(Refusal::Nonce);
    }
    check_clock(&EARLIER, &genuine.attest().clock).map_err(Refusal::Clock)?;
    if genuine.attest().firmware_version != FIRMWARE {
        return Err(Refusal::Firmware);
    }
    Ok(())
}

fn with(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut fields = quote_fields();
    let field = fields.iter_mut().find(|(found, _)| *found == name).expect("a field of that name");
    field.1 = bytes.to_vec();
    join(&fields)
}

#[test]
fn each_field_of_a_quote_has_its_own_refusal() {
    assert_eq!(judge(&join(&quote_fields())), Ok(()));
    let other_signer = [&[0, 34, 0, 0x0B][..], &[9; 32]].concat();
    let found_name = Name::parse(&other_signer[2..]).expect("a name");
    let name = Public::parse(&join(&public_fields())).expect("a public area").name();
    let own_name = qualified_name(0x4000_000B, &[], &name).expect("a name");
    let digest = HashAlgorithm::Sha256.digest_parts(&[&[4; 32], &[7; 32]]);
    let missing = |index| QuoteError::MissingPcr { bank: HashAlgorithm::Sha256, index };
    let rows: Vec<(&str, Vec<u8>, Refusal)> = vec![
        ("magic", vec![0xFF, 0x54, 0x43, 0x48], Refusal::Parse(TpmError::Magic { found: 0xFF54_4348 })),
        ("type", vec![0x80, 0x14], Refusal::Parse(TpmError::AttestType { found: 0x8014 })),
        (
            "qualifiedSigner",
            other_signer,
            Refusal::Quote(QuoteError::QualifiedSigner {
                found: Box::new(found_name),
                expected: Box::new(own_name),
            }),
        ),
        ("extraData", [&[0, 32][..], &[0x5B; 32]].concat(), Refusal::Nonce),
        (
            "clockInfo.clock",
            999_u64.to_be_bytes().to_vec(),
            Refusal::Clock(ClockError::Clock { found: 999, previous: 1_000 }),
        ),
        (
            "clockInfo.resetCount",
            6_u32.to_be_bytes().to_vec(),
            Refusal::Clock(ClockError::ResetCount { found: 6, previous: 7 }),
        ),
        (
            "clockInfo.restartCount",
            0_u32.to_be_bytes().to_vec(),
            Refusal::Clock(ClockError::RestartCount { found: 0, previous: 1 }),
        ),
        ("clockInfo.safe", vec![0], Refusal::Clock(ClockError::Unsafe)),
        ("firmwareVersion", 1_u64.to_be_bytes().to_vec(), Refusal::Firmware),
        (
            "pcrSelect.count",
            17_u32.to_be_bytes().to_vec(),
            Refusal::Parse(TpmError::TooMany { field: "pcrSelect", found: 17, maximum: 16 }),
        ),
        ("pcrSelect.hash", vec![0x00, 0x12], Refusal::Parse(TpmError::Hash { found: 0x0012 })),
        ("pcrSelect.sizeofSelect", vec![2], Refusal::Parse(TpmError::SelectSize { found: 2 })),
        ("pcrSelect.pcrSelect", vec![0x91, 0, 0], Refusal::Quote(missing(0))),
        (
            "pcrDigest",
            [&[0, 32][..], &[1; 32]].concat(),
            Refusal::Quote(QuoteError::PcrDigest { found: digest, expected: vec![1; 32] }),
        ),
    ];
    let names: Vec<&str> = rows.iter().map(|(name, ..)| *name).collect();
    let fields: Vec<&str> = quote_fields().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, fields, "each field has a row, in its order");
    for (name, bytes, refusal) in rows {
        assert_eq!(judge(&with(name, &bytes)), Err(refusal), "{name}");
    }
}

#[test]
fn lengths_and_lists_of_a_quote_are_bounded() {
    let parse = |bytes: Vec<u8>| Attest::parse(&bytes).expect_err("it is broken");
    let good = join(&quote_fields());
    assert_eq!(parse([&good[..], &[0]].concat()), TpmError::Trailing { found: 1 });
    assert!(matches!(parse(good[..good.len() - 1].to_vec()), TpmError::Truncated(_)));
    let long = [&[0, 67][..], &[0; 67]].concat();
    let too_long = |field, found, maximum| TpmError::TooLong { field, found, maximum };
    assert_eq!(parse(with("extraData", &long)), too_long("extraData", 67, 66));
    assert_eq!(parse(with("qualifiedSigner", &long)), too_long("name", 67, 66));
    assert_eq!(parse(with("pcrDigest", &long)), too_long("pcrDigest", 67, 64));
    assert_eq!(parse(with("qualifiedSigner", &[0, 3, 0, 0x0B, 0])), TpmError::Name { found: 3 });
    assert_eq!(parse(with("clockInfo.safe", &[2])), TpmError::YesNo { found: 2 });
    assert_eq!(parse(vec![0; 1025]), too_long("attest", 1025, 1024));
    let mut twice = quote_fields();
    twice[9].1 = 2_u32.to_be_bytes().to_vec();
    twice[12].1.extend([0x00, 0x0B, 3, 1, 0, 0]);
    assert_eq!(parse(join(&twice)), TpmError::DuplicateBank { found: HashAlgorithm::Sha256 });
    let sized = [&(good.len() as u16).to_be_bytes()[..], &good].concat();
    assert!(Attest::parse_sized(&sized).is_ok());
    let (stated, found) = (good.len(), good.len() - 1);
    assert_eq!(Attest::parse_sized(&sized[..sized.len() - 1]), Err(TpmError::Length { stated, found }));
    // A quote over nothing proves nothing.
    let nothing = HashAlgorithm::Sha256.digest(b"");
    let mut empty = quote_fields();
    empty[12].1 = vec![0; 3];
    empty[13].1 = [&[0, 32], nothing.as_bytes()].concat();
    assert_eq!(judge(&join(&empty)), Err(Refusal::Quote(QuoteError::NothingSelected)));
    assert_eq!(pcr_digest(&[], &PcrValues::new(), HashAlgorithm::Sha256), nothing);
}

#[test]
fn each_field_of_a_public_area_has_its_own_refusal() {
    let enroll = |fields: &[Field]| -> Result<(), Result<TpmError, KeyError>> {
        let public = Public::parse(&join(fields)).map_err(Ok)?;
        AttestationKey::enrolled(&public).map(drop).map_err(Err)
    };
    assert_eq!(enroll(&public_fields()), Ok(()));
    let parameter = |field, found| Ok(TpmError::Parameter { field, found });
    let long = [&[0, 33][..], &[1; 33]].concat();
    let too_long = |field, found, maximum| Ok(TpmError::TooLong { field, found, maximum });
    let rows: Vec<(&str, Vec<u8>, Result<TpmError, KeyError>)> = vec![
        ("type", vec![0x00, 0x08], Ok(TpmError::KeyType { found: 8 })),
        ("nameAlg", vec![0x00, 0x12], Ok(TpmError::Hash { found: 0x12 })),
        ("objectAttributes", 0x0004_0072_u32.to_be_bytes().to_vec(), Err(KeyError::NotRestricted)),
        ("authPolicy", [&[0, 65][..], &[0; 65]].concat(), too_long("authPolicy", 65, 64)),
        ("symmetric", vec![0x00, 0x11], parameter("symmetric", 0x11)),
        ("scheme", vec![0x00, 0x10], Err(KeyError::NoScheme)),
        ("curveID", vec![0x00, 0x05], Ok(TpmError::Curve { found: 5 })),
        ("kdf", vec![0x00, 0x11], parameter("eccDetail.kdf", 0x11)),
        ("unique.x", long.clone(), too_long("unique.ecc.x", 33, 32)),
        ("unique.y", long, too_long("unique.ecc.y", 33, 32)),
    ];
    let names: Vec<&str> = rows.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, public_fields().iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, bytes, refusal) in rows {
        let mut fields = public_fields();
        fields.iter_mut().find(|(found, _)| *found == name).expect("a field").1 = bytes;
        assert_eq!(enroll(&fields), Err(refusal), "{name}");
    }
    // Each attribute that makes the magic mean something.
    for (bit, error) in [
        (18, KeyError::NotSigning),
        (16, KeyError::NotRestricted),
        (17, KeyError::Decrypting),
        (1, KeyError::Movable),
        (4, KeyError::Movable),
        (5, KeyError::Imported),
    ] {
        let mut fields = public_fields();
        fields[2].1 = (0x0005_0072_u32 ^ 1 << bit).to_be_bytes().to_vec();
        assert_eq!(enroll(&fields), Err(Err(error)), "bit {bit}");
    }
}

#[test]
fn signatures_of_another_scheme_or_hash_are_refused() {
    let parse = |bytes: &[u8]| Signature::parse(bytes);
    assert_eq!(parse(&[0x00, 0x1A, 0x00, 0x0B]), Err(TpmError::Scheme { found: 0x1A }));
    assert_eq!(parse(&[0x00, 0x18, 0x00, 0x12]), Err(TpmError::Hash { found: 0x12 }));
    let trailing = [&[0x00, 0x18, 0x00, 0x0B, 0, 1, 1, 0, 1, 1][..], &[0]].concat();
    assert_eq!(parse(&trailing), Err(TpmError::Trailing { found: 1 }));
    let zero = Digest::filled(HashAlgorithm::Sha1, 0);
    assert_eq!(zero.as_bytes().len(), 20);
}
