//! How does a certificate of a simulated chip look?
//!
//! Like the vendor's: X.509 v3, of AMD signed with RSASSA-PSS over SHA-384 and a salt of 48 bytes (AMD 57230,
//! VCEK Certificate and KDS Interface Specification, §3), of Intel with ECDSA P-256 over SHA-256 (PCK
//! Certificate and CRL Profile Specification 1.4). Names differ, and say SIMULATED.

use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{KeyPair, RSA_PSS_SHA384};
use casemate_crypto::sign;
use der::asn1::{BitString, OctetString, Uint};
use der::oid::ObjectIdentifier;
use der::{Decode as _, Encode as _, Sequence};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::error::Error;

/// What a certificate states.
pub(crate) struct Statement {
    /// RFC 4514, such as `CN=SEV-VCEK,O=...`.
    pub(crate) subject: String,
    /// The issuer's subject.
    pub(crate) issuer: String,
    pub(crate) serial: u32,
    pub(crate) public_key: SubjectPublicKeyInfoOwned,
    pub(crate) years: u64,
    pub(crate) extensions: Vec<Extension>,
}

/// Whose key signs.
#[derive(Clone, Copy)]
pub(crate) enum Issuer<'a> {
    /// An ARK or ASK.
    Rsa(&'a rsa::KeyPair),
    /// An authority in place of Intel's.
    P256(&'a sign::SigningKey),
}

/// DER of a certificate with this statement, signed by `issuer`.
pub(crate) fn sign(statement: Statement, issuer: Issuer<'_>) -> Result<Vec<u8>, Error> {
    let algorithm = issuer.algorithm()?;
    let tbs = TbsCertificate {
        version: 2, // v3
        serial_number: Uint::new(&statement.serial.to_be_bytes())?,
        signature: algorithm.clone(),
        issuer: statement.issuer.parse()?,
        validity: validity(statement.years)?,
        subject: statement.subject.parse()?,
        public_key: statement.public_key,
        extensions: statement.extensions,
    };
    let signature = issuer.sign(&tbs.to_der()?)?;
    Ok(Certificate { tbs, algorithm, signature }.to_der()?)
}

/// DER of a revocation list that names nothing, signed by `issuer`, for `days` from yesterday on.
pub(crate) fn sign_revocation_list(
    name: &str,
    days: u32,
    issuer: &sign::SigningKey,
) -> Result<Vec<u8>, Error> {
    let issuer = Issuer::P256(issuer);
    let algorithm = issuer.algorithm()?;
    let yesterday = SystemTime::now() - DAY;
    let tbs = TbsCertList {
        version: 1, // v2
        signature: algorithm.clone(),
        issuer: name.parse()?,
        this_update: Time::try_from(yesterday)?,
        next_update: Time::try_from(yesterday + DAY * days)?,
        extensions: vec![Extension {
            extn_id: CRL_NUMBER,
            critical: false,
            extn_value: OctetString::new(Uint::new(&[1])?.to_der()?)?,
        }],
    };
    let signature = issuer.sign(&tbs.to_der()?)?;
    Ok(CertificateList { tbs, algorithm, signature }.to_der()?)
}

impl Issuer<'_> {
    fn algorithm(self) -> Result<AlgorithmIdentifierOwned, Error> {
        Ok(AlgorithmIdentifierOwned::from_der(match self {
            Issuer::Rsa(_) => RSASSA_PSS_SHA384,
            Issuer::P256(_) => ECDSA_SHA256,
        })?)
    }

    fn sign(self, message: &[u8]) -> Result<BitString, Error> {
        let signature = match self {
            Issuer::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| Error::Crypto { action: "sign a certificate" })?;
                signature
            }
            Issuer::P256(key) => {
                let signature = key.sign(message);
                let (r, s) = signature.as_bytes().split_at(32);
                EcdsaSignature { r: Uint::new(r)?, s: Uint::new(s)? }.to_der()?
            }
        };
        Ok(BitString::from_bytes(&signature)?)
    }
}

/// The certified form of a key pair's public key.
pub(crate) fn public_key<K>(key: &K) -> Result<SubjectPublicKeyInfoOwned, Error>
where
    K: KeyPair,
    K::PublicKey: AsDer<PublicKeyX509Der<'static>>,
{
    let der = key.public_key().as_der().map_err(|_| Error::Crypto { action: "encode a public key" })?;
    Ok(SubjectPublicKeyInfoOwned::from_der(der.as_ref())?)
}

/// The certified form of a P-256 key (RFC 5480 §2.1.1).
pub(crate) fn p256_public_key(key: &sign::PublicKey) -> Result<SubjectPublicKeyInfoOwned, Error> {
    Ok(SubjectPublicKeyInfoOwned::from_der(&[P256_PREFIX, key.as_bytes()].concat())?)
}

/// Extensions of an authority; `path_length` is how many authorities may follow.
pub(crate) fn authority(path_length: Option<u8>, revokes: bool) -> Result<Vec<Extension>, Error> {
    let usage = if revokes {
        KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)
    } else {
        KeyUsage(KeyUsages::KeyCertSign.into())
    };
    standing(BasicConstraints { ca: true, path_len_constraint: path_length }, usage)
}

/// Extensions of a certificate that issues nothing and signs data, as Intel's are.
pub(crate) fn leaf() -> Result<Vec<Extension>, Error> {
    let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation);
    standing(BasicConstraints { ca: false, path_len_constraint: None }, usage)
}

fn standing(constraints: BasicConstraints, usage: KeyUsage) -> Result<Vec<Extension>, Error> {
    let critical = |identifier, content: Vec<u8>| -> Result<Extension, Error> {
        Ok(Extension { extn_id: identifier, critical: true, extn_value: OctetString::new(content)? })
    };
    Ok(vec![critical(BASIC_CONSTRAINTS, constraints.to_der()?)?, critical(KEY_USAGE, usage.to_der()?)?])
}

/// An extension of a vendor's: not critical, its content as it is.
pub(crate) fn extension(identifier: ObjectIdentifier, content: Vec<u8>) -> Result<Extension, Error> {
    Ok(Extension { extn_id: identifier, critical: false, extn_value: OctetString::new(content)? })
}

/// From yesterday, for clocks that disagree, to `years` from now.
fn validity(years: u64) -> Result<Validity, Error> {
    let now = SystemTime::now();
    Ok(Validity::new(Time::try_from(now - DAY)?, Time::try_from(now + DAY * 365 * years as u32)?))
}

/// RFC 5280 §4.1.2: `TBSCertificate`.
#[derive(Sequence)]
struct TbsCertificate {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial_number: Uint,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    public_key: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// RFC 5280 §4.1: `Certificate`.
#[derive(Sequence)]
struct Certificate {
    tbs: TbsCertificate,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// RFC 5280 §5.1: `TBSCertList` without entries.
#[derive(Sequence)]
struct TbsCertList {
    version: u8,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    this_update: Time,
    next_update: Time,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// RFC 5280 §5.1: `CertificateList`.
#[derive(Sequence)]
struct CertificateList {
    tbs: TbsCertList,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// RFC 3279 §2.2.3: `Ecdsa-Sig-Value`.
#[derive(Sequence)]
struct EcdsaSignature {
    r: Uint,
    s: Uint,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");

/// RFC 5280 §5.2.3, without which other verifiers do not read a list.
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");

/// `AlgorithmIdentifier` of id-RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes
/// (RFC 4055 §3.1), as in AMD's certificates.
const RSASSA_PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f,
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c,
    0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09,
    0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];

/// `AlgorithmIdentifier` of ecdsa-with-SHA256 (RFC 5758 §3.2).
const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// `SubjectPublicKeyInfo` of a P-256 key up to the coordinates of the point.
const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
