//! What does the JSON area say?
//!
//! Closed structures: a field that is not named here is refused, and so is a name given twice.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::LuksError;

/// Reads the JSON area without its zeros.
pub(super) fn parse(bytes: &[u8]) -> Result<Metadata, LuksError> {
    serde_json::from_slice(bytes).map_err(|source| LuksError::Json { source })
}

/// The whole area (§3).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    pub keyslots: Unique<Keyslot>,
    pub tokens: Unique<IgnoredAny>,
    pub segments: Unique<Segment>,
    pub digests: Unique<Digest>,
    pub config: Config,
}

/// §3.2, including the fields of re-encryption slots.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keyslot {
    #[serde(rename = "type")]
    pub kind: String,
    pub key_size: u32,
    pub priority: Option<u8>,
    pub mode: Option<String>,
    pub direction: Option<String>,
    pub af: Option<AntiForensic>,
    pub area: Area,
    pub kdf: Option<Kdf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AntiForensic {
    #[serde(rename = "type")]
    pub kind: String,
    pub stripes: u32,
    pub hash: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Area {
    #[serde(rename = "type")]
    pub kind: String,
    pub offset: String,
    pub size: String,
    pub encryption: Option<String>,
    pub key_size: Option<u32>,
    #[serde(rename = "hash")]
    pub _hash: Option<String>,
    #[serde(rename = "sector_size")]
    pub _sector_size: Option<u32>,
    #[serde(rename = "shift_size")]
    pub _shift_size: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kdf {
    #[serde(rename = "type")]
    pub kind: String,
    pub salt: String,
    pub time: Option<u32>,
    pub memory: Option<u32>,
    pub cpus: Option<u32>,
    #[serde(rename = "hash")]
    pub _hash: Option<String>,
    #[serde(rename = "iterations")]
    pub _iterations: Option<u32>,
}

/// §3.3.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Segment {
    #[serde(rename = "type")]
    pub kind: String,
    pub offset: String,
    pub size: String,
    pub iv_tweak: Option<String>,
    pub encryption: Option<String>,
    pub sector_size: Option<u32>,
    pub integrity: Option<IgnoredAny>,
    pub flags: Option<Vec<String>>,
}

/// §3.4.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Digest {
    #[serde(rename = "type")]
    pub kind: String,
    pub keyslots: Vec<String>,
    pub segments: Vec<String>,
    pub salt: String,
    pub digest: String,
    pub hash: Option<String>,
    pub iterations: Option<u32>,
}

/// §3.5.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub json_size: String,
    pub keyslots_size: String,
    pub flags: Option<Vec<String>>,
    pub requirements: Option<IgnoredAny>,
}

/// An object whose names are given once each.
#[derive(Debug)]
pub(super) struct Unique<T>(pub BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with each name once")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<T>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if entries.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name is given twice"));
                    }
                }
                Ok(Unique(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}
