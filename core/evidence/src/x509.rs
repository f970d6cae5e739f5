//! What does this certificate, or this revocation list, say?
//!
//! Source: RFC 5280. Whatever profile a vendor adds stands in the vendor's module. Nothing here checks
//! a signature.

use std::ops::Range;

use casemate_crypto::hash::{Sha256, sha256};
use casemate_crypto::{P384PublicKey, hash};
use der::oid::ObjectIdentifier;
use der::{Decode as _, Encode as _, Reader as _};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::time::Time;

/// A certificate, well formed; nothing about its signature is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Range<usize>,
    fields: x509_cert::Certificate,
    public_key: PublicKey,
    public_key_digest: hash::Sha256,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
}

/// A public key of a kind that endorsements use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKey {
    /// ECDSA on P-384.
    P384(P384PublicKey),
    /// RSA; both numbers big-endian without leading zeros.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
    },
}

/// A certificate revocation list, well formed; nothing about its signature is known.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
    signed: Range<usize>,
    issuer: Name,
    this_update_ms: u64,
    next_update_ms: u64,
    revoked: Vec<Vec<u8>>,
    signature: Vec<u8>,
}

/// Why bytes are no certificate or revocation list that Casemate reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Larger than any certificate or list in use.
    #[error("{found} bytes, at most {maximum} are accepted; is this a single certificate or list?")]
    TooLong {
        /// Length in bytes.
        found: usize,
        /// Greatest length accepted.
        maximum: usize,
    },
    /// Not DER, trailing bytes, or another structure.
    #[error("not the expected DER structure: {0}; is it PEM, or another kind of file?")]
    Malformed(der::Error),
    /// Not PEM.
    #[error("not PEM: {0}; expected CERTIFICATE blocks and nothing else")]
    Pem(der::pem::Error),
    /// PEM of something else.
    #[error("a PEM block of another kind, expected CERTIFICATE")]
    PemLabel,
    /// More certificates than any chain has.
    #[error("more than {maximum} certificates; send one chain")]
    ChainTooLong {
        /// Greatest number accepted.
        maximum: usize,
    },
    /// Not version 3.
    #[error("the certificate is not of X.509 version 3")]
    Version,
    /// A signature algorithm other than RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a 48-byte salt.
    #[error(
        "signed with {found} or its parameters differ, expected RSASSA-PSS with SHA-384, MGF1-SHA-384 and salt 48"
    )]
    SignatureAlgorithm {
        /// Algorithm found.
        found: ObjectIdentifier,
    },
    /// Two different statements of the signature algorithm.
    #[error("the signed and the unsigned signature algorithm differ; the certificate was altered")]
    AlgorithmsDiffer,
    /// A public key that is neither P-384 nor RSA.
    #[error("public key of kind {found}, expected P-384 or RSA")]
    PublicKeyKind {
        /// Algorithm found.
        found: ObjectIdentifier,
    },
    /// A public key that does not have the shape of its kind.
    #[error("the public key does not have the shape of its kind (uncompressed P-384 point, or RSA numbers)")]
    PublicKeyShape,
    /// The same extension twice.
    #[error("extension {found} occurs twice")]
    DuplicateExtension {
        /// The extension.
        found: ObjectIdentifier,
    },
    /// A critical extension in a revocation list: it may limit what the list speaks of.
    #[error(
        "the revocation list has critical extension {found}, which Casemate does not know; fetch the full list"
    )]
    CriticalExtension {
        /// The extension.
        found: ObjectIdentifier,
    },
    /// A revocation list that never expires.
    #[error("the revocation list has no next update; its age cannot be judged")]
    NoNextUpdate,
}

impl Certificate {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 16 * 1024;

    /// Reads one DER certificate.
    ///
    /// # Errors
    /// Every variant of [`Error`] but those of PEM and revocation lists.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        check_length(bytes, Self::MAXIMUM_LEN)?;
        let fields = x509_cert::Certificate::from_der(bytes).map_err(Error::Malformed)?;
        let tbs = fields.tbs_certificate();
        if tbs.version() != x509_cert::Version::V3 {
            return Err(Error::Version);
        }
        check_signature_algorithm(fields.signature_algorithm(), tbs.signature())?;
        let extensions = tbs.extensions().map_or(&[][..], |list| list.as_slice());
        for (index, extension) in extensions.iter().enumerate() {
            if extensions[..index].iter().any(|earlier| earlier.extn_id == extension.extn_id) {
                return Err(Error::DuplicateExtension { found: extension.extn_id });
            }
        }
        let spki = tbs.subject_public_key_info();
        let public_key = read_public_key(spki)?;
        let public_key_digest = sha256(&spki.to_der().map_err(Error::Malformed)?);
        let basic_constraints = read_extension(extensions)?;
        let key_usage = read_extension(extensions)?;
        Ok(Self {
            der: bytes.to_vec(),
            signed: first_element(bytes).map_err(Error::Malformed)?,
            public_key,
            public_key_digest,
            basic_constraints,
            key_usage,
            fields,
        })
    }

    /// Reads a PEM file of at most 8 certificates, in its order.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`Error::Pem`], [`Error::PemLabel`], [`Error::ChainTooLong`].
    pub fn parse_pem(text: &str) -> Result<Vec<Self>, Error> {
        const END: &str = "-----END CERTIFICATE-----";
        const MAXIMUM: usize = 8;
        let mut certificates = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if certificates.len() == MAXIMUM {
                return Err(Error::ChainTooLong { maximum: MAXIMUM });
            }
            let end = rest.find(END).ok_or(Error::PemLabel)? + END.len();
            let (label, der) = der::pem::decode_vec(&rest.as_bytes()[..end]).map_err(Error::Pem)?;
            if label != "CERTIFICATE" {
                return Err(Error::PemLabel);
            }
            certificates.push(Self::parse(&der)?);
            rest = rest[end..].trim_start();
        }
        Ok(certificates)
    }

    /// The DER bytes.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The bytes that the signature covers (`tbsCertificate`).
    pub fn signed_bytes(&self) -> &[u8] {
        &self.der[self.signed.clone()]
    }

    /// The signature: RSASSA-PSS with SHA-384.
    pub fn signature(&self) -> &[u8] {
        self.fields.signature().raw_bytes()
    }

    /// The subject's key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// SHA-256 of the DER `SubjectPublicKeyInfo`: names the key, whichever certificate carries it.
    pub fn public_key_digest(&self) -> Sha256 {
        self.public_key_digest
    }

    /// The subject.
    pub fn subject(&self) -> &Name {
        self.fields.tbs_certificate().subject()
    }

    /// The issuer.
    pub fn issuer(&self) -> &Name {
        self.fields.tbs_certificate().issuer()
    }

    /// Common name of the subject, or an empty string.
    pub fn subject_common_name(&self) -> String {
        common_name(self.subject())
    }

    /// Common name of the issuer, or an empty string.
    pub fn issuer_common_name(&self) -> String {
        common_name(self.issuer())
    }

    /// Serial number, big-endian without leading zeros.
    pub fn serial_number(&self) -> &[u8] {
        self.fields.tbs_certificate().serial_number().as_bytes()
    }

    /// First moment of validity, in milliseconds since 1970.
    pub fn not_before_ms(&self) -> u64 {
        unix_ms(self.fields.tbs_certificate().validity().not_before)
    }

    /// Last moment of validity, in milliseconds since 1970.
    pub fn not_after_ms(&self) -> u64 {
        unix_ms(self.fields.tbs_certificate().validity().not_after)
    }

    /// Whether the subject may issue certificates: basic constraints say CA and key usage says
    /// certificate signing.
    pub fn may_sign_certificates(&self) -> bool {
        self.basic_constraints.as_ref().is_some_and(|constraints| constraints.ca)
            && self.key_usage.is_some_and(|usage| usage.0.contains(KeyUsages::KeyCertSign))
    }

    /// Whether key usage lets the subject sign revocation lists.
    pub fn may_sign_revocation_lists(&self) -> bool {
        self.key_usage.is_some_and(|usage| usage.0.contains(KeyUsages::CRLSign))
    }

    /// How many intermediate authorities may follow below this one; `None` without a limit.
    pub fn path_length(&self) -> Option<u8> {
        self.basic_constraints.as_ref().and_then(|constraints| constraints.path_len_constraint)
    }

    /// The first critical extension other than basic constraints and key usage.
    pub fn unknown_critical_extension(&self) -> Option<ObjectIdentifier> {
        use der::oid::AssociatedOid as _;
        let known = [BasicConstraints::OID, KeyUsage::OID];
        self.extensions().find_map(|(id, critical, _)| (critical && !known.contains(&id)).then_some(id))
    }

    /// The extensions in their order: identifier, whether critical, content of the octet string.
    pub fn extensions(&self) -> impl Iterator<Item = (ObjectIdentifier, bool, &[u8])> {
        self.fields
            .tbs_certificate()
            .extensions()
            .into_iter()
            .flatten()
            .map(|extension| (extension.extn_id, extension.critical, extension.extn_value.as_bytes()))
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject_common_name())
            .field("issuer", &self.issuer_common_name())
            .field("public_key_digest", &self.public_key_digest)
            .finish_non_exhaustive()
    }
}

impl RevocationList {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 64 * 1024;

    /// Reads one DER revocation list.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Malformed`], [`Error::SignatureAlgorithm`],
    /// [`Error::AlgorithmsDiffer`], [`Error::CriticalExtension`], [`Error::NoNextUpdate`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        check_length(bytes, Self::MAXIMUM_LEN)?;
        let list: x509_cert::crl::CertificateList =
            x509_cert::crl::CertificateList::from_der(bytes).map_err(Error::Malformed)?;
        let tbs = list.tbs_cert_list;
        check_signature_algorithm(&list.signature_algorithm, &tbs.signature)?;
        let entries = tbs.revoked_certificates.iter().flatten();
        let of_entries = entries.flat_map(|entry| entry.crl_entry_extensions.iter().flatten());
        let mut extensions = tbs.crl_extensions.iter().flatten().chain(of_entries);
        // RFC 5280 §5.2: a list with an unknown critical extension must not be used.
        if let Some(unknown) = extensions.find(|extension| extension.critical) {
            return Err(Error::CriticalExtension { found: unknown.extn_id });
        }
        Ok(Self {
            der: bytes.to_vec(),
            signed: first_element(bytes).map_err(Error::Malformed)?,
            issuer: tbs.issuer,
            this_update_ms: unix_ms(tbs.this_update),
            next_update_ms: unix_ms(tbs.next_update.ok_or(Error::NoNextUpdate)?),
            revoked: tbs
                .revoked_certificates
                .into_iter()
                .flatten()
                .map(|entry| entry.serial_number.as_bytes().to_vec())
                .collect(),
            signature: list.signature.raw_bytes().to_vec(),
        })
    }

    /// The DER bytes.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The bytes that the signature covers (`tbsCertList`).
    pub fn signed_bytes(&self) -> &[u8] {
        &self.der[self.signed.clone()]
    }

    /// The signature: RSASSA-PSS with SHA-384.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Who issued the list.
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// Common name of the issuer, or an empty string.
    pub fn issuer_common_name(&self) -> String {
        common_name(&self.issuer)
    }

    /// When the list was made, in milliseconds since 1970.
    pub fn this_update_ms(&self) -> u64 {
        self.this_update_ms
    }

    /// When the next list is due, in milliseconds since 1970.
    pub fn next_update_ms(&self) -> u64 {
        self.next_update_ms
    }

    /// Serial numbers of revoked certificates, big-endian without leading zeros.
    pub fn revoked(&self) -> impl Iterator<Item = &[u8]> {
        self.revoked.iter().map(Vec::as_slice)
    }
}

impl std::fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationList")
            .field("issuer", &self.issuer_common_name())
            .field("revoked", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

fn check_length(bytes: &[u8], maximum: usize) -> Result<(), Error> {
    if bytes.len() > maximum { Err(Error::TooLong { found: bytes.len(), maximum }) } else { Ok(()) }
}

/// Where the first element inside the outer sequence lies: what the signature covers.
fn first_element(bytes: &[u8]) -> Result<Range<usize>, der::Error> {
    let mut reader = der::SliceReader::new(bytes)?;
    der::Header::decode(&mut reader)?;
    let start = usize::try_from(reader.position())?;
    reader.tlv_bytes()?;
    Ok(start..usize::try_from(reader.position())?)
}

fn check_signature_algorithm(
    outer: &x509_cert::spki::AlgorithmIdentifierOwned,
    inner: &x509_cert::spki::AlgorithmIdentifierOwned,
) -> Result<(), Error> {
    if outer != inner {
        return Err(Error::AlgorithmsDiffer);
    }
    let refused = Error::SignatureAlgorithm { found: outer.oid };
    let parameters = match &outer.parameters {
        Some(parameters) if outer.oid == RSASSA_PSS => parameters.to_der().map_err(Error::Malformed)?,
        _ => return Err(refused),
    };
    if [&PSS_SHA384[..], &PSS_SHA384_EXPLICIT_TRAILER[..]].contains(&parameters.as_slice()) {
        Ok(())
    } else {
        Err(refused)
    }
}

fn read_public_key(spki: &x509_cert::spki::SubjectPublicKeyInfoOwned) -> Result<PublicKey, Error> {
    let bits = spki.subject_public_key.as_bytes().ok_or(Error::PublicKeyShape)?;
    match spki.algorithm.oid {
        EC_PUBLIC_KEY => {
            let curve =
                spki.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            match (curve, bits) {
                (Some(SECP384R1), [0x04, point @ ..]) if point.len() == P384PublicKey::LEN => {
                    Ok(PublicKey::P384(P384PublicKey::try_from(point).map_err(|_| Error::PublicKeyShape)?))
                }
                _ => Err(Error::PublicKeyShape),
            }
        }
        RSA_ENCRYPTION => {
            let (modulus, exponent) = read_rsa_key(bits).map_err(|_| Error::PublicKeyShape)?;
            Ok(PublicKey::Rsa { modulus, exponent })
        }
        found => Err(Error::PublicKeyKind { found }),
    }
}

/// RFC 8017 A.1.1, RSAPublicKey.
fn read_rsa_key(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), der::Error> {
    let mut reader = der::SliceReader::new(bytes)?;
    let numbers = reader.sequence(|sequence| {
        let modulus = der::asn1::UintRef::decode(sequence)?;
        let exponent = der::asn1::UintRef::decode(sequence)?;
        Ok::<_, der::Error>((modulus.as_bytes().to_vec(), exponent.as_bytes().to_vec()))
    })?;
    reader.finish()?;
    Ok(numbers)
}

fn read_extension<'a, T>(extensions: &'a [x509_cert::ext::Extension]) -> Result<Option<T>, Error>
where
    T: der::Decode<'a, Error = der::Error> + der::oid::AssociatedOid,
{
    extensions
        .iter()
        .find(|extension| extension.extn_id == T::OID)
        .map(|extension| T::from_der(extension.extn_value.as_bytes()))
        .transpose()
        .map_err(Error::Malformed)
}

fn common_name(name: &Name) -> String {
    let found = name.common_name().ok().flatten();
    found.map(|text| text.value().into_owned()).unwrap_or_default()
}

fn unix_ms(time: Time) -> u64 {
    u64::try_from(time.to_unix_duration().as_millis()).unwrap_or(u64::MAX)
}

const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// RSASSA-PSS-params (RFC 4055 §3.1): SHA-384, MGF1 with SHA-384, salt of 48 bytes.
const PSS_SHA384: [u8; 54] = [
    0x30, 0x34, 0xA0, 0x0F, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02,
    0x05, 0x00, 0xA1, 0x1C, 0x30, 0x1A, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x08,
    0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xA2, 0x03,
    0x02, 0x01, 0x30,
];

/// The same with the default trailer field written out, which DER forbids and AMD's older
/// certificates do.
const PSS_SHA384_EXPLICIT_TRAILER: [u8; 59] = {
    let mut bytes = [0; 59];
    let mut index = 0;
    while index < PSS_SHA384.len() {
        bytes[index] = PSS_SHA384[index];
        index += 1;
    }
    bytes[1] = 0x39;
    bytes[54] = 0xA3;
    bytes[55] = 0x03;
    bytes[56] = 0x02;
    bytes[57] = 0x01;
    bytes[58] = 0x01;
    bytes
};
