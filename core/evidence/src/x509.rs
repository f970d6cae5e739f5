//! What does this certificate, or this revocation list, say?
//!
//! Source: RFC 5280. Whatever profile a vendor adds stands in the vendor's module. Nothing here checks
//! a signature.

use std::ops::Range;

use casemate_crypto::hash::{HashAlgorithm, Sha256, sha256};
use casemate_crypto::{P384PublicKey, hash, sign};
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
    signature_algorithm: SignatureAlgorithm,
    public_key: PublicKey,
    public_key_digest: hash::Sha256,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
}

/// A public key of a kind that endorsements use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKey {
    /// ECDSA on P-256.
    P256(sign::PublicKey),
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

/// How a certificate or a revocation list is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 4055 §5). With SHA-1 in certificates of old TPMs only.
    RsaPkcs1(HashAlgorithm),
    /// RSASSA-PSS, MGF1 with the same hash function, salt of the digest's length (RFC 4055 §3.1).
    RsaPss(HashAlgorithm),
    /// ECDSA (RFC 5758 §3.2); the signature is an Ecdsa-Sig-Value.
    Ecdsa(HashAlgorithm),
}

/// What devices do although DER forbids it; see [`Certificate::parse_from_device`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oddities {
    /// Parts of a relative distinguished name are not in DER's order (Nuvoton's roots of 2012 to 2017).
    pub unordered_name: bool,
    /// How many bytes of padding follow the certificate, all 0x00 or all 0xFF (TPM NV indices).
    pub padding_len: usize,
}

/// A certificate revocation list, well formed; nothing about its signature is known.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
    signed: Range<usize>,
    issuer: Name,
    this_update_ms: u64,
    next_update_ms: u64,
    number: Option<u128>,
    revoked: Vec<Vec<u8>>,
    signature_algorithm: SignatureAlgorithm,
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
    /// A signature algorithm, or parameters of one, that no endorsement uses.
    #[error(
        "signed with {found} or its parameters differ, expected RSASSA-PKCS1-v1_5, ECDSA with SHA-2, or \
         RSASSA-PSS with SHA-384, MGF1-SHA-384 and salt 48"
    )]
    SignatureAlgorithm {
        /// Algorithm found.
        found: ObjectIdentifier,
    },
    /// Two different statements of the signature algorithm.
    #[error("the signed and the unsigned signature algorithm differ; the certificate was altered")]
    AlgorithmsDiffer,
    /// A public key that is none of P-256, P-384 and RSA.
    #[error("public key of kind {found}, expected P-256, P-384 or RSA")]
    PublicKeyKind {
        /// Algorithm found.
        found: ObjectIdentifier,
    },
    /// A public key that does not have the shape of its kind.
    #[error("the public key does not have the shape of its kind (uncompressed point, or RSA numbers)")]
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

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Malformed`], [`Error::PublicKeyKind`], [`Error::PublicKeyShape`].
    pub fn parse_spki(bytes: &[u8]) -> Result<Self, Error> {
        check_length(bytes, Certificate::MAXIMUM_LEN)?;
        let spki = x509_cert::spki::SubjectPublicKeyInfoOwned::from_der(bytes).map_err(Error::Malformed)?;
        read_public_key(&spki)
    }

    /// The DER `SubjectPublicKeyInfo`, as [`parse_spki`](Self::parse_spki) reads it and certificates carry it.
    pub fn to_spki(&self) -> Vec<u8> {
        let (algorithm, bits) = match self {
            PublicKey::P256(key) => (EC_P256.to_vec(), [&[4], &key.as_bytes()[..]].concat()),
            PublicKey::P384(key) => (EC_P384.to_vec(), [&[4], &key.as_bytes()[..]].concat()),
            PublicKey::Rsa { modulus, exponent } => {
                let number = |bytes| der::asn1::UintRef::new(bytes).and_then(|number| number.to_der());
                let numbers =
                    [number(modulus), number(exponent)].map(|number| number.expect("numbers encode"));
                (RSA_NUMBERS.to_vec(), tlv(0x30, &numbers.concat()))
            }
        };
        let unused_bits = 0;
        tlv(0x30, &[algorithm, tlv(0x03, &[&[unused_bits], bits.as_slice()].concat())].concat())
    }

    /// SHA-256 of the DER `SubjectPublicKeyInfo`: names the key, whoever carries it.
    pub fn digest(&self) -> Sha256 {
        sha256(&self.to_spki())
    }

    /// What the bit string of a DER `SubjectPublicKeyInfo` holds: the bytes that name a key by their SHA-1
    /// (RFC 5280 §4.2.1.2, method 1).
    pub fn key_bits_of_spki(bytes: &[u8]) -> Option<Vec<u8>> {
        let spki = x509_cert::spki::SubjectPublicKeyInfoOwned::from_der(bytes).ok()?;
        spki.subject_public_key.as_bytes().map(<[u8]>::to_vec)
    }
}

/// Tag, length and content (X.690 §8.1).
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        short @ 0..128 => bytes.push(short as u8),
        long => {
            let length: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            bytes.push(0x80 | length.len() as u8);
            bytes.extend(length);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// AlgorithmIdentifier of id-ecPublicKey with secp256r1 (RFC 5480 §2.1.1).
const EC_P256: [u8; 21] =
    [0x30, 19, 6, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
/// AlgorithmIdentifier of id-ecPublicKey with secp384r1.
const EC_P384: [u8; 18] = [0x30, 16, 6, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 6, 5, 0x2B, 0x81, 4, 0, 0x22];
/// AlgorithmIdentifier of rsaEncryption (RFC 4055 §1.2).
const RSA_NUMBERS: [u8; 15] = [0x30, 13, 6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 5, 0];

impl Certificate {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 16 * 1024;

    /// Reads one DER certificate.
    ///
    /// # Errors
    /// Every variant of [`Error`] but those of PEM and revocation lists.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        check_length(bytes, Self::MAXIMUM_LEN)?;
        let certificate = Self::read(bytes)?;
        // The library reads names in any order; DER has one.
        match names_are_ordered(bytes) {
            Ok(true) => Ok(certificate),
            Ok(false) => Err(Error::Malformed(der::ErrorKind::SetOrdering.into())),
            Err(error) => Err(Error::Malformed(error)),
        }
    }

    /// Reads one certificate as devices carry it, and says how it departs from DER: padding after it, or
    /// names in another order. The signature still covers the bytes as they are.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_from_device(bytes: &[u8]) -> Result<(Self, Oddities), Error> {
        check_length(bytes, Self::MAXIMUM_LEN)?;
        let end = first_len(bytes).map_err(Error::Malformed)?;
        let (bytes, padding) = bytes.split_at(end);
        if let Some(trailing) = padding.first() {
            let uniform = [0x00, 0xFF].contains(trailing) && padding.iter().all(|byte| byte == trailing);
            if !uniform {
                let decoded = der::Length::try_from(end).map_err(Error::Malformed)?;
                let remaining = der::Length::try_from(padding.len()).map_err(Error::Malformed)?;
                return Err(Error::Malformed(der::ErrorKind::TrailingData { decoded, remaining }.into()));
            }
        }
        let unordered_name = !names_are_ordered(bytes).map_err(Error::Malformed)?;
        let oddities = Oddities { unordered_name, padding_len: padding.len() };
        Ok((Self::read(bytes)?, oddities))
    }

    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let fields = x509_cert::Certificate::from_der(bytes).map_err(Error::Malformed)?;
        let tbs = fields.tbs_certificate();
        if tbs.version() != x509_cert::Version::V3 {
            return Err(Error::Version);
        }
        let signature_algorithm = read_signature_algorithm(fields.signature_algorithm(), tbs.signature())?;
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
            signature_algorithm,
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
        pem_blocks(text, 8)?.iter().map(|der| Self::parse(der)).collect()
    }

    /// Reads a PEM file of at most 64 certificates as vendors of TPMs publish them, each as
    /// [`parse_from_device`](Self::parse_from_device) reads it.
    ///
    /// # Errors
    /// As [`parse_pem`](Self::parse_pem).
    pub fn parse_pem_from_device(text: &str) -> Result<Vec<Self>, Error> {
        pem_blocks(text, 64)?.iter().map(|der| Self::parse_from_device(der).map(|(one, _)| one)).collect()
    }

    /// The DER bytes.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The bytes that the signature covers (`tbsCertificate`).
    pub fn signed_bytes(&self) -> &[u8] {
        &self.der[self.signed.clone()]
    }

    /// How it is signed; the signed and the unsigned statement agree.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm
    }

    /// The signature, in the form that its algorithm asks for.
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

    /// The DER `SubjectPublicKeyInfo`.
    pub fn public_key_info(&self) -> Vec<u8> {
        let spki = self.fields.tbs_certificate().subject_public_key_info();
        spki.to_der().expect("what was read from DER can be written")
    }

    /// The subject key identifier, if it is stated.
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        let octets = self.extension(SUBJECT_KEY_IDENTIFIER)?;
        content(octets, &(0..octets.len())).ok().map(|range| &octets[range])
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
        self.critical_extension_beyond(&[BasicConstraints::OID, KeyUsage::OID])
    }

    /// The first critical extension that is not one of `known`.
    pub fn critical_extension_beyond(&self, known: &[ObjectIdentifier]) -> Option<ObjectIdentifier> {
        self.extensions().find_map(|(id, critical, _)| (critical && !known.contains(&id)).then_some(id))
    }

    /// Whether basic constraints say that the subject is an authority, whatever key usage says.
    pub fn is_authority(&self) -> bool {
        self.basic_constraints.as_ref().is_some_and(|constraints| constraints.ca)
    }

    /// Whether key usage lets the subject sign data; `None` if there is no key usage.
    pub fn may_sign_data(&self) -> Option<bool> {
        self.key_usage.map(|usage| usage.0.contains(KeyUsages::DigitalSignature))
    }

    /// Content of the extension `id`.
    pub fn extension(&self, id: ObjectIdentifier) -> Option<&[u8]> {
        self.extensions().find_map(|(found, _, content)| (found == id).then_some(content))
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
        let signature_algorithm = read_signature_algorithm(&list.signature_algorithm, &tbs.signature)?;
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
            number: read_number(tbs.crl_extensions.as_deref().unwrap_or_default())?,
            revoked: tbs
                .revoked_certificates
                .into_iter()
                .flatten()
                .map(|entry| entry.serial_number.as_bytes().to_vec())
                .collect(),
            signature_algorithm,
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

    /// How it is signed.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm
    }

    /// The signature, in the form that its algorithm asks for.
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

    /// The list's number, which rises with each list of its issuer (RFC 5280 §5.2.3); one of more than 128
    /// bits counts as the greatest.
    pub fn number(&self) -> Option<u128> {
        self.number
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

/// The DER of each certificate in a PEM file.
fn pem_blocks(text: &str, maximum: usize) -> Result<Vec<Vec<u8>>, Error> {
    const END: &str = "-----END CERTIFICATE-----";
    let mut blocks = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if blocks.len() == maximum {
            return Err(Error::ChainTooLong { maximum });
        }
        let end = rest.find(END).ok_or(Error::PemLabel)? + END.len();
        // Lines of 76 digits, as in MIME, are seen besides those of RFC 7468.
        let mut block = der::pem::Decoder::new_detect_wrap(&rest.as_bytes()[..end]).map_err(Error::Pem)?;
        if block.type_label() != "CERTIFICATE" {
            return Err(Error::PemLabel);
        }
        let mut der = Vec::new();
        block.decode_to_end(&mut der).map_err(Error::Pem)?;
        blocks.push(der);
        rest = rest[end..].trim_start();
    }
    Ok(blocks)
}

fn check_length(bytes: &[u8], maximum: usize) -> Result<(), Error> {
    if bytes.len() > maximum { Err(Error::TooLong { found: bytes.len(), maximum }) } else { Ok(()) }
}

/// Length of the one element at the beginning of `bytes`.
fn first_len(bytes: &[u8]) -> Result<usize, der::Error> {
    let mut reader = der::SliceReader::new(bytes)?;
    reader.tlv_bytes()?;
    usize::try_from(reader.position())
}

/// Where the content of the element at `outer` lies.
pub(crate) fn content(der: &[u8], outer: &Range<usize>) -> Result<Range<usize>, der::Error> {
    let mut reader = der::SliceReader::new(&der[outer.clone()])?;
    der::Header::decode(&mut reader)?;
    Ok(outer.start + usize::try_from(reader.position())?..outer.end)
}

/// Where each element inside the constructed element at `outer` lies.
pub(crate) fn elements(der: &[u8], outer: &Range<usize>) -> Result<Vec<Range<usize>>, der::Error> {
    let mut reader = der::SliceReader::new(&der[outer.clone()])?;
    der::Header::decode(&mut reader)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        let start = outer.start + usize::try_from(reader.position())?;
        reader.tlv_bytes()?;
        found.push(start..outer.start + usize::try_from(reader.position())?);
    }
    Ok(found)
}

/// Whether the parts of the issuer's and the subject's names are in DER's order (X.690 §11.6).
fn names_are_ordered(certificate: &[u8]) -> Result<bool, der::Error> {
    let signed = elements(certificate, &first_element(certificate)?)?;
    // TBSCertificate of version 3 (RFC 5280 §4.1): version, serial number, signature, issuer, validity, subject.
    for name in [signed.get(3), signed.get(5)].into_iter().flatten() {
        for part in elements(certificate, name)? {
            if !elements(certificate, &part)?.is_sorted_by_key(|at| &certificate[at.clone()]) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Where the first element inside the outer sequence lies: what the signature covers.
fn first_element(bytes: &[u8]) -> Result<Range<usize>, der::Error> {
    let mut reader = der::SliceReader::new(bytes)?;
    der::Header::decode(&mut reader)?;
    let start = usize::try_from(reader.position())?;
    reader.tlv_bytes()?;
    Ok(start..usize::try_from(reader.position())?)
}

fn read_signature_algorithm(
    outer: &x509_cert::spki::AlgorithmIdentifierOwned,
    inner: &x509_cert::spki::AlgorithmIdentifierOwned,
) -> Result<SignatureAlgorithm, Error> {
    if outer != inner {
        return Err(Error::AlgorithmsDiffer);
    }
    let refused = Error::SignatureAlgorithm { found: outer.oid };
    let parameters = outer.parameters.as_ref().map(der::Encode::to_der).transpose();
    let parameters = parameters.map_err(Error::Malformed)?;
    if outer.oid == RSASSA_PSS {
        let known = [&PSS_SHA384[..], &PSS_SHA384_EXPLICIT_TRAILER[..]];
        let matches = parameters.is_some_and(|parameters| known.contains(&parameters.as_slice()));
        return if matches { Ok(SignatureAlgorithm::RsaPss(HashAlgorithm::Sha384)) } else { Err(refused) };
    }
    // RFC 4055 §5 asks for NULL, RFC 5758 §3.2 for nothing.
    let found = SIGNATURE_ALGORITHMS.iter().find(|(id, _)| *id == outer.oid).map(|(_, algorithm)| *algorithm);
    match (found, parameters.as_deref()) {
        (Some(algorithm @ SignatureAlgorithm::RsaPkcs1(_)), Some([0x05, 0x00])) => Ok(algorithm),
        (Some(algorithm @ SignatureAlgorithm::Ecdsa(_)), None) => Ok(algorithm),
        _ => Err(refused),
    }
}

fn read_public_key(spki: &x509_cert::spki::SubjectPublicKeyInfoOwned) -> Result<PublicKey, Error> {
    let bits = spki.subject_public_key.as_bytes().ok_or(Error::PublicKeyShape)?;
    match spki.algorithm.oid {
        EC_PUBLIC_KEY => {
            let curve =
                spki.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            match (curve, bits) {
                (Some(SECP256R1), [0x04, point @ ..]) if point.len() == sign::PublicKey::LEN => {
                    Ok(PublicKey::P256(sign::PublicKey::try_from(point).map_err(|_| Error::PublicKeyShape)?))
                }
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

fn read_number(extensions: &[x509_cert::ext::Extension]) -> Result<Option<u128>, Error> {
    let Some(found) = extensions.iter().find(|extension| extension.extn_id == CRL_NUMBER) else {
        return Ok(None);
    };
    let number = der::asn1::UintRef::from_der(found.extn_value.as_bytes()).map_err(Error::Malformed)?;
    let bytes = number.as_bytes();
    let fits = bytes.len() <= size_of::<u128>();
    let value = bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte));
    Ok(Some(if fits { value } else { u128::MAX }))
}

fn common_name(name: &Name) -> String {
    let found = name.common_name().ok().flatten();
    found.map(|text| text.value().into_owned()).unwrap_or_default()
}

fn unix_ms(time: Time) -> u64 {
    u64::try_from(time.to_unix_duration().as_millis()).unwrap_or(u64::MAX)
}

const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// RFC 3279 §2.2.1, RFC 4055 §5 and RFC 5758 §3.2.
const SIGNATURE_ALGORITHMS: [(ObjectIdentifier, SignatureAlgorithm); 7] = {
    use HashAlgorithm::{Sha1, Sha256, Sha384, Sha512};
    use SignatureAlgorithm::{Ecdsa, RsaPkcs1};
    [
        (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"), RsaPkcs1(Sha1)),
        (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"), RsaPkcs1(Sha256)),
        (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"), RsaPkcs1(Sha384)),
        (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"), RsaPkcs1(Sha512)),
        (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"), Ecdsa(Sha256)),
        (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"), Ecdsa(Sha384)),
        (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"), Ecdsa(Sha512)),
    ]
};

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
