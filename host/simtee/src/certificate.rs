//! How does a certificate of a simulated chip look?
//!
//! Like AMD's (AMD 57230, VCEK Certificate and KDS Interface Specification, §3): X.509 v3, signed with
//! RSASSA-PSS over SHA-384 and a salt of 48 bytes. Names differ, and say SIMULATED.

use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{KeyPair, RSA_PSS_SHA384};
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

/// DER of a certificate with this statement, signed by `issuer`.
pub(crate) fn sign(statement: Statement, issuer: &rsa::KeyPair) -> Result<Vec<u8>, Error> {
    let algorithm = AlgorithmIdentifierOwned::from_der(RSASSA_PSS_SHA384)?;
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
    let mut signature = vec![0; issuer.public_modulus_len()];
    issuer
        .sign(&RSA_PSS_SHA384, &SystemRandom::new(), &tbs.to_der()?, &mut signature)
        .map_err(|_| Error::Crypto { action: "sign a certificate" })?;
    Ok(Certificate { tbs, algorithm, signature: BitString::from_bytes(&signature)? }.to_der()?)
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

/// Extensions of an authority; `path_length` is how many authorities may follow.
pub(crate) fn authority(path_length: Option<u8>, revokes: bool) -> Result<Vec<Extension>, Error> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: path_length };
    let usage = if revokes {
        KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)
    } else {
        KeyUsage(KeyUsages::KeyCertSign.into())
    };
    Ok(vec![
        Extension {
            extn_id: BASIC_CONSTRAINTS,
            critical: true,
            extn_value: OctetString::new(constraints.to_der()?)?,
        },
        Extension { extn_id: KEY_USAGE, critical: true, extn_value: OctetString::new(usage.to_der()?)? },
    ])
}

/// An extension of AMD's: not critical, its content as it is.
pub(crate) fn extension(identifier: ObjectIdentifier, content: Vec<u8>) -> Result<Extension, Error> {
    Ok(Extension { extn_id: identifier, critical: false, extn_value: OctetString::new(content)? })
}

/// From yesterday, for clocks that disagree, to `years` from now.
fn validity(years: u64) -> Result<Validity, Error> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
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

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");

/// `AlgorithmIdentifier` of id-RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes
/// (RFC 4055 §3.1), as in AMD's certificates.
const RSASSA_PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f,
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c,
    0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09,
    0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];
