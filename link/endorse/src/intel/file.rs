//! Which collateral is in these files?
//!
//! Libraries and services for quotes (`dcap-qvl`, PCCS clients) write everything into one JSON file. Intel's service
//! answers part by part: TCB info and enclave identity as JSON, lists as DER, and in headers the certificates of
//! whoever signed them, which people keep as PEM.

use casemate_evidence::bundle::IntelCollateral;
use casemate_evidence::intel::{EnclaveIdentity, TcbInfo};
use casemate_evidence::x509::{Certificate, RevocationList};
use casemate_verify::intel::{Collateral, CollateralFileError};
use serde::Deserialize;

use super::error::CollateralRefusal;
use super::set::PckAuthority;
use crate::error::Error;
use crate::item::PlatformCollateral;

/// Answers of Intel's service, as far as they came along; nothing about their signatures is known.
#[derive(Debug, Clone, Default)]
pub struct CollateralParts {
    tcb_info: Option<Vec<u8>>,
    qe_identity: Option<Vec<u8>>,
    certificates: Vec<Certificate>,
    lists: Vec<RevocationList>,
}

impl PlatformCollateral {
    /// Reads collateral as one JSON file; `origin` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Collateral`], also if the file names no authority of the PCK.
    pub fn parse_json(text: &[u8], origin: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Chains {
            #[serde(default)]
            pck_crl_issuer_chain: String,
            #[serde(default)]
            pck_certificate_chain: String,
        }
        let failed = |error: CollateralFileError| Error::collateral(origin, error);
        let collateral = Collateral::parse_json(text).map_err(failed)?;
        let chains: Chains =
            serde_json::from_slice(text).map_err(|source| failed(CollateralFileError::Json { source }))?;
        let chains = chains.pck_crl_issuer_chain + "\n" + &chains.pck_certificate_chain;
        let authority = Certificate::parse_pem(&chains)
            .map_err(|error| failed(error.into()))?
            .into_iter()
            .find(|one| PckAuthority::of(one).is_some())
            .ok_or_else(|| {
                missing(origin, "the certificate of the PCK's authority (pck_crl_issuer_chain)")
            })?;
        let collateral = IntelCollateral { pck_chain: Vec::new(), ..collateral.to_bundle_item() };
        Ok(Self { collateral, pck_authority: authority.as_der().to_vec().into() })
    }
}

impl CollateralParts {
    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.tcb_info.is_none()
            && self.qe_identity.is_none()
            && self.certificates.is_empty()
            && self.lists.is_empty()
    }

    /// Adds an answer with TCB info or an enclave identity; whether it is one. The last of each counts.
    pub fn add_answer(&mut self, body: &[u8]) -> bool {
        if TcbInfo::parse_response(body).is_ok() {
            self.tcb_info = Some(body.to_vec());
        } else if EnclaveIdentity::parse_response(body).is_ok() {
            self.qe_identity = Some(body.to_vec());
        } else {
            return false;
        }
        true
    }

    /// Adds a certificate; whether it is one of Intel's, by its subject.
    pub fn add_certificate(&mut self, certificate: &Certificate) -> bool {
        let is_intels = certificate.subject_common_name().starts_with(INTEL);
        if is_intels {
            self.certificates.push(certificate.clone());
        }
        is_intels
    }

    /// Adds a revocation list; whether it is one of Intel's, by its issuer.
    pub fn add_list(&mut self, list: &RevocationList) -> bool {
        let is_intels = list.issuer_common_name().starts_with(INTEL);
        if is_intels {
            self.lists.push(list.clone());
        }
        is_intels
    }

    /// The parts as one; `origin` is what errors call them.
    ///
    /// # Errors
    /// [`Error::Collateral`], which names the first part that is not there.
    pub fn join(&self, origin: &str) -> Result<PlatformCollateral, Error> {
        let failed = |error: CollateralFileError| Error::collateral(origin, error);
        let part = |part: &Option<Vec<u8>>, name| part.clone().ok_or_else(|| missing(origin, name));
        let tcb_info = part(&self.tcb_info, "TCB info, as the service answers it")?;
        let (tcb_info, tcb_info_signature) =
            TcbInfo::parse_response(&tcb_info).map_err(|error| failed(error.into()))?;
        let qe_identity =
            part(&self.qe_identity, "the identity of the Quoting Enclave, as the service answers it")?;
        let (qe_identity, qe_identity_signature) =
            EnclaveIdentity::parse_response(&qe_identity).map_err(|error| failed(error.into()))?;
        let certificate = |is: &dyn Fn(&Certificate) -> bool, name| {
            let found = self.certificates.iter().find(|one| is(one)).ok_or_else(|| missing(origin, name))?;
            Ok::<_, Error>(found.as_der().to_vec())
        };
        let named = |name: &'static str| move |one: &Certificate| one.subject_common_name() == name;
        let signer = certificate(&named(TCB_SIGNING), "the certificate of Intel SGX TCB Signing")?;
        let list = |is_roots, name| {
            let found = self.lists.iter().find(|one| (one.issuer_common_name() == ROOT) == is_roots);
            Ok::<_, Error>(found.ok_or_else(|| missing(origin, name))?.as_der().to_vec())
        };
        Ok(PlatformCollateral {
            collateral: IntelCollateral {
                tcb_info: tcb_info.signed_bytes().to_vec().into(),
                tcb_info_signature,
                tcb_info_signer: signer.clone().into(),
                qe_identity: qe_identity.signed_bytes().to_vec().into(),
                qe_identity_signature,
                qe_identity_signer: signer.into(),
                root: certificate(&named(ROOT), "the certificate of Intel SGX Root CA")?.into(),
                root_revocation_list: list(true, "the revocation list of Intel SGX Root CA")?.into(),
                pck_revocation_list: list(false, "the revocation list of the PCK's authority")?.into(),
                pck_chain: Vec::new(),
            },
            pck_authority: certificate(
                &|one| PckAuthority::of(one).is_some(),
                "the certificate of the PCK's authority",
            )?
            .into(),
        })
    }
}

fn missing(origin: &str, part: &'static str) -> Error {
    Error::collateral(origin, CollateralRefusal::Missing { part })
}

const INTEL: &str = "Intel SGX";
const TCB_SIGNING: &str = "Intel SGX TCB Signing";
const ROOT: &str = "Intel SGX Root CA";
