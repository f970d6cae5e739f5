//! An Intel platform made of software, for tests: root, authority, PCK and TCB signing keys, certificates
//! with Intel's extensions, collateral, and quotes of a trust domain or an enclave. Anything about it can
//! be changed and is signed anew, so that a test can break one rule at a time.

use casemate_crypto::hash::Sha256;
use casemate_crypto::sign::{Signature, SigningKey};
use casemate_evidence::Measurement;
use casemate_evidence::intel::{
    Body, CollateralBuilder, CollateralError, EnclaveIdentity, Fmspc, LevelBuilder, ModuleBuilder,
    PckConfiguration, PlatformTcb, Ppid, QuoteBuilder, QuoteVersion, SgxType, TcbInfo, TcbStatus, TdxModule,
    Tee, pck_extension,
};
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_evidence::{sgx, tdx};
use casemate_verify::SimulatedRoot;
use casemate_verify::intel::Collateral;
use der::Encode as _;
use der::asn1::{BitString, ObjectIdentifier, OctetString};

use super::{BASIC_CONSTRAINTS, DAY_MS, KEY_USAGE, NOW_MS, name, sequence, tagged, time};

/// Whose key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Key {
    Root,
    Authority,
    Pck,
    TcbSigning,
    Attestation,
    Other,
}

impl Key {
    pub fn secret(self) -> SigningKey {
        SigningKey::from_bytes(&[self as u8 + 1; 32]).expect("a number below the group order")
    }

    pub fn sign(self, message: &[u8]) -> Signature {
        self.secret().sign(message)
    }
}

/// Everything that a certificate states.
#[derive(Debug, Clone)]
pub struct Cert {
    pub serial: Vec<u8>,
    pub issuer: String,
    pub subject: String,
    pub not_before_ms: u64,
    pub not_after_ms: u64,
    pub key: Key,
    pub extensions: Vec<(ObjectIdentifier, bool, Vec<u8>)>,
    pub signer: Key,
    pub algorithm: Vec<u8>,
}

/// Everything that a revocation list states.
#[derive(Debug, Clone)]
pub struct List {
    pub issuer: String,
    pub this_update_ms: u64,
    pub next_update_ms: u64,
    pub revoked: Vec<Vec<u8>>,
    pub number: Option<u8>,
    pub signer: Key,
}

/// What the PCK certificate says of the platform.
#[derive(Debug, Clone)]
pub struct Platform {
    pub ppid: Ppid,
    pub tcb: PlatformTcb,
    pub pce_id: [u8; 2],
    pub fmspc: Fmspc,
    pub sgx_type: SgxType,
    pub configuration: Option<PckConfiguration>,
}

/// What runs on the platform.
#[derive(Debug, Clone)]
pub enum Guest {
    Tdx(Box<tdx::ReportBuilder>),
    Sgx(Box<sgx::ReportBuilder>),
}

/// A software platform with one guest.
#[derive(Debug, Clone)]
pub struct Machine {
    pub root: Cert,
    pub authority: Cert,
    pub pck: Cert,
    pub tcb_signing: Cert,
    pub root_list: List,
    pub pck_list: List,
    pub platform: Platform,
    pub collateral: CollateralBuilder,
    pub tcb_info_signer: Key,
    pub qe_identity_signer: Key,
    /// TCB info and enclave identity in place of what the builder writes.
    pub documents: [Option<Vec<u8>>; 2],
    pub guest: Guest,
    pub version: QuoteVersion,
    pub quoting_enclave: sgx::ReportBuilder,
    pub qe_authentication_data: Vec<u8>,
    /// Report data of the Quoting Enclave in place of the right one.
    pub qe_report_data: Option<[u8; 64]>,
    pub qe_report_signer: Key,
    pub quote_signer: Key,
}

impl Machine {
    /// A platform that is up to date, with a trust domain of TDX 1.5.
    pub fn tdx() -> Self {
        let svn = tdx::TeeTcbSvn::from([5, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut report = tdx::ReportBuilder::new(svn);
        report.mr_seam = [0x5E; 48].into();
        report.mr_td = [0x4D; 48].into();
        report.mr_config_id[..32].fill(0x9C);
        report.rtmr = [0x40, 0x41, 0x42, 0x43].map(|byte| Measurement::from([byte; 48]));
        report.report_data = [0x77; 64].into();
        report.service_td = Some(tdx::ServiceTd { tee_tcb_svn_2: svn, mr_service_td: [0; 48].into() });
        Self::new(Tee::Tdx, Guest::Tdx(report.into()), QuoteVersion::V5)
    }

    /// A platform that is up to date, with an enclave.
    pub fn sgx() -> Self {
        let mut report = sgx::ReportBuilder::new([0xE1; 32].into(), [0xE2; 32].into());
        report.isv_prod_id = 7;
        report.isv_svn = 3;
        report.report_data = [0x77; 64].into();
        Self::new(Tee::Sgx, Guest::Sgx(report.into()), QuoteVersion::V3)
    }

    fn new(tee: Tee, guest: Guest, version: QuoteVersion) -> Self {
        let fmspc = Fmspc::from([0xB0, 0xC0, 0x6F, 0, 0, 0]);
        let platform = Platform {
            ppid: [0xAB; 16].into(),
            tcb: PlatformTcb { components: [7; 16], pce_svn: 13, cpu_svn: [9; 16] },
            pce_id: [0, 0],
            fmspc,
            sgx_type: SgxType::Scalable,
            configuration: Some(PckConfiguration {
                dynamic_platform: Some(true),
                cached_keys: Some(true),
                smt_enabled: Some(true),
            }),
        };
        let mut quoting_enclave = sgx::ReportBuilder::new([0xA1; 32].into(), QE_SIGNER);
        quoting_enclave.isv_prod_id = 2;
        quoting_enclave.isv_svn = 6;
        let certificate = |issuer: &str, subject: &str, key, signer, extensions| Cert {
            serial: vec![key as u8 + 0x10],
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            not_before_ms: NOW_MS - 100 * DAY_MS,
            not_after_ms: NOW_MS + 1000 * DAY_MS,
            key,
            extensions,
            signer,
            algorithm: ECDSA_SHA256.to_vec(),
        };
        let list = |issuer: &str, signer| List {
            issuer: issuer.to_owned(),
            this_update_ms: NOW_MS - 10 * DAY_MS,
            next_update_ms: NOW_MS + 20 * DAY_MS,
            revoked: vec![vec![0x55]],
            number: None,
            signer,
        };
        Self {
            root: certificate(ROOT, ROOT, Key::Root, Key::Root, authority(Some(1))),
            authority: certificate(ROOT, AUTHORITY, Key::Authority, Key::Root, authority(Some(0))),
            pck: certificate(AUTHORITY, "Intel SGX PCK Certificate", Key::Pck, Key::Authority, leaf()),
            tcb_signing: certificate(ROOT, "Intel SGX TCB Signing", Key::TcbSigning, Key::Root, leaf()),
            root_list: list(ROOT, Key::Root),
            pck_list: list(AUTHORITY, Key::Authority),
            collateral: collateral(tee, fmspc),
            tcb_info_signer: Key::TcbSigning,
            qe_identity_signer: Key::TcbSigning,
            documents: [None, None],
            platform,
            guest,
            version,
            quoting_enclave,
            qe_authentication_data: (0..32).collect(),
            qe_report_data: None,
            qe_report_signer: Key::Pck,
            quote_signer: Key::Attestation,
        }
    }

    pub fn td(&mut self) -> &mut tdx::ReportBuilder {
        match &mut self.guest {
            Guest::Tdx(report) => report,
            Guest::Sgx(_) => panic!("no trust domain runs here"),
        }
    }

    pub fn enclave(&mut self) -> &mut sgx::ReportBuilder {
        match &mut self.guest {
            Guest::Sgx(report) => report,
            Guest::Tdx(_) => panic!("no enclave runs here"),
        }
    }

    pub fn quote(&self) -> Vec<u8> {
        let builder = self.builder();
        let mut qe_report = builder.qe_report();
        if let Some(report_data) = self.qe_report_data {
            let mut changed = sgx::ReportBuilder::from(&qe_report);
            changed.report_data = report_data.into();
            qe_report = changed.finish();
        }
        builder.finish_with_qe_report(
            &qe_report,
            &self.quote_signer.sign(&builder.signed_bytes()),
            &self.qe_report_signer.sign(qe_report.as_bytes()),
        )
    }

    pub fn builder(&self) -> QuoteBuilder {
        let mut certificates_pem = Vec::new();
        for der in [self.pck_der(), self.authority.to_der(), self.root.to_der()] {
            let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &der);
            certificates_pem.extend(pem.expect("encodes").into_bytes());
        }
        certificates_pem.push(0);
        QuoteBuilder {
            version: self.version,
            body: match &self.guest {
                Guest::Tdx(report) => Body::Tdx(report.finish()),
                Guest::Sgx(report) => Body::Sgx(report.finish()),
            },
            header_svns: [0, 0],
            user_data: [0; 20],
            attestation_key: Key::Attestation.secret().public(),
            quoting_enclave: self.quoting_enclave.clone(),
            qe_authentication_data: self.qe_authentication_data.clone(),
            certificates_pem,
        }
    }

    pub fn documents(&self) -> [Vec<u8>; 2] {
        let [tcb_info, qe_identity] = self.documents.clone();
        [
            tcb_info.unwrap_or_else(|| self.collateral.tcb_info()),
            qe_identity.unwrap_or_else(|| self.collateral.qe_identity()),
        ]
    }

    pub fn collateral(&self) -> Collateral {
        self.try_collateral().expect("the documents are well formed")
    }

    pub fn try_collateral(&self) -> Result<Collateral, CollateralError> {
        let [tcb_info, qe_identity] = self.documents();
        let certificate = |der: Vec<u8>| Certificate::parse(&der).expect("a certificate");
        Ok(Collateral {
            tcb_info_signature: self.tcb_info_signer.sign(&tcb_info),
            tcb_info: TcbInfo::parse(&tcb_info)?,
            tcb_info_signer: certificate(self.tcb_signing.to_der()),
            qe_identity_signature: self.qe_identity_signer.sign(&qe_identity),
            qe_identity: EnclaveIdentity::parse(&qe_identity)?,
            qe_identity_signer: certificate(self.tcb_signing.to_der()),
            root: certificate(self.root.to_der()),
            root_revocation_list: RevocationList::parse(&self.root_list.to_der()).expect("a list"),
            pck_revocation_list: RevocationList::parse(&self.pck_list.to_der()).expect("a list"),
            pck_chain: Vec::new(),
        })
    }

    pub fn pck_chain(&self) -> Vec<Certificate> {
        [self.pck_der(), self.authority.to_der(), self.root.to_der()]
            .map(|der| Certificate::parse(&der).expect("a certificate"))
            .to_vec()
    }

    pub fn simulated_root(&self) -> SimulatedRoot {
        SimulatedRoot { key_digest: self.root_digest() }
    }

    pub fn root_digest(&self) -> Sha256 {
        Certificate::parse(&self.root.to_der()).expect("a certificate").public_key_digest()
    }

    /// The PCK certificate with the platform in it, unless a test put another extension there.
    fn pck_der(&self) -> Vec<u8> {
        let Platform { ppid, tcb, pce_id, fmspc, sgx_type, configuration } = &self.platform;
        let (id, content) = pck_extension(*ppid, tcb, *pce_id, *fmspc, *sgx_type, *configuration);
        let mut pck = self.pck.clone();
        if !pck.extensions.iter().any(|(found, ..)| *found == id) {
            pck.extensions.push((id, false, content));
        }
        pck.to_der()
    }
}

impl Cert {
    pub fn to_der(&self) -> Vec<u8> {
        let extensions: Vec<x509_cert::ext::Extension> = self
            .extensions
            .iter()
            .map(|(id, critical, value)| x509_cert::ext::Extension {
                extn_id: *id,
                critical: *critical,
                extn_value: OctetString::new(value.clone()).expect("short"),
            })
            .collect();
        let point = [&[0x04][..], self.key.secret().public().as_bytes()].concat();
        let key = sequence(&[
            EC_P256.to_vec(),
            BitString::from_bytes(&point).expect("short").to_der().expect("encodes"),
        ]);
        let tbs = sequence(&[
            tagged(0xA0, &[2, 1, 2]), // version 3
            tagged(2, &self.serial),
            self.algorithm.clone(),
            name(&self.issuer),
            sequence(&[time(self.not_before_ms), time(self.not_after_ms)]),
            name(&self.subject),
            key,
            tagged(0xA3, &extensions.to_der().expect("encodes")),
        ]);
        signed(tbs, self.signer, &self.algorithm)
    }
}

impl List {
    pub fn to_der(&self) -> Vec<u8> {
        let revoked: Vec<Vec<u8>> = self
            .revoked
            .iter()
            .map(|serial| sequence(&[tagged(2, serial), time(self.this_update_ms)]))
            .collect();
        // crlExtensions: the CRL number (RFC 5280 §5.2.3), an integer in an octet string.
        let number = self.number.map_or_else(Vec::new, |number| {
            let extension = sequence(&[vec![6, 3, 0x55, 0x1D, 20], vec![4, 3, 2, 1, number]]);
            tagged(0xA0, &sequence(&[extension]))
        });
        let tbs = sequence(&[
            vec![2, 1, 1], // version 2
            ECDSA_SHA256.to_vec(),
            name(&self.issuer),
            time(self.this_update_ms),
            time(self.next_update_ms),
            sequence(&revoked),
            number,
        ]);
        signed(tbs, self.signer, &ECDSA_SHA256)
    }
}

fn signed(tbs: Vec<u8>, signer: Key, algorithm: &[u8]) -> Vec<u8> {
    let pair = signer.sign(&tbs);
    let numbers: Vec<Vec<u8>> = pair
        .as_bytes()
        .chunks_exact(32)
        .map(|number| der::asn1::UintRef::new(number).expect("short").to_der().expect("encodes"))
        .collect();
    let bits = BitString::from_bytes(&sequence(&numbers)).expect("short").to_der().expect("encodes");
    sequence(&[tbs, algorithm.to_vec(), bits])
}

/// Extensions of an authority.
pub fn authority(path_length: Option<u8>) -> Vec<(ObjectIdentifier, bool, Vec<u8>)> {
    let mut constraints = vec![0x30, 3, 1, 1, 0xFF];
    if let Some(length) = path_length {
        constraints = vec![0x30, 6, 1, 1, 0xFF, 2, 1, length];
    }
    vec![(BASIC_CONSTRAINTS, true, constraints), (KEY_USAGE, true, vec![3, 2, 1, 0x06])]
}

/// Extensions of a leaf.
pub fn leaf() -> Vec<(ObjectIdentifier, bool, Vec<u8>)> {
    vec![(BASIC_CONSTRAINTS, true, vec![0x30, 0]), (KEY_USAGE, true, vec![3, 2, 6, 0xC0])]
}

fn collateral(tee: Tee, fmspc: Fmspc) -> CollateralBuilder {
    let module = |_| TdxModule {
        mr_signer: Measurement::from([0; 48]),
        attributes: [0; 8],
        attributes_mask: [0xFF; 8],
    };
    let level = |svn: u8, status, advisories: &[&str]| LevelBuilder {
        sgx_components: [svn; 16],
        pce_svn: u16::from(svn) + 6,
        tdx_components: (tee == Tee::Tdx).then(|| {
            let mut least = [0; 16];
            least[..3].copy_from_slice(&[5, 0, svn - 5]);
            least
        }),
        status,
        advisories: advisories.iter().map(|text| (*text).to_owned()).collect(),
    };
    CollateralBuilder {
        tee,
        issued_ms: NOW_MS - 5 * DAY_MS,
        next_update_ms: NOW_MS + 25 * DAY_MS,
        fmspc,
        pce_id: [0, 0],
        evaluation_number: 18,
        module: (tee == Tee::Tdx).then(|| module(0)),
        module_identities: match tee {
            Tee::Tdx => vec![
                ModuleBuilder {
                    version: 3,
                    module: module(3),
                    levels: vec![
                        (5, TcbStatus::UpToDate, Vec::new()),
                        (2, TcbStatus::OutOfDate, vec!["INTEL-SA-01036".to_owned()]),
                    ],
                },
                ModuleBuilder {
                    version: 1,
                    module: module(1),
                    levels: vec![(4, TcbStatus::OutOfDate, Vec::new())],
                },
            ],
            Tee::Sgx => Vec::new(),
        },
        levels: vec![
            level(7, TcbStatus::UpToDate, &[]),
            level(6, TcbStatus::OutOfDate, &["INTEL-SA-00615", "INTEL-SA-00657"]),
        ],
        qe_mr_signer: QE_SIGNER,
        qe_isv_prod_id: 2,
        qe_attributes: [ENCLAVE_ATTRIBUTES, ENCLAVE_ATTRIBUTE_MASK],
        qe_misc_select: [[0; 4], [0xFF; 4]],
        qe_levels: vec![
            (6, TcbStatus::UpToDate, Vec::new()),
            (4, TcbStatus::OutOfDate, vec!["INTEL-SA-00700".to_owned()]),
        ],
    }
}

const ENCLAVE_ATTRIBUTES: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const ENCLAVE_ATTRIBUTE_MASK: [u8; 16] =
    [0xFB, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0];
pub const QE_SIGNER: Sha256 = Sha256::from_bytes([0x0E; 32]);
pub const ROOT: &str = "Intel SGX Root CA casemate-test";
pub const AUTHORITY: &str = "Intel SGX PCK Platform CA";

/// AlgorithmIdentifier of ecdsa-with-SHA256.
pub const ECDSA_SHA256: [u8; 12] = [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];

/// AlgorithmIdentifier of a P-256 key.
const EC_P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE,
    0x3D, 0x03, 0x01, 0x07,
];
