//! What does an attestation document of AWS say?
//!
//! Of a Nitro enclave (from its Nitro Security Module) or of an EC2 instance (NitroTPM): COSE_Sign1 (RFC 9052
//! §4.2) over a CBOR map. Sources: AWS Nitro Enclaves user guide, "Verifying the root of trust"; EC2 user
//! guide, "Validate a NitroTPM Attestation Document".

use std::collections::BTreeMap;

use minicbor::Decoder;
use minicbor::data::Type;
use serde::Serialize;

/// An attestation document, well formed; it proves nothing until its signature and its chain are verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    protected: Vec<u8>,
    payload: Vec<u8>,
    signature: [u8; 96],
    /// Whose registers it states.
    pub kind: Kind,
    /// module_id: the instance, and the enclave in it.
    pub module_id: String,
    /// timestamp: when the document was made, in milliseconds since 1970, by the hypervisor's clock.
    pub timestamp_ms: u64,
    /// PCRs by index, 32, 48 or 64 bytes each.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// DER certificate of the key that signed the document.
    pub certificate: Vec<u8>,
    /// DER certificates above it, from the root down.
    pub cabundle: Vec<Vec<u8>>,
    /// A key that the attested software chose; at most 1024 bytes.
    pub public_key: Option<Vec<u8>>,
    /// Bytes that it chose; at most 512.
    pub user_data: Option<Vec<u8>>,
    /// The Verifier's nonce as the attested software passed it on; at most 512 bytes.
    pub nonce: Option<Vec<u8>>,
}

/// Whose registers a document states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An enclave's (`pcrs`): PCR 0 its image, PCR 1 kernel and boot, PCR 2 application, PCR 3 and 4 role and
    /// instance of its parent, PCR 8 the certificate that signed the image.
    Enclave,
    /// An EC2 instance's (`nitrotpm_pcrs`): as a TPM's.
    Instance,
}

/// Why bytes are no attestation document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Larger than any document.
    #[error("{found} bytes, at most {} are accepted", Document::MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// Not the CBOR of a COSE_Sign1.
    #[error("not a COSE_Sign1: {expected} was expected at byte {offset}")]
    Cose {
        /// What was expected.
        expected: &'static str,
        /// Offset.
        offset: usize,
    },
    /// Protected header other than algorithm ES384 alone.
    #[error("the protected header is not {{1: -35}}: another algorithm than ES384, or more fields")]
    Algorithm,
    /// Something in the unprotected header, which nothing signs.
    #[error("the unprotected header is not empty; nothing signs what is in it")]
    Unprotected,
    /// A signature of another length.
    #[error("a signature of {found} bytes, expected 96")]
    SignatureLength {
        /// Length in bytes.
        found: usize,
    },
    /// Bytes behind the document.
    #[error("{found} bytes follow the {part}")]
    Trailing {
        /// Behind what.
        part: &'static str,
        /// How many.
        found: usize,
    },
    /// The payload is not the CBOR that it should be.
    #[error("the document's CBOR is broken at byte {offset}, in field {field:?}")]
    Payload {
        /// Which field, or empty.
        field: &'static str,
        /// Offset in the payload.
        offset: usize,
    },
    /// A field that no document has.
    #[error("field {found:?} is unknown; update Casemate")]
    UnknownField {
        /// Its name.
        found: String,
    },
    /// A field twice.
    #[error("field {field:?} occurs twice")]
    DuplicateField {
        /// Its name.
        field: &'static str,
    },
    /// A field that every document has.
    #[error("field {field:?} is missing")]
    MissingField {
        /// Its name.
        field: &'static str,
    },
    /// A field that is empty or too long.
    #[error("field {field:?} has {found} bytes or entries, expected {minimum} to {maximum}")]
    Size {
        /// Its name.
        field: &'static str,
        /// What it has.
        found: usize,
        /// At least.
        minimum: usize,
        /// At most.
        maximum: usize,
    },
    /// A digest other than SHA-384.
    #[error("PCRs of digest {found:?}, expected \"SHA384\"")]
    Digest {
        /// The field.
        found: String,
    },
    /// A PCR index that does not exist, or one that occurs twice.
    #[error("PCR {found} does not exist or occurs twice")]
    PcrIndex {
        /// The index.
        found: u64,
    },
    /// A PCR of a length that no digest has.
    #[error("PCR {index} has {found} bytes, expected 32, 48 or 64")]
    PcrLength {
        /// The index.
        index: u8,
        /// Length in bytes.
        found: usize,
    },
}

impl Document {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 64 * 1024;

    /// Reads a document, with or without COSE's tag.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let (document, used) = Self::parse_at_start(bytes)?;
        match bytes.len() - used {
            0 => Ok(document),
            found => Err(DocumentError::Trailing { part: "signature", found }),
        }
    }

    /// Reads the document with which `bytes` begin, and says how many bytes it has: dstack's agents write what
    /// they know besides behind it. Nothing signs what follows.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), but for bytes behind the document.
    pub fn parse_at_start(bytes: &[u8]) -> Result<(Self, usize), DocumentError> {
        if bytes.len() > Self::MAXIMUM_LEN {
            return Err(DocumentError::TooLong { found: bytes.len() });
        }
        let mut decoder = Decoder::new(bytes);
        let expected =
            |expected, decoder: &Decoder<'_>| DocumentError::Cose { expected, offset: decoder.position() };
        if matches!(decoder.datatype(), Ok(Type::Tag)) {
            const COSE_SIGN1: u64 = 18; // RFC 9052 §2
            if !matches!(decoder.tag(), Ok(tag) if tag.as_u64() == COSE_SIGN1) {
                return Err(expected("tag 18", &decoder));
            }
        }
        if !matches!(decoder.array(), Ok(Some(4))) {
            return Err(expected("an array of 4", &decoder));
        }
        let protected = decoder.bytes().map_err(|_| expected("a protected header", &decoder))?;
        if protected != PROTECTED_ES384 {
            return Err(DocumentError::Algorithm);
        }
        if decoder.map().map_err(|_| expected("an unprotected header", &decoder))? != Some(0) {
            return Err(DocumentError::Unprotected);
        }
        let payload = decoder.bytes().map_err(|_| expected("a payload", &decoder))?;
        let signature = decoder.bytes().map_err(|_| expected("a signature", &decoder))?;
        let signature =
            signature.try_into().map_err(|_| DocumentError::SignatureLength { found: signature.len() })?;
        let document = Fields::read(payload)?.finish(protected, payload, signature)?;
        Ok((document, decoder.position()))
    }

    /// The bytes that the signature covers: Sig_structure (RFC 9052 §4.4), without external data.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut encoder = minicbor::Encoder::new(Vec::with_capacity(self.payload.len() + 32));
        let encoded = encoder
            .array(4)
            .and_then(|encoder| encoder.str("Signature1"))
            .and_then(|encoder| encoder.bytes(&self.protected))
            .and_then(|encoder| encoder.bytes(&[]))
            .and_then(|encoder| encoder.bytes(&self.payload))
            .map(|_| ());
        encoded.expect("writing to memory does not fail");
        encoder.into_writer()
    }

    /// The signature: ECDSA on P-384, r and s.
    pub fn signature(&self) -> &[u8; 96] {
        &self.signature
    }

    /// Whether an enclave runs in debug mode, where its parent can read its memory: its first PCRs are zero.
    pub fn is_debug(&self) -> bool {
        let zero = |index| self.pcrs.get(&index).is_none_or(|value| value.iter().all(|byte| *byte == 0));
        self.kind == Kind::Enclave && (0..=2).all(zero)
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("kind", &self.kind)
            .field("module_id", &self.module_id)
            .field("timestamp_ms", &self.timestamp_ms)
            .finish_non_exhaustive()
    }
}

/// The fields as they come, each at most once.
#[derive(Default)]
struct Fields {
    module_id: Option<String>,
    digest: Option<String>,
    timestamp_ms: Option<u64>,
    pcrs: Option<(Kind, BTreeMap<u8, Vec<u8>>)>,
    certificate: Option<Vec<u8>>,
    cabundle: Option<Vec<Vec<u8>>>,
    public_key: Option<Option<Vec<u8>>>,
    user_data: Option<Option<Vec<u8>>>,
    nonce: Option<Option<Vec<u8>>>,
}

impl Fields {
    fn read(payload: &[u8]) -> Result<Self, DocumentError> {
        let mut decoder = Decoder::new(payload);
        let mut fields = Self::default();
        let mut names = Entries::new(&mut decoder, "")?;
        while names.next(&mut decoder)? {
            let offset = decoder.position();
            let name = decoder.str().map_err(|_| DocumentError::Payload { field: "", offset })?;
            let (field, first) = match name {
                "module_id" => {
                    ("module_id", set(&mut fields.module_id, text(&mut decoder, "module_id", 256)?))
                }
                "digest" => ("digest", set(&mut fields.digest, text(&mut decoder, "digest", 16)?)),
                "timestamp" => {
                    ("timestamp", set(&mut fields.timestamp_ms, number(&mut decoder, "timestamp")?))
                }
                "pcrs" => ("pcrs", set(&mut fields.pcrs, (Kind::Enclave, pcrs(&mut decoder, "pcrs")?))),
                "nitrotpm_pcrs" => {
                    let registers = pcrs(&mut decoder, "nitrotpm_pcrs")?;
                    ("nitrotpm_pcrs", set(&mut fields.pcrs, (Kind::Instance, registers)))
                }
                "certificate" => (
                    "certificate",
                    set(&mut fields.certificate, bytes(&mut decoder, "certificate", 1, 1024)?),
                ),
                "cabundle" => ("cabundle", set(&mut fields.cabundle, cabundle(&mut decoder)?)),
                "public_key" => {
                    ("public_key", set(&mut fields.public_key, optional(&mut decoder, "public_key", 1024)?))
                }
                "user_data" => {
                    ("user_data", set(&mut fields.user_data, optional(&mut decoder, "user_data", 512)?))
                }
                "nonce" => ("nonce", set(&mut fields.nonce, optional(&mut decoder, "nonce", 512)?)),
                other => {
                    let found = other.chars().take(32).collect();
                    return Err(DocumentError::UnknownField { found });
                }
            };
            if !first {
                return Err(DocumentError::DuplicateField { field });
            }
        }
        match payload.len() - decoder.position() {
            0 => Ok(fields),
            found => Err(DocumentError::Trailing { part: "payload", found }),
        }
    }

    fn finish(
        self,
        protected: &[u8],
        payload: &[u8],
        signature: [u8; 96],
    ) -> Result<Document, DocumentError> {
        fn required<T>(field: &'static str, value: Option<T>) -> Result<T, DocumentError> {
            value.ok_or(DocumentError::MissingField { field })
        }
        match required("digest", self.digest)? {
            digest if digest == "SHA384" => {}
            found => return Err(DocumentError::Digest { found }),
        }
        let (kind, pcrs) = required("pcrs", self.pcrs)?;
        Ok(Document {
            protected: protected.to_vec(),
            payload: payload.to_vec(),
            signature,
            kind,
            module_id: required("module_id", self.module_id)?,
            timestamp_ms: required("timestamp", self.timestamp_ms)?,
            pcrs,
            certificate: required("certificate", self.certificate)?,
            cabundle: required("cabundle", self.cabundle)?,
            public_key: self.public_key.flatten(),
            user_data: self.user_data.flatten(),
            nonce: self.nonce.flatten(),
        })
    }
}

/// Whether the field was empty before.
fn set<T>(field: &mut Option<T>, value: T) -> bool {
    field.replace(value).is_none()
}

/// Entries of a map or an array, of definite length or not: AWS writes both.
struct Entries {
    left: Option<u64>,
    field: &'static str,
}

impl Entries {
    fn new(decoder: &mut Decoder<'_>, field: &'static str) -> Result<Self, DocumentError> {
        let offset = decoder.position();
        let left = match decoder.datatype() {
            Ok(Type::Array | Type::ArrayIndef) => decoder.array(),
            _ => decoder.map(),
        };
        Ok(Self { left: left.map_err(|_| DocumentError::Payload { field, offset })?, field })
    }

    /// Whether another entry follows; the end of an indefinite list is taken.
    fn next(&mut self, decoder: &mut Decoder<'_>) -> Result<bool, DocumentError> {
        match &mut self.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None => {
                let (field, offset) = (self.field, decoder.position());
                let broken = |_| DocumentError::Payload { field, offset };
                if decoder.datatype().map_err(broken)? != Type::Break {
                    return Ok(true);
                }
                decoder.skip().map_err(broken)?;
                Ok(false)
            }
        }
    }
}

fn text(decoder: &mut Decoder<'_>, field: &'static str, maximum: usize) -> Result<String, DocumentError> {
    let offset = decoder.position();
    let text = decoder.str().map_err(|_| DocumentError::Payload { field, offset })?;
    check_size(field, text.len(), 1, maximum)?;
    Ok(text.to_owned())
}

fn number(decoder: &mut Decoder<'_>, field: &'static str) -> Result<u64, DocumentError> {
    let offset = decoder.position();
    decoder.u64().map_err(|_| DocumentError::Payload { field, offset })
}

fn bytes(
    decoder: &mut Decoder<'_>,
    field: &'static str,
    minimum: usize,
    maximum: usize,
) -> Result<Vec<u8>, DocumentError> {
    let offset = decoder.position();
    let bytes = decoder.bytes().map_err(|_| DocumentError::Payload { field, offset })?;
    check_size(field, bytes.len(), minimum, maximum)?;
    Ok(bytes.to_vec())
}

/// Bytes, or null.
fn optional(
    decoder: &mut Decoder<'_>,
    field: &'static str,
    maximum: usize,
) -> Result<Option<Vec<u8>>, DocumentError> {
    let offset = decoder.position();
    if matches!(decoder.datatype(), Ok(Type::Null)) {
        decoder.null().map_err(|_| DocumentError::Payload { field, offset })?;
        return Ok(None);
    }
    bytes(decoder, field, 0, maximum).map(Some)
}

fn cabundle(decoder: &mut Decoder<'_>) -> Result<Vec<Vec<u8>>, DocumentError> {
    const MAXIMUM: usize = 16;
    let mut entries = Entries::new(decoder, "cabundle")?;
    let mut certificates = Vec::new();
    while entries.next(decoder)? {
        check_size("cabundle", certificates.len() + 1, 1, MAXIMUM)?;
        certificates.push(bytes(decoder, "cabundle", 1, 1024)?);
    }
    check_size("cabundle", certificates.len(), 1, MAXIMUM)?;
    Ok(certificates)
}

fn pcrs(decoder: &mut Decoder<'_>, field: &'static str) -> Result<BTreeMap<u8, Vec<u8>>, DocumentError> {
    let mut entries = Entries::new(decoder, field)?;
    let mut pcrs = BTreeMap::new();
    while entries.next(decoder)? {
        let found = number(decoder, field)?;
        let index = u8::try_from(found).ok().filter(|index| *index < 32);
        let index = index.ok_or(DocumentError::PcrIndex { found })?;
        let value = bytes(decoder, field, 0, 64)?;
        if ![32, 48, 64].contains(&value.len()) {
            return Err(DocumentError::PcrLength { index, found: value.len() });
        }
        if pcrs.insert(index, value).is_some() {
            return Err(DocumentError::PcrIndex { found });
        }
    }
    check_size(field, pcrs.len(), 1, 32)?;
    Ok(pcrs)
}

fn check_size(
    field: &'static str,
    found: usize,
    minimum: usize,
    maximum: usize,
) -> Result<(), DocumentError> {
    if (minimum..=maximum).contains(&found) {
        Ok(())
    } else {
        Err(DocumentError::Size { field, found, minimum, maximum })
    }
}

/// {1: -35}: algorithm ES384 (RFC 9053 §2.1), and nothing else.
const PROTECTED_ES384: &[u8] = &[0xA1, 0x01, 0x38, 0x22];
