//! Which platform does this PCK certificate name?
//!
//! Source: "SGX PCK Certificate and CRL Profile Specification" 1.4, §1.3.5: one extension, a sequence of
//! pairs of identifier and value.

use casemate_crypto::sign;
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Any, Decode as _, Sequence, Tag, Tagged as _};
use serde::Serialize;

use super::bytes::array;
use crate::x509::{Certificate, PublicKey};

casemate_canon::byte_type! {
    /// Family, model, stepping, platform and SKU of the processor: which TCB info speaks of it.
    pub struct Fmspc([u8; 6]);
}

casemate_canon::byte_type! {
    /// Platform provisioning id: which platform. Does not change with its firmware.
    pub struct Ppid([u8; 16]);
}

/// What a PCK certificate states, well formed; nothing about its signature is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pck {
    public_key: sign::PublicKey,
    ppid: Ppid,
    tcb: PlatformTcb,
    pce_id: [u8; 2],
    fmspc: Fmspc,
    sgx_type: SgxType,
    instance: Option<[u8; 16]>,
    configuration: Option<PckConfiguration>,
}

/// Security versions of a platform's firmware, as its PCK is bound to them; higher is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlatformTcb {
    /// SVN of each component, 1 to 16; what they are depends on the platform.
    pub components: [u8; 16],
    /// SVN of the provisioning certification enclave.
    pub pce_svn: u16,
    /// CPUSVN, opaque.
    pub cpu_svn: [u8; 16],
}

/// How the platform protects enclave memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SgxType {
    /// Encrypted with an integrity tree.
    Standard,
    /// Encrypted only.
    Scalable,
    /// Encrypted, with integrity in the memory's ECC bits.
    ScalableWithIntegrity,
}

/// How a platform of several packages was set up; certificates of the Platform CA only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PckConfiguration {
    /// Packages may be added.
    pub dynamic_platform: Option<bool>,
    /// Intel's registration service keeps the platform's root keys.
    pub cached_keys: Option<bool>,
    /// Simultaneous multithreading is on.
    pub smt_enabled: Option<bool>,
}

/// Why a certificate names no platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PckError {
    /// The key is not P-256.
    #[error("the key of the PCK certificate is not of P-256")]
    KeyKind,
    /// There is no SGX extension.
    #[error("the certificate has no SGX extension (1.2.840.113741.1.13.1): it is no PCK certificate")]
    NoExtension,
    /// The extension, or a value in it, has another structure.
    #[error("{name} of the SGX extension is not encoded as specified")]
    Encoding {
        /// Which value.
        name: &'static str,
    },
    /// A value is missing.
    #[error("the SGX extension has no {name}")]
    Missing {
        /// Which value.
        name: &'static str,
    },
    /// A value twice.
    #[error("the SGX extension has {found} twice")]
    Duplicate {
        /// Its identifier.
        found: ObjectIdentifier,
    },
    /// A value that the profile does not define.
    #[error("the SGX extension has {found}, which Casemate does not know; update Casemate")]
    Unknown {
        /// Its identifier.
        found: ObjectIdentifier,
    },
}

impl Pck {
    /// Reads what the certificate states.
    ///
    /// # Errors
    /// [`PckError`].
    pub fn read(certificate: &Certificate) -> Result<Self, PckError> {
        let PublicKey::P256(public_key) = certificate.public_key() else { return Err(PckError::KeyKind) };
        let extension = certificate
            .extensions()
            .find_map(|(id, _, content)| (id == SGX_EXTENSION).then_some(content))
            .ok_or(PckError::NoExtension)?;
        let all = Entries::read(extension, "content", &KNOWN)?;
        let tcb = Entries::read(&all.content(TCB)?, TCB.1, &TCB_KNOWN)?;
        Ok(Self {
            public_key: *public_key,
            ppid: Ppid::from(all.octets(PPID)?),
            tcb: PlatformTcb {
                components: read_components(&tcb)?,
                pce_svn: tcb.number(PCE_SVN)?,
                cpu_svn: tcb.octets(CPU_SVN)?,
            },
            pce_id: all.octets(PCE_ID)?,
            fmspc: Fmspc::from(all.octets(FMSPC)?),
            sgx_type: match all.enumerated(SGX_TYPE)? {
                0 => SgxType::Standard,
                1 => SgxType::Scalable,
                2 => SgxType::ScalableWithIntegrity,
                _ => return Err(PckError::Encoding { name: SGX_TYPE.1 }),
            },
            instance: all.optional(INSTANCE).map(|_| all.octets(INSTANCE)).transpose()?,
            configuration: all.optional(CONFIGURATION).map(|_| read_configuration(&all)).transpose()?,
        })
    }

    /// The certified key.
    pub fn public_key(&self) -> &sign::PublicKey {
        &self.public_key
    }

    /// Which platform.
    pub fn ppid(&self) -> Ppid {
        self.ppid
    }

    /// The firmware to which the key is bound.
    pub fn tcb(&self) -> &PlatformTcb {
        &self.tcb
    }

    /// Which provisioning certification enclave.
    pub fn pce_id(&self) -> [u8; 2] {
        self.pce_id
    }

    /// Which TCB info speaks of the platform.
    pub fn fmspc(&self) -> Fmspc {
        self.fmspc
    }

    /// How the platform protects enclave memory.
    pub fn sgx_type(&self) -> SgxType {
        self.sgx_type
    }

    /// Platform instance id: changes when the platform's keys are set up anew; of several packages only.
    pub fn instance(&self) -> Option<[u8; 16]> {
        self.instance
    }

    /// How a platform of several packages was set up.
    pub fn configuration(&self) -> Option<PckConfiguration> {
        self.configuration
    }
}

fn read_components(tcb: &Entries) -> Result<[u8; 16], PckError> {
    let mut components = [0; 16];
    for (component, entry) in components.iter_mut().zip(COMPONENTS) {
        *component = tcb.number(entry)?;
    }
    Ok(components)
}

fn read_configuration(all: &Entries) -> Result<PckConfiguration, PckError> {
    let entries = Entries::read(&all.content(CONFIGURATION)?, CONFIGURATION.1, &CONFIGURATION_KNOWN)?;
    Ok(PckConfiguration {
        dynamic_platform: entries.flag(DYNAMIC_PLATFORM)?,
        cached_keys: entries.flag(CACHED_KEYS)?,
        smt_enabled: entries.flag(SMT_ENABLED)?,
    })
}

/// Values by identifier, each known and present at most once.
struct Entries(Vec<Entry>);

#[derive(Sequence)]
struct Entry {
    id: ObjectIdentifier,
    value: Any,
}

impl Entries {
    fn read(bytes: &[u8], name: &'static str, known: &[Name]) -> Result<Self, PckError> {
        let entries = Vec::<Entry>::from_der(bytes).map_err(|_| PckError::Encoding { name })?;
        for (index, entry) in entries.iter().enumerate() {
            if !known.iter().any(|(id, _)| *id == entry.id) {
                return Err(PckError::Unknown { found: entry.id });
            }
            if entries[..index].iter().any(|earlier| earlier.id == entry.id) {
                return Err(PckError::Duplicate { found: entry.id });
            }
        }
        Ok(Self(entries))
    }

    fn optional(&self, name: Name) -> Option<&Any> {
        self.0.iter().find(|entry| entry.id == name.0).map(|entry| &entry.value)
    }

    fn find(&self, name: Name) -> Result<&Any, PckError> {
        self.optional(name).ok_or(PckError::Missing { name: name.1 })
    }

    fn content(&self, name: Name) -> Result<Vec<u8>, PckError> {
        der::Encode::to_der(self.find(name)?).map_err(|_| PckError::Encoding { name: name.1 })
    }

    fn octets<const LENGTH: usize>(&self, name: Name) -> Result<[u8; LENGTH], PckError> {
        let wrong = PckError::Encoding { name: name.1 };
        let octets = self.find(name)?.decode_as::<&OctetStringRef>().map_err(|_| wrong)?;
        match octets.as_bytes() {
            bytes if bytes.len() == LENGTH => Ok(array(bytes, 0)),
            _ => Err(wrong),
        }
    }

    fn number<T: TryFrom<u32>>(&self, name: Name) -> Result<T, PckError> {
        let wrong = PckError::Encoding { name: name.1 };
        let number = self.find(name)?.decode_as::<u32>().map_err(|_| wrong)?;
        T::try_from(number).map_err(|_| wrong)
    }

    fn enumerated(&self, name: Name) -> Result<u8, PckError> {
        let value = self.find(name)?;
        match value.value() {
            [number] if value.tag() == Tag::Enumerated => Ok(*number),
            _ => Err(PckError::Encoding { name: name.1 }),
        }
    }

    fn flag(&self, name: Name) -> Result<Option<bool>, PckError> {
        let found = self.optional(name).map(|value| value.decode_as::<bool>());
        found.transpose().map_err(|_| PckError::Encoding { name: name.1 })
    }
}

pub(super) type Name = (ObjectIdentifier, &'static str);

const fn id(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

/// The extension.
pub(super) const SGX_EXTENSION: ObjectIdentifier = id("1.2.840.113741.1.13.1");
pub(super) const PPID: Name = (id("1.2.840.113741.1.13.1.1"), "PPID");
pub(super) const TCB: Name = (id("1.2.840.113741.1.13.1.2"), "TCB");
pub(super) const PCE_ID: Name = (id("1.2.840.113741.1.13.1.3"), "PCE-ID");
pub(super) const FMSPC: Name = (id("1.2.840.113741.1.13.1.4"), "FMSPC");
pub(super) const SGX_TYPE: Name = (id("1.2.840.113741.1.13.1.5"), "SGX Type");
pub(super) const INSTANCE: Name = (id("1.2.840.113741.1.13.1.6"), "Platform Instance ID");
pub(super) const CONFIGURATION: Name = (id("1.2.840.113741.1.13.1.7"), "Configuration");
pub(super) const DYNAMIC_PLATFORM: Name = (id("1.2.840.113741.1.13.1.7.1"), "Dynamic Platform");
pub(super) const CACHED_KEYS: Name = (id("1.2.840.113741.1.13.1.7.2"), "Cached Keys");
pub(super) const SMT_ENABLED: Name = (id("1.2.840.113741.1.13.1.7.3"), "SMT Enabled");
pub(super) const PCE_SVN: Name = (id("1.2.840.113741.1.13.1.2.17"), "PCESVN");
pub(super) const CPU_SVN: Name = (id("1.2.840.113741.1.13.1.2.18"), "CPUSVN");
pub(super) const COMPONENTS: [Name; 16] = [
    (id("1.2.840.113741.1.13.1.2.1"), "Comp01 SVN"),
    (id("1.2.840.113741.1.13.1.2.2"), "Comp02 SVN"),
    (id("1.2.840.113741.1.13.1.2.3"), "Comp03 SVN"),
    (id("1.2.840.113741.1.13.1.2.4"), "Comp04 SVN"),
    (id("1.2.840.113741.1.13.1.2.5"), "Comp05 SVN"),
    (id("1.2.840.113741.1.13.1.2.6"), "Comp06 SVN"),
    (id("1.2.840.113741.1.13.1.2.7"), "Comp07 SVN"),
    (id("1.2.840.113741.1.13.1.2.8"), "Comp08 SVN"),
    (id("1.2.840.113741.1.13.1.2.9"), "Comp09 SVN"),
    (id("1.2.840.113741.1.13.1.2.10"), "Comp10 SVN"),
    (id("1.2.840.113741.1.13.1.2.11"), "Comp11 SVN"),
    (id("1.2.840.113741.1.13.1.2.12"), "Comp12 SVN"),
    (id("1.2.840.113741.1.13.1.2.13"), "Comp13 SVN"),
    (id("1.2.840.113741.1.13.1.2.14"), "Comp14 SVN"),
    (id("1.2.840.113741.1.13.1.2.15"), "Comp15 SVN"),
    (id("1.2.840.113741.1.13.1.2.16"), "Comp16 SVN"),
];
const KNOWN: [Name; 7] = [PPID, TCB, PCE_ID, FMSPC, SGX_TYPE, INSTANCE, CONFIGURATION];
const CONFIGURATION_KNOWN: [Name; 3] = [DYNAMIC_PLATFORM, CACHED_KEYS, SMT_ENABLED];
const TCB_KNOWN: [Name; 18] = {
    let mut known = [PCE_SVN; 18];
    let mut index = 0;
    while index < 16 {
        known[index] = COMPONENTS[index];
        index += 1;
    }
    known[17] = CPU_SVN;
    known
};
