//! What does a list hold that the runtime policy does not allow?

use std::collections::{BTreeMap, BTreeSet};

use casemate_crypto::Provider;
use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_evidence::ima::{Entry, FileHash, FileSignature, Template};
use casemate_evidence::x509::{Certificate, PublicKey};
use serde::Serialize;

use super::GenuineList;
use super::policy::RuntimePolicy;
use crate::signature::{SignatureError, verify_digest};

/// Whether violations are accepted: the kernel could not tell which content of a file was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violations {
    /// Each is a finding.
    Refused,
    /// They are passed over, as Keylime does.
    Accepted,
}

/// An entry that the policy does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// A file that is not listed.
    #[error("entry {number}: {name:?} is not listed; its digest is {digest}")]
    NotListed {
        /// Number of the entry, from 1.
        number: usize,
        /// Path of the file.
        name: String,
        /// Its digest.
        digest: String,
    },
    /// A file with another content.
    #[error("entry {number}: {name:?} has digest {digest}, which is not listed for it")]
    Digest {
        /// Number of the entry.
        number: usize,
        /// Path of the file.
        name: String,
        /// Its digest.
        digest: String,
    },
    /// A key that may not be loaded into its keyring.
    #[error(
        "entry {number}: a key with digest {digest} was loaded into keyring {name:?}, which is not listed"
    )]
    Key {
        /// Number of the entry.
        number: usize,
        /// Name of the keyring.
        name: String,
        /// Digest of the key.
        digest: String,
    },
    /// A buffer that is not listed.
    #[error("entry {number}: buffer {name:?} with digest {digest} is not listed")]
    Buffer {
        /// Number of the entry.
        number: usize,
        /// Its name.
        name: String,
        /// Its digest.
        digest: String,
    },
    /// A buffer whose digest is another than the entry says.
    #[error("entry {number}: buffer {name:?} does not have the digest that the entry states")]
    BufferDigest {
        /// Number of the entry.
        number: usize,
        /// Its name.
        name: String,
    },
    /// A violation.
    #[error("entry {number}: {name:?} was changed while it was in use, so nobody knows which content ran")]
    Violation {
        /// Number of the entry.
        number: usize,
        /// Path of the file.
        name: String,
    },
}

impl GenuineList {
    /// Every entry that `policy` does not allow. `boot_aggregate` is not a file, and not looked at here: see
    /// [`check_boot_aggregate`](GenuineList::check_boot_aggregate).
    ///
    /// As Keylime: a file is allowed if its path is excluded, if a listed key signed its digest, or if its
    /// digest is listed for its path. A key is allowed into its keyring if its digest is listed there, and
    /// signs files from then on.
    pub fn findings(
        &self,
        policy: &RuntimePolicy,
        violations: Violations,
        provider: &dyn Provider,
    ) -> Vec<Finding> {
        let mut keys = policy.keys.clone();
        let mut findings = Vec::new();
        for (index, entry) in self.entries().iter().enumerate() {
            let number = index + 1;
            if entry.name == b"boot_aggregate" && index == 0 {
                continue;
            }
            if entry.is_violation() {
                if violations == Violations::Refused {
                    findings.push(Finding::Violation { number, name: entry.name_text().into_owned() });
                }
                continue;
            }
            let finding = match entry.template {
                Template::ImaBuf => policy.buffer(number, entry, &mut keys),
                _ if signed(entry, &keys, provider) => None,
                _ => policy.file(number, entry),
            };
            findings.extend(finding);
        }
        findings
    }
}

impl RuntimePolicy {
    fn file(&self, number: usize, entry: &Entry) -> Option<Finding> {
        let name = entry.name_text().into_owned();
        if self.excludes.iter().any(|pattern| pattern.is_match(&name)) {
            return None;
        }
        let digest = hex(&entry.digest.bytes);
        match self.digests.get(&name) {
            Some(list) if list.contains(&digest) => None,
            Some(_) => Some(Finding::Digest { number, name, digest }),
            None => Some(Finding::NotListed { number, name, digest }),
        }
    }

    fn buffer(
        &self,
        number: usize,
        entry: &Entry,
        keys: &mut BTreeMap<[u8; 4], PublicKey>,
    ) -> Option<Finding> {
        let name = entry.name_text().into_owned();
        // The digest is what is listed, so it must be the buffer's.
        let FileHash::Known(algorithm) = &entry.digest.algorithm else {
            return Some(Finding::BufferDigest { number, name });
        };
        if algorithm.digest(&entry.buffer).as_bytes() != entry.digest.bytes {
            return Some(Finding::BufferDigest { number, name });
        }
        if self.excludes.iter().any(|pattern| pattern.is_match(&name)) {
            return None;
        }
        let digest = hex(&entry.digest.bytes);
        let listed = |lists: &BTreeMap<String, BTreeSet<String>>| {
            lists.get(&name).is_some_and(|list| list.contains(&digest))
        };
        let Some((id, key)) = read_key(&entry.buffer) else {
            return (!listed(&self.buffers)).then_some(Finding::Buffer { number, name, digest });
        };
        if self.ignored_keyrings.contains("*") || self.ignored_keyrings.contains(&name) {
            return None;
        }
        if !listed(&self.keyrings) {
            return Some(Finding::Key { number, name, digest });
        }
        keys.insert(id, key);
        None
    }
}

/// Whether a known key signed the file's digest.
fn signed(entry: &Entry, keys: &BTreeMap<[u8; 4], PublicKey>, provider: &dyn Provider) -> bool {
    let Ok(signature) = FileSignature::parse(&entry.signature) else { return false };
    let FileHash::Known(algorithm) = &entry.digest.algorithm else { return false };
    if signature.algorithm != *algorithm || entry.digest.verity {
        return false;
    }
    let (Some(key), Some(digest)) =
        (keys.get(&signature.key_id), Digest::from_slice(*algorithm, &entry.digest.bytes))
    else {
        return false;
    };
    let answer: Result<(), SignatureError> = verify_digest(key, &digest, &signature.value, provider);
    answer.is_ok()
}

/// A certificate or a public key in DER, with the last four bytes of its identifier: the certificate's own, or
/// SHA-1 of the key (RFC 5280 §4.2.1.2, method 1).
fn read_key(buffer: &[u8]) -> Option<([u8; 4], PublicKey)> {
    if let Ok(certificate) = Certificate::parse(buffer) {
        let stated = certificate.subject_key_identifier().and_then(|id| id.last_chunk::<4>().copied());
        let key = certificate.public_key().clone();
        let computed =
            || PublicKey::key_bits_of_spki(&certificate.public_key_info()).map(|bits| id_of(&bits));
        return Some((stated.or_else(computed)?, key));
    }
    let key = PublicKey::parse_spki(buffer).ok()?;
    Some((id_of(&PublicKey::key_bits_of_spki(buffer)?), key))
}

fn id_of(key_bits: &[u8]) -> [u8; 4] {
    let digest = HashAlgorithm::Sha1.digest(key_bits);
    *digest.as_bytes().last_chunk().expect("a SHA-1 digest has 20 bytes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_none() {
        assert!(read_key(b"name=test,uuid=").is_none());
        assert!(read_key(HashAlgorithm::Sha256.digest(b"").as_bytes()).is_none());
    }
}
