//! What may run, by Keylime's runtime policy?
//!
//! Source: Keylime 7, "Runtime Integrity Monitoring", runtime policy version 1. Read closed: an unknown
//! member is refused, where Keylime ignores it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use casemate_crypto::hash::HashAlgorithm;
use casemate_evidence::x509::{self, PublicKey};
use serde::Deserialize;

/// A runtime policy in Keylime's JSON.
#[derive(Debug, Clone)]
pub struct RuntimePolicy {
    /// Accepted digests of files by path, in lower-case hexadecimal.
    pub(super) digests: BTreeMap<String, BTreeSet<String>>,
    /// Paths that are not looked at, matched from the beginning.
    pub(super) excludes: Vec<regex_lite::Regex>,
    /// Accepted digests of keys by the keyring into which they are loaded.
    pub(super) keyrings: BTreeMap<String, BTreeSet<String>>,
    /// Keyrings whose keys are not looked at; `*` for all.
    pub(super) ignored_keyrings: BTreeSet<String>,
    /// Accepted digests of other buffers by name.
    pub(super) buffers: BTreeMap<String, BTreeSet<String>>,
    /// Keys that may sign files, by the last four bytes of their identifier.
    pub(super) keys: BTreeMap<[u8; 4], PublicKey>,
    /// log_hash_alg: of which hash function the list's template hashes are.
    log_algorithm: HashAlgorithm,
}

/// Why a text is no runtime policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimePolicyError {
    /// Larger than any policy.
    #[error("{found} bytes, at most {} are accepted", RuntimePolicy::MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// Not JSON, or a member that is unknown, missing, repeated or of another type.
    #[error("not a runtime policy: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version.
    #[error("runtime policy of version {found}, expected 1")]
    Version {
        /// The number.
        found: u64,
    },
    /// A digest that is none.
    #[error("`{field}` lists {found:?} for {name:?}, expected hexadecimal digits")]
    Digest {
        /// The member.
        field: &'static str,
        /// Whose.
        name: String,
        /// The text.
        found: String,
    },
    /// An expression that cannot be compiled: Python knows some that are not regular. Or one that takes too much
    /// memory: 256 KiB, or its share of 16 MiB among all of them.
    #[error("`excludes` holds {pattern:?}: {source}")]
    Exclude {
        /// The expression.
        pattern: String,
        /// What is wrong.
        source: regex_lite::Error,
    },
    /// Rules that Casemate does not evaluate: leaving them out would accept more than the policy does.
    #[error("`{field}` is set, and Casemate does not evaluate it; remove it if the rest will do")]
    Unsupported {
        /// The member.
        field: &'static str,
    },
    /// A key that cannot be read.
    #[error("key {index} of `verification-keys`: {source}")]
    Key {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        source: x509::Error,
    },
    /// A key that is not base64.
    #[error("key {index} of `verification-keys` is not base64")]
    KeyText {
        /// Which, from 0.
        index: usize,
    },
    /// Another number of identifiers than of keys.
    #[error("`verification-keys` holds {keys} keys and {ids} identifiers")]
    KeyIds {
        /// Number of keys.
        keys: usize,
        /// Number of identifiers.
        ids: usize,
    },
}

impl RuntimePolicy {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 64 * 1024 * 1024;

    /// Reads a runtime policy.
    ///
    /// # Errors
    /// [`RuntimePolicyError`].
    pub fn parse(text: &str) -> Result<Self, RuntimePolicyError> {
        if text.len() > Self::MAXIMUM_LEN {
            return Err(RuntimePolicyError::TooLong { found: text.len() });
        }
        let file: File = serde_json::from_str(text)?;
        if file.meta.version != 1 {
            return Err(RuntimePolicyError::Version { found: file.meta.version });
        }
        if file.ima.dm_policy.is_some_and(|rules| !rules.is_null()) {
            return Err(RuntimePolicyError::Unsupported { field: "ima.dm_policy" });
        }
        if file.rules.is_some_and(|rules| !rules.is_empty()) {
            return Err(RuntimePolicyError::Unsupported { field: "rules" });
        }
        Ok(Self {
            digests: digests("digests", file.digests)?,
            excludes: excludes(file.excludes)?,
            keyrings: digests("keyrings", file.keyrings)?,
            ignored_keyrings: file.ima.ignored_keyrings.into_iter().collect(),
            buffers: digests("ima-buf", file.buffers)?,
            keys: keys(&file.verification_keys)?,
            log_algorithm: match file.ima.log_hash_alg {
                LogHash::Sha1 => HashAlgorithm::Sha1,
                LogHash::Sha256 => HashAlgorithm::Sha256,
                LogHash::Sha384 => HashAlgorithm::Sha384,
                LogHash::Sha512 => HashAlgorithm::Sha512,
            },
        })
    }

    /// Of which hash function the list's template hashes are.
    pub fn log_algorithm(&self) -> HashAlgorithm {
        self.log_algorithm
    }
}

fn digests(
    field: &'static str,
    map: BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, BTreeSet<String>>, RuntimePolicyError> {
    map.into_iter()
        .map(|(name, list)| {
            let bad = list.iter().find(|text| {
                text.is_empty() || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            });
            match bad {
                Some(found) => Err(RuntimePolicyError::Digest { field, name, found: found.clone() }),
                None => Ok((name, list.into_iter().collect())),
            }
        })
        .collect()
}

/// Python's `re.match` asks for a match at the beginning, and lets the text go on.
fn excludes(patterns: Vec<String>) -> Result<Vec<regex_lite::Regex>, RuntimePolicyError> {
    // Compiled, ten bytes can take as much as each may: all of them share what they may take together.
    const SIZE_LIMIT: usize = 256 * 1024;
    const SIZE_LIMIT_TOGETHER: usize = 16 * 1024 * 1024;
    let size_limit = SIZE_LIMIT.min(SIZE_LIMIT_TOGETHER / patterns.len().max(1));
    patterns
        .into_iter()
        .map(|pattern| {
            regex_lite::RegexBuilder::new(&format!("^(?:{pattern})"))
                .size_limit(size_limit)
                .build()
                .map_err(|source| RuntimePolicyError::Exclude { pattern, source })
        })
        .collect()
}

/// An exported keyring, as a JSON text inside the policy.
fn keys(text: &str) -> Result<BTreeMap<[u8; 4], PublicKey>, RuntimePolicyError> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let keyring: Keyring = serde_json::from_str(text)?;
    if keyring.keyids.len() != keyring.pubkeys.len() {
        let (keys, ids) = (keyring.pubkeys.len(), keyring.keyids.len());
        return Err(RuntimePolicyError::KeyIds { keys, ids });
    }
    let pairs = keyring.keyids.into_iter().zip(keyring.pubkeys).enumerate();
    pairs
        .map(|(index, (id, key))| {
            let der = base64::engine::general_purpose::STANDARD.decode(key);
            let der = der.map_err(|_| RuntimePolicyError::KeyText { index })?;
            let key = PublicKey::parse_spki(&der);
            Ok((id.to_be_bytes(), key.map_err(|source| RuntimePolicyError::Key { index, source })?))
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    meta: Meta,
    #[serde(default, rename = "release")]
    _release: u64,
    #[serde(deserialize_with = "distinct")]
    digests: BTreeMap<String, Vec<String>>,
    excludes: Vec<String>,
    #[serde(deserialize_with = "distinct")]
    keyrings: BTreeMap<String, Vec<String>>,
    ima: Ima,
    #[serde(rename = "ima-buf", deserialize_with = "distinct")]
    buffers: BTreeMap<String, Vec<String>>,
    #[serde(rename = "verification-keys")]
    verification_keys: String,
    #[serde(default)]
    rules: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    version: u64,
    #[serde(default, rename = "generator")]
    _generator: u64,
    #[serde(default, rename = "timestamp")]
    _timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ima {
    ignored_keyrings: Vec<String>,
    log_hash_alg: LogHash,
    #[serde(default)]
    dm_policy: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum LogHash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keyring {
    pubkeys: Vec<String>,
    keyids: Vec<u32>,
    #[serde(default, rename = "meta")]
    _meta: Option<serde_json::Value>,
}

/// A map that names nothing twice: of two lists for one path it would be unclear which counts.
fn distinct<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = BTreeMap<String, Vec<String>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("lists of digests by name")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some((name, list)) = map.next_entry::<String, _>()? {
                if found.contains_key(&name) {
                    return Err(serde::de::Error::custom(format_args!("{name:?} is named twice")));
                }
                found.insert(name, list);
            }
            Ok(found)
        }
    }
    deserializer.deserialize_map(Visitor)
}
