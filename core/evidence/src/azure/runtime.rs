//! Which keys and which configuration does the paravisor state?

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::x509::PublicKey;

/// The runtime data: keys of the vTPM, and how the VM is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeData {
    /// The keys, each `kid` once.
    pub keys: Vec<Key>,
    /// `vm-configuration`: `secure-boot`, `tpm-enabled`, `console-enabled`, `vmUniqueId` and others.
    pub vm_configuration: BTreeMap<String, Scalar>,
    /// `user-data`: 64 bytes that the guest chose; absent in reports of 2023.
    pub user_data: Option<[u8; 64]>,
    /// Members that this version does not know.
    pub other: BTreeMap<String, Scalar>,
}

/// A JSON Web Key (RFC 7517) of kind RSA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `kid`: `HCLAkPub` for the attestation key, `HCLEkPub` for the endorsement key.
    pub id: String,
    /// `key_ops`.
    pub operations: Vec<String>,
    /// The key.
    pub public_key: PublicKey,
}

/// A value without parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

/// Why bytes are no runtime data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeDataError {
    /// Not JSON, or a member that is missing, repeated or of another type: where.
    #[error("line {line}, column {column}: not the JSON of runtime data, or a member is missing or repeated")]
    Json {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// Two keys with one `kid`.
    #[error("key {id:?} is listed twice")]
    DuplicateKey {
        /// `kid`.
        id: String,
    },
    /// A key that is not RSA.
    #[error("key {id:?} is of kind {found:?}, expected \"RSA\"")]
    KeyKind {
        /// `kid`.
        id: String,
        /// `kty`.
        found: String,
    },
    /// Numbers that are not base64url, or begin with a zero.
    #[error("key {id:?}: `{field}` is not a number in base64url without leading zeros")]
    KeyNumber {
        /// `kid`.
        id: String,
        /// `n` or `e`.
        field: &'static str,
    },
    /// `user-data` that is not 64 bytes in hexadecimal.
    #[error("`user-data` is not 128 hexadecimal digits")]
    UserData,
    /// More keys or members than any report has.
    #[error("more than {maximum} entries in `{field}`")]
    TooMany {
        /// Where.
        field: &'static str,
        /// Greatest number accepted.
        maximum: usize,
    },
}

impl RuntimeData {
    /// `kid` of the vTPM's attestation key.
    pub const ATTESTATION_KEY: &str = "HCLAkPub";
    /// `kid` of the vTPM's endorsement key.
    pub const ENDORSEMENT_KEY: &str = "HCLEkPub";

    /// Reads runtime data.
    ///
    /// # Errors
    /// [`RuntimeDataError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RuntimeDataError> {
        const MAXIMUM: usize = 64;
        let raw: Raw = serde_json::from_slice(bytes)
            .map_err(|error| RuntimeDataError::Json { line: error.line(), column: error.column() })?;
        for (field, found) in [
            ("keys", raw.keys.len()),
            ("vm-configuration", raw.vm_configuration.0.len()),
            ("runtime data", raw.other.len()),
        ] {
            if found > MAXIMUM {
                return Err(RuntimeDataError::TooMany { field, maximum: MAXIMUM });
            }
        }
        let mut keys: Vec<Key> = Vec::with_capacity(raw.keys.len());
        for key in raw.keys {
            if keys.iter().any(|earlier| earlier.id == key.kid) {
                return Err(RuntimeDataError::DuplicateKey { id: key.kid });
            }
            keys.push(key.read()?);
        }
        let user_data = raw.user_data.map(|text| user_data(&text).ok_or(RuntimeDataError::UserData));
        Ok(Self {
            keys,
            vm_configuration: raw.vm_configuration.0,
            user_data: user_data.transpose()?,
            other: raw.other,
        })
    }

    /// The key with this `kid`.
    pub fn key(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}

fn user_data(text: &str) -> Option<[u8; 64]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let bytes: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    bytes?.try_into().ok()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    kid: String,
    key_ops: Vec<String>,
    kty: String,
    e: String,
    n: String,
}

impl RawKey {
    fn read(self) -> Result<Key, RuntimeDataError> {
        if self.kty != "RSA" {
            return Err(RuntimeDataError::KeyKind { id: self.kid, found: self.kty });
        }
        let number = |field, text: &str| {
            let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok();
            let bytes = bytes.filter(|bytes| bytes.first().is_some_and(|first| *first != 0));
            bytes.ok_or_else(|| RuntimeDataError::KeyNumber { id: self.kid.clone(), field })
        };
        let public_key = PublicKey::Rsa { modulus: number("n", &self.n)?, exponent: number("e", &self.e)? };
        Ok(Key { id: self.kid, operations: self.key_ops, public_key })
    }
}

/// The members as they stand; each name at most once, which the derived reader checks for the names that it
/// knows only.
struct Raw {
    keys: Vec<RawKey>,
    vm_configuration: Scalars,
    user_data: Option<String>,
    other: BTreeMap<String, Scalar>,
}

struct Scalars(BTreeMap<String, Scalar>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the members of runtime data")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let (mut keys, mut configuration, mut user_data) = (None, None, None);
                let mut other = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let first = match name.as_str() {
                        "keys" => keys.replace(map.next_value()?).is_none(),
                        "vm-configuration" => configuration.replace(map.next_value()?).is_none(),
                        "user-data" => user_data.replace(map.next_value()?).is_none(),
                        _ => other.insert(name, map.next_value()?).is_none(),
                    };
                    if !first {
                        return Err(A::Error::custom("a member is repeated"));
                    }
                }
                Ok(Raw {
                    keys: keys.ok_or_else(|| A::Error::missing_field("keys"))?,
                    vm_configuration: configuration
                        .ok_or_else(|| A::Error::missing_field("vm-configuration"))?,
                    user_data,
                    other,
                })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Scalars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Scalars;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("members without parts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalars, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if found.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member is repeated"));
                    }
                }
                Ok(Scalars(found))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl Visitor<'_> for Value {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, a natural number or a text")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Scalar, E> {
                Ok(Scalar::Flag(flag))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Value)
    }
}
