//! What does Intel say of a platform's firmware?
//!
//! Source: Provisioning Certification Service API, "Get TCB Info", data structures of version 2 (SGX) and
//! 3 (SGX and TDX).

use casemate_crypto::sign;
use serde::{Deserialize, Deserializer, Serialize};

use super::enclave_identity::EnclaveLevel;
use super::json::{self, CollateralError};
use super::pck::Fmspc;
use crate::Measurement;

/// TCB info, well formed; nothing about its signature is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbInfo {
    body: Vec<u8>,
    version: u32,
    tee: Tee,
    issued_ms: u64,
    next_update_ms: u64,
    fmspc: Fmspc,
    pce_id: [u8; 2],
    evaluation_number: u32,
    module: Option<TdxModule>,
    module_identities: Vec<ModuleIdentity>,
    levels: Vec<TcbLevel>,
}

/// Which TEE a document speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Tee {
    /// Enclaves.
    Sgx,
    /// Trust domains.
    Tdx,
}

/// Intel's judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TcbStatus {
    /// Nothing is to be mended.
    UpToDate,
    /// Software in the TEE must mend what firmware cannot.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// The machine must be configured otherwise.
    ConfigurationNeeded,
    /// Both.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// The machine is up to date, the trust domain was launched when it was not.
    #[serde(rename = "TDRelaunchAdvised")]
    TdRelaunchAdvised,
    /// The same, and the machine must be configured otherwise.
    #[serde(rename = "TDRelaunchAdvisedConfigurationNeeded")]
    TdRelaunchAdvisedConfigurationNeeded,
    /// Firmware must be updated.
    OutOfDate,
    /// Firmware must be updated and the machine configured otherwise.
    OutOfDateConfigurationNeeded,
    /// Its keys are no longer trusted.
    Revoked,
}

/// A set of versions and what Intel says of platforms that have at least these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbLevel {
    /// Least SVN of each component of the PCK's TCB.
    pub sgx_components: [u8; 16],
    /// Least PCE SVN.
    pub pce_svn: u16,
    /// Least byte of TEE_TCB_SVN; of TDX only.
    pub tdx_components: Option<[u8; 16]>,
    /// The day whose knowledge the judgement has, in milliseconds since 1970.
    pub date_ms: u64,
    /// The judgement.
    pub status: TcbStatus,
    /// Advisories that are open at this level.
    pub advisories: Vec<String>,
}

/// Which TDX module is Intel's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TdxModule {
    /// MRSIGNERSEAM.
    #[serde(rename = "mrsigner")]
    pub mr_signer: Measurement,
    /// SEAMATTRIBUTES where the mask is set.
    #[serde(deserialize_with = "json::hex")]
    pub attributes: [u8; 8],
    /// Which bits of the attributes count.
    #[serde(deserialize_with = "json::hex")]
    pub attributes_mask: [u8; 8],
}

/// A major version of the TDX module: its identity and what Intel says of its minor versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleIdentity {
    /// The major version: byte 1 of TEE_TCB_SVN.
    pub version: u8,
    /// Which module is Intel's.
    pub module: TdxModule,
    /// Judgements, newest first.
    pub levels: Vec<EnclaveLevel>,
}

impl TcbInfo {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 128 * 1024;

    /// Reads TCB info, the very bytes that are signed.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn parse(body: &[u8]) -> Result<Self, CollateralError> {
        #[derive(Deserialize)]
        struct AnyVersion {
            version: u32,
        }
        let AnyVersion { version } = json::read(DOCUMENT, body, Self::MAXIMUM_LEN)?;
        match version {
            2 => Self::read::<ComponentsV2>(body),
            3 => Self::read::<ComponentsV3>(body),
            found => Err(CollateralError::Version { document: DOCUMENT, found, expected: "2 or 3" }),
        }
    }

    /// Reads an answer of Intel's service: TCB info and its signature.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn parse_response(bytes: &[u8]) -> Result<(Self, sign::Signature), CollateralError> {
        let (body, signature) = json::split_response(DOCUMENT, "tcbInfo", bytes, Self::MAXIMUM_LEN)?;
        Ok((Self::parse(&body)?, signature))
    }

    fn read<C: Components>(body: &[u8]) -> Result<Self, CollateralError> {
        let file: File<C> = json::read(DOCUMENT, body, Self::MAXIMUM_LEN)?;
        // Version 2 is of SGX and does not say so.
        let tee = match (file.version, file.id) {
            (2, None) => Tee::Sgx,
            (3, Some(tee)) => tee,
            (found, _) => {
                return Err(CollateralError::Version { document: DOCUMENT, found, expected: "2 or 3" });
            }
        };
        if file.tcb_type != 0 {
            return Err(CollateralError::TcbType { found: file.tcb_type });
        }
        let levels: Vec<TcbLevel> = file.tcb_levels.into_iter().map(Level::into_level).collect();
        if levels.is_empty() {
            return Err(CollateralError::NoLevels { document: DOCUMENT });
        }
        let is_tdx = levels.iter().all(|level| level.tdx_components.is_some()) && file.tdx_module.is_some();
        let is_sgx = levels.iter().all(|level| level.tdx_components.is_none())
            && file.tdx_module.is_none()
            && file.tdx_module_identities.is_empty();
        match tee {
            Tee::Tdx if !is_tdx => return Err(CollateralError::WrongTee { id: "TDX" }),
            Tee::Sgx if !is_sgx => return Err(CollateralError::WrongTee { id: "SGX" }),
            _ => {}
        }
        Ok(Self {
            body: body.to_vec(),
            version: file.version,
            tee,
            issued_ms: file.issue_date,
            next_update_ms: file.next_update,
            fmspc: file.fmspc.into(),
            pce_id: file.pce_id,
            evaluation_number: file.tcb_evaluation_data_number,
            module: file.tdx_module,
            module_identities: file.tdx_module_identities,
            levels,
        })
    }

    /// The bytes that are signed.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Version of the structure.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Which TEE it speaks of.
    pub fn tee(&self) -> Tee {
        self.tee
    }

    /// When it was issued, in milliseconds since 1970.
    pub fn issued_ms(&self) -> u64 {
        self.issued_ms
    }

    /// When the next is due, in milliseconds since 1970.
    pub fn next_update_ms(&self) -> u64 {
        self.next_update_ms
    }

    /// Of which processors it speaks.
    pub fn fmspc(&self) -> Fmspc {
        self.fmspc
    }

    /// Of which provisioning certification enclave it speaks.
    pub fn pce_id(&self) -> [u8; 2] {
        self.pce_id
    }

    /// TCB evaluation data number: rises with each TCB recovery.
    pub fn evaluation_number(&self) -> u32 {
        self.evaluation_number
    }

    /// Which TDX module of major version 0 is Intel's; of TDX only.
    pub fn module(&self) -> Option<&TdxModule> {
        self.module.as_ref()
    }

    /// TDX modules of later major versions.
    pub fn module_identities(&self) -> &[ModuleIdentity] {
        &self.module_identities
    }

    /// Judgements, in the order in which they are to be tried.
    pub fn levels(&self) -> &[TcbLevel] {
        &self.levels
    }
}

impl TcbStatus {
    /// Every status.
    pub const ALL: [TcbStatus; 9] = [
        TcbStatus::UpToDate,
        TcbStatus::SwHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSwHardeningNeeded,
        TcbStatus::TdRelaunchAdvised,
        TcbStatus::TdRelaunchAdvisedConfigurationNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
        TcbStatus::Revoked,
    ];

    /// The word as Intel spells it.
    pub const fn name(self) -> &'static str {
        match self {
            TcbStatus::UpToDate => "UpToDate",
            TcbStatus::SwHardeningNeeded => "SWHardeningNeeded",
            TcbStatus::ConfigurationNeeded => "ConfigurationNeeded",
            TcbStatus::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            TcbStatus::TdRelaunchAdvised => "TDRelaunchAdvised",
            TcbStatus::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            TcbStatus::OutOfDate => "OutOfDate",
            TcbStatus::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            TcbStatus::Revoked => "Revoked",
        }
    }
}

impl std::fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File<C> {
    id: Option<Tee>,
    version: u32,
    #[serde(deserialize_with = "json::time_ms")]
    issue_date: u64,
    #[serde(deserialize_with = "json::time_ms")]
    next_update: u64,
    #[serde(deserialize_with = "json::hex")]
    fmspc: [u8; 6],
    #[serde(deserialize_with = "json::hex")]
    pce_id: [u8; 2],
    tcb_type: u32,
    tcb_evaluation_data_number: u32,
    tdx_module: Option<TdxModule>,
    #[serde(default, deserialize_with = "module_identities")]
    tdx_module_identities: Vec<ModuleIdentity>,
    tcb_levels: Vec<Level<C>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Level<C> {
    tcb: C,
    #[serde(deserialize_with = "json::time_ms")]
    tcb_date: u64,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    advisory_ids: Vec<String>,
}

impl<C: Components> Level<C> {
    fn into_level(self) -> TcbLevel {
        TcbLevel {
            sgx_components: self.tcb.sgx(),
            pce_svn: self.tcb.pce_svn(),
            tdx_components: self.tcb.tdx(),
            date_ms: self.tcb_date,
            status: self.tcb_status,
            advisories: self.advisory_ids,
        }
    }
}

trait Components: for<'de> Deserialize<'de> {
    fn sgx(&self) -> [u8; 16];
    fn pce_svn(&self) -> u16;
    fn tdx(&self) -> Option<[u8; 16]>;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentsV3 {
    sgxtcbcomponents: [Component; 16],
    pcesvn: u16,
    tdxtcbcomponents: Option<[Component; 16]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    svn: u8,
    #[serde(rename = "category")]
    _category: Option<String>,
    #[serde(rename = "type")]
    _kind: Option<String>,
}

impl Components for ComponentsV3 {
    fn sgx(&self) -> [u8; 16] {
        self.sgxtcbcomponents.each_ref().map(|component| component.svn)
    }

    fn pce_svn(&self) -> u16 {
        self.pcesvn
    }

    fn tdx(&self) -> Option<[u8; 16]> {
        self.tdxtcbcomponents.as_ref().map(|list| list.each_ref().map(|component| component.svn))
    }
}

macro_rules! components_v2 {
    ($($name:ident),*) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ComponentsV2 {
            $($name: u8,)*
            pcesvn: u16,
        }

        impl Components for ComponentsV2 {
            fn sgx(&self) -> [u8; 16] {
                [$(self.$name),*]
            }

            fn pce_svn(&self) -> u16 {
                self.pcesvn
            }

            fn tdx(&self) -> Option<[u8; 16]> {
                None
            }
        }
    };
}

components_v2!(
    sgxtcbcomp01svn,
    sgxtcbcomp02svn,
    sgxtcbcomp03svn,
    sgxtcbcomp04svn,
    sgxtcbcomp05svn,
    sgxtcbcomp06svn,
    sgxtcbcomp07svn,
    sgxtcbcomp08svn,
    sgxtcbcomp09svn,
    sgxtcbcomp10svn,
    sgxtcbcomp11svn,
    sgxtcbcomp12svn,
    sgxtcbcomp13svn,
    sgxtcbcomp14svn,
    sgxtcbcomp15svn,
    sgxtcbcomp16svn
);

fn module_identities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ModuleIdentity>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Identity {
        id: String,
        mrsigner: Measurement,
        #[serde(deserialize_with = "json::hex")]
        attributes: [u8; 8],
        #[serde(deserialize_with = "json::hex")]
        attributes_mask: [u8; 8],
        tcb_levels: Vec<EnclaveLevel>,
    }
    let identities = Vec::<Identity>::deserialize(deserializer)?;
    let mut found: Vec<ModuleIdentity> = Vec::new();
    for identity in identities {
        // "TDX_03" is major version 3, in hexadecimal digits.
        let version = identity
            .id
            .strip_prefix("TDX_")
            .filter(|digits| digits.len() == 2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let Some(version) = version.filter(|version| found.iter().all(|other| other.version != *version))
        else {
            return Err(serde::de::Error::custom("expected module identities such as TDX_03, each once"));
        };
        found.push(ModuleIdentity {
            version,
            module: TdxModule {
                mr_signer: identity.mrsigner,
                attributes: identity.attributes,
                attributes_mask: identity.attributes_mask,
            },
            levels: identity.tcb_levels,
        });
    }
    Ok(found)
}

const DOCUMENT: &str = "TCB info";
