//! How are quotes and collateral written?
//!
//! The layouts of this module, in the other direction: for the software TEE and for tests, so that they
//! are written down once. What they build is as good as the keys that sign it.

use casemate_crypto::hash::{Sha256, sha256};
use casemate_crypto::sign;
use der::asn1::{ObjectIdentifier, OctetString};
use der::{Any, Tag};
use serde_json::{Map, Value, json};

use super::pck::{self, Fmspc, PckConfiguration, PlatformTcb, Ppid, SgxType};
use super::quote::{
    Body, ENCLAVE_QUOTE_KEY_TYPE, INTEL_QE_VENDOR, PCK_CHAIN, QE_REPORT, QuoteVersion, SGX, TDX,
};
use super::tcb_info::{TcbStatus, TdxModule, Tee};
use crate::{ReportData, sgx};

/// Every part of a quote but its signatures.
#[derive(Debug, Clone)]
pub struct QuoteBuilder {
    /// The layout.
    pub version: QuoteVersion,
    /// The report.
    pub body: Body,
    /// QE SVN and PCE SVN of the header; zero in quotes of TDX.
    pub header_svns: [u16; 2],
    /// User data of the header.
    pub user_data: [u8; 20],
    /// The attestation key.
    pub attestation_key: sign::PublicKey,
    /// The Quoting Enclave; its report data is filled in.
    pub quoting_enclave: sgx::ReportBuilder,
    /// What the Quoting Enclave's report commits to besides the key.
    pub qe_authentication_data: Vec<u8>,
    /// The PCK certificate and those above it, PEM.
    pub certificates_pem: Vec<u8>,
}

impl QuoteBuilder {
    /// Header and body: what the attestation key signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let (tee, kind, report) = match &self.body {
            Body::Sgx(report) => (SGX, 1u16, report.as_bytes().to_vec()),
            Body::Tdx(report) if report.service_td().is_none() => (TDX, 2, report.as_bytes().to_vec()),
            Body::Tdx(report) => (TDX, 3, report.as_bytes().to_vec()),
        };
        let mut bytes = Vec::with_capacity(54 + report.len());
        bytes.extend(self.version.number().to_le_bytes());
        bytes.extend(ENCLAVE_QUOTE_KEY_TYPE.to_le_bytes());
        bytes.extend(tee.to_le_bytes());
        bytes.extend(self.header_svns.iter().flat_map(|svn| svn.to_le_bytes()));
        bytes.extend(INTEL_QE_VENDOR);
        bytes.extend(self.user_data);
        if self.version == QuoteVersion::V5 {
            bytes.extend(kind.to_le_bytes());
            bytes.extend((report.len() as u32).to_le_bytes());
        }
        bytes.extend(report);
        bytes
    }

    /// The Quoting Enclave's report: what the PCK signs.
    pub fn qe_report(&self) -> sgx::Report {
        let key = self.attestation_key.as_bytes();
        let digest = sha256(&[&key[..], &self.qe_authentication_data].concat());
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(digest.as_ref());
        sgx::ReportBuilder { report_data: ReportData::from(report_data), ..self.quoting_enclave.clone() }
            .finish()
    }

    /// The quote with its signatures, which are not checked: by the attestation key over
    /// [`signed_bytes`](Self::signed_bytes), by the PCK over [`qe_report`](Self::qe_report).
    pub fn finish(&self, signature: &sign::Signature, qe_report_signature: &sign::Signature) -> Vec<u8> {
        self.finish_with_qe_report(&self.qe_report(), signature, qe_report_signature)
    }

    /// As [`finish`](Self::finish), with any report of a Quoting Enclave.
    pub fn finish_with_qe_report(
        &self,
        qe_report: &sgx::Report,
        signature: &sign::Signature,
        qe_report_signature: &sign::Signature,
    ) -> Vec<u8> {
        let mut inner = qe_report.as_bytes().to_vec();
        inner.extend(qe_report_signature.as_bytes());
        inner.extend((self.qe_authentication_data.len() as u16).to_le_bytes());
        inner.extend(&self.qe_authentication_data);
        inner.extend(certification(PCK_CHAIN, &self.certificates_pem));
        let mut data = signature.as_bytes().to_vec();
        data.extend(self.attestation_key.as_bytes());
        match self.version {
            QuoteVersion::V3 => data.extend(inner),
            QuoteVersion::V4 | QuoteVersion::V5 => data.extend(certification(QE_REPORT, &inner)),
        }
        let mut bytes = self.signed_bytes();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes
    }
}

fn certification(kind: u16, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

/// The SGX extension of a PCK certificate: identifier, and content of the octet string.
pub fn pck_extension(
    ppid: Ppid,
    tcb: &PlatformTcb,
    pce_id: [u8; 2],
    fmspc: Fmspc,
    sgx_type: SgxType,
    configuration: Option<PckConfiguration>,
) -> (ObjectIdentifier, Vec<u8>) {
    let mut versions: Vec<Vec<u8>> =
        pck::COMPONENTS.iter().zip(tcb.components).map(|(name, svn)| pair(name.0, &encoded(&svn))).collect();
    versions.push(pair(pck::PCE_SVN.0, &encoded(&tcb.pce_svn)));
    versions.push(pair(pck::CPU_SVN.0, &octets(&tcb.cpu_svn)));
    let kind = match sgx_type {
        SgxType::Standard => 0,
        SgxType::Scalable => 1,
        SgxType::ScalableWithIntegrity => 2,
    };
    let mut all = vec![
        pair(pck::PPID.0, &octets(ppid.as_ref())),
        pair(pck::TCB.0, &sequence(&versions)),
        pair(pck::PCE_ID.0, &octets(&pce_id)),
        pair(pck::FMSPC.0, &octets(fmspc.as_ref())),
        pair(pck::SGX_TYPE.0, &encoded(&Any::new(Tag::Enumerated, vec![kind]).expect("one byte"))),
    ];
    if let Some(configuration) = configuration {
        let flags = [
            (pck::DYNAMIC_PLATFORM, configuration.dynamic_platform),
            (pck::CACHED_KEYS, configuration.cached_keys),
            (pck::SMT_ENABLED, configuration.smt_enabled),
        ];
        let flags: Vec<Vec<u8>> =
            flags.iter().filter_map(|(name, on)| on.map(|on| pair(name.0, &encoded(&on)))).collect();
        all.push(pair(pck::CONFIGURATION.0, &sequence(&flags)));
    }
    (pck::SGX_EXTENSION, sequence(&all))
}

fn pair(id: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    sequence(&[encoded(&id), value.to_vec()])
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    encoded(&OctetString::new(bytes).expect("short"))
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    encoded(&Any::new(Tag::Sequence, parts.concat()).expect("short"))
}

fn encoded(value: &impl der::Encode) -> Vec<u8> {
    value.to_der().expect("values of this module encode")
}

/// What Intel would say of a platform: TCB info of version 3 and an enclave identity of version 2.
#[derive(Debug, Clone)]
pub struct CollateralBuilder {
    /// Which TEE.
    pub tee: Tee,
    /// When both were issued, in milliseconds since 1970.
    pub issued_ms: u64,
    /// When the next are due, in milliseconds since 1970.
    pub next_update_ms: u64,
    /// Which processors.
    pub fmspc: Fmspc,
    /// Which provisioning certification enclave.
    pub pce_id: [u8; 2],
    /// TCB evaluation data number of both.
    pub evaluation_number: u32,
    /// Which TDX module of major version 0 is genuine; of TDX only.
    pub module: Option<TdxModule>,
    /// Later major versions of the TDX module.
    pub module_identities: Vec<ModuleBuilder>,
    /// Judgements of the platform.
    pub levels: Vec<LevelBuilder>,
    /// MRSIGNER of the Quoting Enclave.
    pub qe_mr_signer: Sha256,
    /// ISVPRODID of the Quoting Enclave.
    pub qe_isv_prod_id: u16,
    /// ATTRIBUTES of the Quoting Enclave, and which bits count.
    pub qe_attributes: [[u8; 16]; 2],
    /// MISCSELECT of the Quoting Enclave, and which bits count.
    pub qe_misc_select: [[u8; 4]; 2],
    /// Judgements of the Quoting Enclave, by ISVSVN.
    pub qe_levels: Vec<(u16, TcbStatus, Vec<String>)>,
}

/// A major version of the TDX module.
#[derive(Debug, Clone)]
pub struct ModuleBuilder {
    /// The major version.
    pub version: u8,
    /// Which module is genuine.
    pub module: TdxModule,
    /// Judgements, by minor version.
    pub levels: Vec<(u16, TcbStatus, Vec<String>)>,
}

/// A judgement of the platform.
#[derive(Debug, Clone)]
pub struct LevelBuilder {
    /// Least SVN of each component.
    pub sgx_components: [u8; 16],
    /// Least PCE SVN.
    pub pce_svn: u16,
    /// Least byte of TEE_TCB_SVN; of TDX only.
    pub tdx_components: Option<[u8; 16]>,
    /// The judgement.
    pub status: TcbStatus,
    /// Open advisories.
    pub advisories: Vec<String>,
}

impl CollateralBuilder {
    /// TCB info: the bytes to be signed.
    pub fn tcb_info(&self) -> Vec<u8> {
        let mut info = Map::new();
        info.insert("id".into(), json!(self.tee));
        info.insert("version".into(), json!(3));
        self.insert_dates(&mut info);
        info.insert("fmspc".into(), json!(self.fmspc));
        info.insert("pceId".into(), json!(digits(&self.pce_id)));
        info.insert("tcbType".into(), json!(0));
        info.insert("tcbEvaluationDataNumber".into(), json!(self.evaluation_number));
        if let Some(module) = &self.module {
            info.insert("tdxModule".into(), Value::Object(module_members(module)));
            let identities = self.module_identities.iter().map(|identity| {
                let mut members = Map::new();
                members.insert("id".into(), json!(format!("TDX_{:02X}", identity.version)));
                members.append(&mut module_members(&identity.module));
                members.insert("tcbLevels".into(), self.enclave_levels(&identity.levels));
                Value::Object(members)
            });
            info.insert("tdxModuleIdentities".into(), identities.collect());
        }
        let levels = self.levels.iter().map(|level| {
            let components =
                |list: &[u8; 16]| list.iter().map(|svn| json!({ "svn": svn })).collect::<Value>();
            let mut tcb = Map::new();
            tcb.insert("sgxtcbcomponents".into(), components(&level.sgx_components));
            tcb.insert("pcesvn".into(), json!(level.pce_svn));
            if let Some(list) = &level.tdx_components {
                tcb.insert("tdxtcbcomponents".into(), components(list));
            }
            self.level(Value::Object(tcb), level.status, &level.advisories)
        });
        info.insert("tcbLevels".into(), levels.collect());
        Value::Object(info).to_string().into_bytes()
    }

    /// Identity of the Quoting Enclave: the bytes to be signed.
    pub fn qe_identity(&self) -> Vec<u8> {
        let mut identity = Map::new();
        let id = match self.tee {
            Tee::Sgx => "QE",
            Tee::Tdx => "TD_QE",
        };
        identity.insert("id".into(), json!(id));
        identity.insert("version".into(), json!(2));
        self.insert_dates(&mut identity);
        identity.insert("tcbEvaluationDataNumber".into(), json!(self.evaluation_number));
        for (name, [value, mask]) in [
            ("miscselect", self.qe_misc_select.map(|bytes| digits(&bytes))),
            ("attributes", self.qe_attributes.map(|bytes| digits(&bytes))),
        ] {
            identity.insert(name.into(), json!(value));
            identity.insert(format!("{name}Mask"), json!(mask));
        }
        identity.insert("mrsigner".into(), json!(self.qe_mr_signer));
        identity.insert("isvprodid".into(), json!(self.qe_isv_prod_id));
        identity.insert("tcbLevels".into(), self.enclave_levels(&self.qe_levels));
        Value::Object(identity).to_string().into_bytes()
    }

    fn insert_dates(&self, into: &mut Map<String, Value>) {
        into.insert("issueDate".into(), json!(date(self.issued_ms)));
        into.insert("nextUpdate".into(), json!(date(self.next_update_ms)));
    }

    fn enclave_levels(&self, levels: &[(u16, TcbStatus, Vec<String>)]) -> Value {
        levels
            .iter()
            .map(|(isv_svn, status, advisories)| {
                self.level(json!({ "isvsvn": isv_svn }), *status, advisories)
            })
            .collect()
    }

    fn level(&self, tcb: Value, status: TcbStatus, advisories: &[String]) -> Value {
        json!({
            "tcb": tcb,
            "tcbDate": date(self.issued_ms),
            "tcbStatus": status,
            "advisoryIDs": advisories,
        })
    }
}

fn module_members(module: &TdxModule) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("mrsigner".into(), json!(module.mr_signer));
    members.insert("attributes".into(), json!(digits(&module.attributes)));
    members.insert("attributesMask".into(), json!(digits(&module.attributes_mask)));
    members
}

fn date(ms: u64) -> String {
    let time = der::DateTime::from_unix_duration(std::time::Duration::from_millis(ms));
    time.expect("a time before the year 10000").to_string()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
