//! Which platform is pretended, with which keys in place of Intel's?
//!
//! A folder `intel` beside the chip's, made on first use. Common names below the root are Intel's, because
//! verifiers tell certificates apart by them; the organisation says SIMULATED, as does the root's own name.
//! Source: PCK Certificate and CRL Profile Specification 1.4.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use casemate_crypto::hash::{Sha256, sha256};
use casemate_crypto::sign::SigningKey;
use casemate_evidence::intel::{Fmspc, PckConfiguration, PlatformTcb, Ppid, SgxType, pck_extension};
use casemate_evidence::sgx;
use casemate_evidence::tdx::TeeTcbSvn;
use der::Encode as _;

use crate::certificate::{self, Issuer, Statement};
use crate::error::Error;
use crate::root::{ORGANISATION, Root, write_private, write_public};

/// A platform with a Quoting Enclave, and everybody who vouches for it.
pub(crate) struct Platform {
    folder: PathBuf,
    pub(crate) root: SigningKey,
    pub(crate) authority: SigningKey,
    pub(crate) pck: SigningKey,
    pub(crate) tcb_signing: SigningKey,
    pub(crate) attestation: SigningKey,
    pub(crate) ppid: Ppid,
}

/// Certificates of a platform, by the name of their file.
#[derive(Clone, Copy)]
pub(crate) enum Holder {
    Root,
    Authority,
    Pck,
    TcbSigning,
}

impl Platform {
    /// Opens the platform below a root's folder, or makes it on first use.
    ///
    /// The folder appears whole or not at all; of two processes that start together one makes it.
    pub(crate) fn open(root: &Root) -> Result<Self, Error> {
        let folder = root.intel();
        if !folder.exists() {
            let draft = folder.with_extension(format!("draft-{}", std::process::id()));
            let written = write(&draft)
                .and_then(|()| fs::rename(&draft, &folder).map_err(Error::io("create", &folder)));
            if written.is_err() {
                let _ = fs::remove_dir_all(&draft); // the first error counts
            }
            if !folder.exists() {
                written?;
            }
        }
        let key = |name| read_key(&folder.join(name));
        Ok(Platform {
            root: key(ROOT_KEY)?,
            authority: key(AUTHORITY_KEY)?,
            pck: key(PCK_KEY)?,
            tcb_signing: key(TCB_SIGNING_KEY)?,
            attestation: key(ATTESTATION_KEY)?,
            ppid: Ppid::from(read_exactly(&folder.join(PPID))?),
            folder,
        })
    }

    /// SHA-256 of the root's `SubjectPublicKeyInfo`: what a policy lists.
    pub(crate) fn root_key_digest(&self) -> Result<Sha256, Error> {
        key_digest(&self.root)
    }

    /// Where the certificate lies, in DER.
    pub(crate) fn certificate_path(&self, holder: Holder) -> PathBuf {
        self.folder.join(match holder {
            Holder::Root => "root.der",
            Holder::Authority => "platform-ca.der",
            Holder::Pck => "pck.der",
            Holder::TcbSigning => "tcb-signing.der",
        })
    }

    /// The certificate in DER.
    pub(crate) fn certificate(&self, holder: Holder) -> Result<Vec<u8>, Error> {
        let path = self.certificate_path(holder);
        fs::read(&path).map_err(Error::io("read", &path))
    }
}

/// The enclave that is not there; its report data are filled in by whoever builds a quote.
pub(crate) fn quoting_enclave() -> sgx::ReportBuilder {
    let mut report = sgx::ReportBuilder::new(
        sha256(b"casemate-simtee: no Quoting Enclave"),
        sha256(b"casemate-simtee: no signer of enclaves"),
    );
    report.isv_prod_id = QE_PRODUCT;
    report.isv_svn = QE_SVN;
    report
}

fn write(folder: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().mode(0o700).create(folder).map_err(Error::io("create", folder))?;
    let root = generate_key(&folder.join(ROOT_KEY))?;
    let authority = generate_key(&folder.join(AUTHORITY_KEY))?;
    let pck = generate_key(&folder.join(PCK_KEY))?;
    let tcb_signing = generate_key(&folder.join(TCB_SIGNING_KEY))?;
    generate_key(&folder.join(ATTESTATION_KEY))?;
    let mut ppid = [0; 16];
    getrandom::fill(&mut ppid).map_err(|_| Error::Crypto { action: "draw a platform id" })?;
    write_private(&folder.join(PPID), &ppid)?;

    let root_name = root_name(&key_digest(&root)?);
    let statement = |subject: &str, issuer: &str, serial, key: &SigningKey, extensions| {
        Ok::<_, Error>(Statement {
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            serial,
            public_key: certificate::p256_public_key(&key.public())?,
            years: 25,
            extensions,
        })
    };
    let certify = |file: &str, statement: Statement, issuer: &SigningKey| {
        write_public(&folder.join(file), &certificate::sign(statement, Issuer::P256(issuer))?)
    };
    let of_root = certificate::authority(Some(1), true)?;
    certify("root.der", statement(&root_name, &root_name, 1, &root, of_root)?, &root)?;
    let of_authority = certificate::authority(Some(0), true)?;
    let name = authority_name();
    certify("platform-ca.der", statement(&name, &root_name, 2, &authority, of_authority)?, &root)?;
    let name = format!("CN=Intel SGX TCB Signing,{ORGANISATION}");
    let of_signer = certificate::leaf()?;
    certify("tcb-signing.der", statement(&name, &root_name, 3, &tcb_signing, of_signer)?, &root)?;
    let (identifier, content) = pck_extension(
        Ppid::from(ppid),
        &TCB,
        PCE_ID,
        Fmspc::from(FMSPC),
        SgxType::Scalable,
        Some(PckConfiguration {
            dynamic_platform: Some(false),
            cached_keys: Some(false),
            smt_enabled: Some(true),
        }),
    );
    let mut of_pck = certificate::leaf()?;
    of_pck.push(certificate::extension(identifier, content)?);
    let name = format!("CN=Intel SGX PCK Certificate,{ORGANISATION}");
    certify("pck.der", statement(&name, &authority_name(), 4, &pck, of_pck)?, &authority)
}

/// Subject of the root with this key.
pub(crate) fn root_name(key_digest: &Sha256) -> String {
    format!("CN={},{ORGANISATION}", root_common_name(key_digest))
}

/// Common name of the root with this key.
pub(crate) fn root_common_name(key_digest: &Sha256) -> String {
    format!("SIMULATED Intel SGX Root CA casemate-sim {}", &key_digest.to_string()[..8])
}

/// Subject of the authority that issues PCK certificates.
pub(crate) fn authority_name() -> String {
    format!("CN=Intel SGX PCK Platform CA,{ORGANISATION}")
}

fn key_digest(key: &SigningKey) -> Result<Sha256, Error> {
    Ok(sha256(&certificate::p256_public_key(&key.public())?.to_der()?))
}

fn generate_key(path: &Path) -> Result<SigningKey, Error> {
    let failed = Error::Crypto { action: "make a P-256 key" };
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Error::Crypto { action: "draw a P-256 key" })?;
    // All but 2^-32 of the candidates are below the group order (FIPS 186-5, A.2.2).
    let key = SigningKey::from_bytes(&bytes).map_err(|_| failed)?;
    write_private(path, &bytes)?;
    Ok(key)
}

fn read_key(path: &Path) -> Result<SigningKey, Error> {
    SigningKey::from_bytes(&read_exactly(path)?).map_err(|_| Error::Key { path: path.into() })
}

fn read_exactly<const LENGTH: usize>(path: &Path) -> Result<[u8; LENGTH], Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    bytes.try_into().map_err(|_| Error::Key { path: path.into() })
}

/// Firmware of a well-kept machine, in numbers of no real one.
pub(crate) const TCB: PlatformTcb = PlatformTcb { components: [7; 16], pce_svn: 13, cpu_svn: [7; 16] };
/// `SIMTEE` in ASCII: no processor has this FMSPC.
pub(crate) const FMSPC: [u8; 6] = *b"SIMTEE";
pub(crate) const PCE_ID: [u8; 2] = [0, 0];
/// ISVPRODID of Intel's Quoting Enclave for TDX.
pub(crate) const QE_PRODUCT: u16 = 2;
pub(crate) const QE_SVN: u16 = 6;
/// Minor and major version of the TDX module, and microcode.
pub(crate) const TEE_TCB_SVN: TeeTcbSvn =
    TeeTcbSvn::from_bytes([5, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

const ROOT_KEY: &str = "root.key";
const AUTHORITY_KEY: &str = "platform-ca.key";
const PCK_KEY: &str = "pck.key";
const TCB_SIGNING_KEY: &str = "tcb-signing.key";
const ATTESTATION_KEY: &str = "attestation.key";
const PPID: &str = "ppid";
