//! What is one measurement?

use casemate_crypto::hash::{Digest, HashAlgorithm};

use crate::reader::{Reader, Truncated};

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which PCR was extended; 10 unless the kernel was told otherwise.
    pub pcr: u8,
    /// Digest of the template's data as the list states it; all zero after a violation.
    pub template_hash: Digest,
    /// Which fields it has.
    pub template: Template,
    /// Digest of what was measured.
    pub digest: FileDigest,
    /// Path of the file, or what else was measured; without the zero that ends it.
    pub name: Vec<u8>,
    /// The file's signature (`security.ima`), if it has one: template `ima-sig`.
    pub signature: Vec<u8>,
    /// What was measured, in full: template `ima-buf`.
    pub buffer: Vec<u8>,
}

/// Which fields an entry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Template {
    /// `ima`: d|n, the format of before 3.13.
    Ima,
    /// `ima-ng`: d-ng|n-ng.
    ImaNg,
    /// `ima-sig`: d-ng|n-ng|sig.
    ImaSig,
    /// `ima-buf`: d-ng|n-ng|buf.
    ImaBuf,
    /// `ima-ngv2`: d-ngv2|n-ng.
    ImaNgV2,
    /// `ima-sigv2`: d-ngv2|n-ng|sig.
    ImaSigV2,
}

/// Digest of what was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// Whether the digest is fs-verity's, over the tree of the file's blocks (`d-ngv2` only).
    pub verity: bool,
    /// The hash function.
    pub algorithm: FileHash,
    /// The digest.
    pub bytes: Vec<u8>,
}

/// A hash function by the name that the kernel has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileHash {
    /// One that Casemate knows.
    Known(HashAlgorithm),
    /// Another, by name: 1 to 16 letters, digits and hyphens.
    Other(String),
}

/// Why bytes are no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// A field is missing.
    #[error("field `{field}` is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field too many.
    #[error("{found} fields follow the last field of template {}", template.name())]
    Unexpected {
        /// The template.
        template: Template,
        /// How many.
        found: usize,
    },
    /// A PCR that no TPM has.
    #[error("PCR {found:?}, expected 0 to 23")]
    Pcr {
        /// The field.
        found: String,
    },
    /// A field that is not hexadecimal.
    #[error("field `{field}` is not hexadecimal")]
    NotHex {
        /// Which.
        field: &'static str,
    },
    /// A template hash of a length that no known hash function has.
    #[error("a template hash of {found} bytes, expected 20, 32, 48 or 64")]
    TemplateHash {
        /// Length in bytes.
        found: usize,
    },
    /// A template that Casemate does not know.
    #[error("template {found:?}, expected ima, ima-ng, ima-sig, ima-buf, ima-ngv2 or ima-sigv2")]
    Template {
        /// Its name.
        found: String,
    },
    /// A digest without, or with an impossible name of its hash function.
    #[error("the digest does not begin with the name of its hash function and a colon")]
    DigestPrefix,
    /// A digest of another length than its hash function gives.
    #[error("a {algorithm} digest of {found} bytes, expected {}", algorithm.digest_len())]
    DigestLength {
        /// The hash function.
        algorithm: HashAlgorithm,
        /// Length in bytes.
        found: usize,
    },
    /// A digest longer than any.
    #[error("a digest of {found} bytes, at most 64 are accepted")]
    DigestTooLong {
        /// Length in bytes.
        found: usize,
    },
    /// A binary entry ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A name that does not end with its zero, or holds another.
    #[error("the name does not end with one zero byte")]
    NameTerminator,
    /// Binary: the fields are shorter or longer than the template's data.
    #[error("{found} bytes follow the fields in the template's data")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// The template hash is not that of the fields.
    #[error("the template hash is {found}, that of the fields is {expected}; the entry was changed")]
    TemplateHashMismatch {
        /// In the list.
        found: Box<Digest>,
        /// Of the fields.
        expected: Box<Digest>,
    },
}

impl Template {
    /// Every template.
    pub const ALL: [Template; 6] = [
        Template::Ima,
        Template::ImaNg,
        Template::ImaSig,
        Template::ImaBuf,
        Template::ImaNgV2,
        Template::ImaSigV2,
    ];

    /// Its name in the list.
    pub const fn name(self) -> &'static str {
        match self {
            Template::Ima => "ima",
            Template::ImaNg => "ima-ng",
            Template::ImaSig => "ima-sig",
            Template::ImaBuf => "ima-buf",
            Template::ImaNgV2 => "ima-ngv2",
            Template::ImaSigV2 => "ima-sigv2",
        }
    }

    fn of(name: &[u8]) -> Result<Self, EntryError> {
        let found = Self::ALL.into_iter().find(|template| template.name().as_bytes() == name);
        let shown = || String::from_utf8_lossy(&name[..name.len().min(32)]).into_owned();
        found.ok_or_else(|| EntryError::Template { found: shown() })
    }

    fn has_signature(self) -> bool {
        matches!(self, Template::ImaSig | Template::ImaSigV2)
    }

    fn has_digest_type(self) -> bool {
        matches!(self, Template::ImaNgV2 | Template::ImaSigV2)
    }
}

impl FileHash {
    /// The kernel's name for it.
    pub fn name(&self) -> &str {
        match self {
            FileHash::Known(algorithm) => algorithm.name(),
            FileHash::Other(name) => name,
        }
    }

    fn of(name: &[u8]) -> Result<Self, EntryError> {
        let plausible = (1..=16).contains(&name.len())
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        let name = std::str::from_utf8(name).ok().filter(|_| plausible).ok_or(EntryError::DigestPrefix)?;
        let known = HashAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        Ok(known.map_or_else(|| FileHash::Other(name.to_owned()), FileHash::Known))
    }
}

impl FileDigest {
    fn new(verity: bool, algorithm: FileHash, bytes: Vec<u8>) -> Result<Self, EntryError> {
        let found = bytes.len();
        match &algorithm {
            FileHash::Known(algorithm) if algorithm.digest_len() != found => {
                Err(EntryError::DigestLength { algorithm: *algorithm, found })
            }
            _ if found > 64 => Err(EntryError::DigestTooLong { found }),
            _ => Ok(Self { verity, algorithm, bytes }),
        }
    }

    /// Whether every byte is zero, as after a violation.
    pub fn is_zero(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }
}

impl Entry {
    /// Whether the kernel could not tell which content was used (opened for writing while measured, or the
    /// reverse): it then lists zeros and extends the PCR with ones.
    pub fn is_violation(&self) -> bool {
        self.template_hash.as_bytes().iter().all(|byte| *byte == 0)
    }

    /// Path of the file, with replacement characters where it is not UTF-8.
    pub fn name_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    /// Digest of the template's data by `algorithm` (`ima_calc_field_array_hash_tfm`).
    pub fn template_digest(&self, algorithm: HashAlgorithm) -> Digest {
        let data = self.template_data();
        if self.template == Template::Ima {
            // No lengths, and the name padded to 256 bytes.
            let mut name = data[1].clone();
            name.resize(256, 0);
            return algorithm.digest_parts(&[&data[0], &name]);
        }
        let lengths: Vec<[u8; 4]> = data.iter().map(|field| (field.len() as u32).to_le_bytes()).collect();
        let parts: Vec<&[u8]> =
            lengths.iter().zip(&data).flat_map(|(len, field)| [&len[..], field.as_slice()]).collect();
        algorithm.digest_parts(&parts)
    }

    /// Checks that the template hash is that of the fields; a violation has none.
    ///
    /// # Errors
    /// [`EntryError::TemplateHashMismatch`].
    pub fn check_template_hash(&self) -> Result<(), EntryError> {
        let (found, expected) = (self.template_hash, self.template_digest(self.template_hash.algorithm()));
        if self.is_violation() || found == expected {
            Ok(())
        } else {
            Err(EntryError::TemplateHashMismatch { found: Box::new(found), expected: Box::new(expected) })
        }
    }

    /// The fields as the kernel hashes them.
    fn template_data(&self) -> Vec<Vec<u8>> {
        let FileDigest { verity, algorithm, bytes } = &self.digest;
        let kind = match (self.template.has_digest_type(), verity) {
            (false, _) => "",
            (true, false) => "ima:",
            (true, true) => "verity:",
        };
        let digest = match self.template {
            Template::Ima => bytes.clone(),
            _ => [kind.as_bytes(), algorithm.name().as_bytes(), b":\0", bytes].concat(),
        };
        let mut name = self.name.clone();
        if self.template == Template::Ima {
            return vec![digest, name];
        }
        name.push(0);
        let mut fields = vec![digest, name];
        if self.template.has_signature() {
            fields.push(self.signature.clone());
        }
        if self.template == Template::ImaBuf {
            fields.push(self.buffer.clone());
        }
        fields
    }

    /// Reads one line of `ascii_runtime_measurements`, without its end.
    ///
    /// # Errors
    /// [`EntryError`] but those of the binary form.
    pub fn parse_ascii(line: &[u8]) -> Result<Self, EntryError> {
        // The kernel replaces spaces in names, so that none is inside a field.
        let mut fields = line.split(|byte| *byte == b' ');
        let mut next =
            |field| fields.next().filter(|text| !text.is_empty()).ok_or(EntryError::Missing { field });
        let pcr = parse_pcr(next("pcr")?)?;
        let template_hash = unhex("template hash", next("template hash")?)?;
        let found = template_hash.len();
        let algorithm = HashAlgorithm::ALL.into_iter().find(|algorithm| algorithm.digest_len() == found);
        let template_hash = algorithm
            .and_then(|algorithm| Digest::from_slice(algorithm, &template_hash))
            .ok_or(EntryError::TemplateHash { found })?;
        let template = Template::of(next("template")?)?;
        let digest = ascii_digest(template, next("digest")?)?;
        let name = next("name")?.to_vec();
        let (mut signature, mut buffer) = (Vec::new(), Vec::new());
        if template.has_signature() {
            // A file without signature has an empty field, or none.
            signature = unhex("signature", fields.next().unwrap_or_default())?;
        } else if template == Template::ImaBuf {
            buffer = unhex("buffer", fields.next().ok_or(EntryError::Missing { field: "buffer" })?)?;
        }
        let rest: Vec<&[u8]> = fields.collect();
        if rest.iter().any(|field| !field.is_empty()) {
            return Err(EntryError::Unexpected { template, found: rest.len() });
        }
        Ok(Self { pcr, template_hash, template, digest, name, signature, buffer })
    }

    /// Reads one entry of `binary_runtime_measurements`, in the little-endian form (`ima_canonical_fmt`, and
    /// every little-endian machine).
    pub(super) fn read_binary(reader: &mut Reader<'_>, algorithm: HashAlgorithm) -> Result<Self, EntryError> {
        let pcr = reader.u32_le()?;
        let pcr = u8::try_from(pcr).ok().filter(|pcr| *pcr < 24);
        let pcr = pcr.ok_or_else(|| EntryError::Pcr { found: "another number".to_owned() })?;
        let template_hash = Digest::from_slice(algorithm, reader.take(algorithm.digest_len())?)
            .expect("as many bytes as the hash function gives were taken");
        let template = Template::of(sized(reader)?)?;
        let (digest, name, signature, buffer) = if template == Template::Ima {
            let algorithm = FileHash::Known(HashAlgorithm::Sha1);
            let digest = FileDigest::new(false, algorithm, reader.take(20)?.to_vec())?;
            (digest, sized(reader)?.to_vec(), Vec::new(), Vec::new())
        } else {
            let data = sized(reader)?;
            let mut fields = Reader::new(data);
            let digest = binary_digest(template, sized(&mut fields)?)?;
            let name = sized(&mut fields)?.strip_suffix(&[0]).ok_or(EntryError::NameTerminator)?;
            if name.contains(&0) {
                return Err(EntryError::NameTerminator);
            }
            let signature = if template.has_signature() { sized(&mut fields)? } else { &[] };
            let buffer = if template == Template::ImaBuf { sized(&mut fields)? } else { &[] };
            if !fields.is_at_end() {
                return Err(EntryError::Trailing { found: fields.rest().len() });
            }
            (digest, name.to_vec(), signature.to_vec(), buffer.to_vec())
        };
        Ok(Self { pcr, template_hash, template, digest, name, signature, buffer })
    }
}

fn parse_pcr(text: &[u8]) -> Result<u8, EntryError> {
    let shown = || String::from_utf8_lossy(&text[..text.len().min(16)]).into_owned();
    let number = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok()).filter(|pcr| *pcr < 24);
    number.ok_or_else(|| EntryError::Pcr { found: shown() })
}

/// `sha256:digits`, with a type before it in templates of version 2; plain digits of SHA-1 in `ima`.
fn ascii_digest(template: Template, text: &[u8]) -> Result<FileDigest, EntryError> {
    if template == Template::Ima {
        return FileDigest::new(false, FileHash::Known(HashAlgorithm::Sha1), unhex("digest", text)?);
    }
    let colon = text.iter().rposition(|byte| *byte == b':').ok_or(EntryError::DigestPrefix)?;
    let (verity, algorithm) = digest_prefix(template, &text[..colon])?;
    FileDigest::new(verity, algorithm, unhex("digest", &text[colon + 1..])?)
}

/// `sha256:`, a zero and the digest.
fn binary_digest(template: Template, field: &[u8]) -> Result<FileDigest, EntryError> {
    let end = field.windows(2).position(|pair| pair == b":\0").ok_or(EntryError::DigestPrefix)?;
    let (verity, algorithm) = digest_prefix(template, &field[..end])?;
    FileDigest::new(verity, algorithm, field[end + 2..].to_vec())
}

fn digest_prefix(template: Template, prefix: &[u8]) -> Result<(bool, FileHash), EntryError> {
    if !template.has_digest_type() {
        return Ok((false, FileHash::of(prefix)?));
    }
    for (kind, verity) in [(&b"ima:"[..], false), (b"verity:", true)] {
        if let Some(name) = prefix.strip_prefix(kind) {
            return Ok((verity, FileHash::of(name)?));
        }
    }
    Err(EntryError::DigestPrefix)
}

/// A length in four bytes, and as many bytes.
fn sized<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Truncated> {
    let len = reader.u32_le()?;
    reader.take(usize::try_from(len).unwrap_or(usize::MAX))
}

fn unhex(field: &'static str, text: &[u8]) -> Result<Vec<u8>, EntryError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let bytes = text.len().is_multiple_of(2).then(|| text.chunks_exact(2).map(pair).collect()).flatten();
    bytes.ok_or(EntryError::NotHex { field })
}
