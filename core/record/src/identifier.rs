//! Which app, instance, boot or volume is meant?

use minicbor::{Decode, Encode};

use crate::Error;

casemate_canon::byte_type! {
    /// An app: SHA-256 of its tagged genesis.
    pub struct AppId([u8; 32]);
}

casemate_canon::byte_type! {
    /// A key service: SHA-256 of its tagged genesis.
    pub struct KmsId([u8; 32]);
}

casemate_canon::byte_type! {
    /// What is to run: SHA-256 of the canonical manifest; on SEV-SNP the value of HOST_DATA.
    pub struct WorkloadDigest([u8; 32]);
}

casemate_canon::byte_type! {
    /// The owner's appraisal policy: SHA-256 of its file, byte for byte.
    pub struct PolicyDigest([u8; 32]);
}

casemate_canon::byte_type! {
    /// One instance of an app, chosen at random by its owner.
    pub struct InstanceId([u8; 16]);
}

casemate_canon::byte_type! {
    /// One boot of an instance, chosen at random by the guest; public.
    pub struct BootId([u8; 16]);
}

casemate_canon::byte_type! {
    /// Random bytes that make two otherwise equal geneses differ; public.
    pub struct Salt([u8; 32]);
}

/// A volume's name: 1 to 36 of `a-z`, `0-9` and `-`, beginning with a letter (it is also the name of
/// its GPT partition, UEFI 2.10 section 5.3.3: 36 UTF-16 units).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(String);

impl VolumeName {
    /// Longest name in characters.
    pub const MAXIMUM_CHARACTERS: usize = 36;

    /// Takes a name.
    ///
    /// # Errors
    /// [`Error::VolumeName`].
    pub fn new(name: &str) -> Result<Self, Error> {
        let letters = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if letters && first && name.len() <= Self::MAXIMUM_CHARACTERS {
            Ok(VolumeName(name.to_owned()))
        } else {
            Err(Error::VolumeName { characters: name.chars().count() })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for VolumeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for VolumeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VolumeName({})", self.0)
    }
}

impl std::str::FromStr for VolumeName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::new(name)
    }
}

impl<C> Encode<C> for VolumeName {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for VolumeName {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::new(d.str()?).map_err(|_| minicbor::decode::Error::message("not a volume name").at(at))
    }
}

impl serde::Serialize for VolumeName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for VolumeName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(&<std::borrow::Cow<'de, str>>::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet_and_length() {
        for good in ["data", "a", "db-2", &"a".repeat(36)] {
            assert_eq!(VolumeName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "2data", "-data", "Data", "da_ta", "da/ta", "d\u{e4}ta", &"a".repeat(37)] {
            assert!(matches!(VolumeName::new(bad), Err(Error::VolumeName { .. })), "{bad}");
        }
    }
}
