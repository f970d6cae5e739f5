//! What does a service of Intel's collateral know?
//!
//! Source: Provisioning Certification Service API, version 4: "Get TCB Info", "Get Quoting Enclave
//! Identity", "Get PCK Cert CRL", "Get TCB Evaluation Data Numbers". Caches of clouds (Azure's THIM, any
//! PCCS) answer the same questions below another address, and serve the root's list as `rootcacrl`.

use casemate_evidence::bundle::IntelCollateral;
use casemate_evidence::intel::{CollateralError, EnclaveIdentity, EvaluationNumbers, TcbInfo, Tee};
use casemate_evidence::x509::Certificate;
use casemate_verify::intel::{Collateral, CollateralFileError};

use super::error::CollateralRefusal;
use super::set::{PckAuthority, Platform};
use crate::error::Error;
use crate::item::{PlatformCollateral, SignedNumbers};
use crate::service::{Answer, Etiquette, Service};

/// A service that has Intel's collateral, asked with manners.
#[derive(Debug, Clone)]
pub struct CollateralServer {
    base: String,
    service: Service,
}

impl CollateralServer {
    /// Intel's own address.
    pub const INTEL: &'static str = "https://api.trustedservices.intel.com";
    /// Azure's Trusted Hardware Identity Management (THIM). By default it serves older TCB info than Intel.
    pub const AZURE: &'static str = "https://global.acccache.azure.net";

    /// Intel's own.
    ///
    /// # Errors
    /// [`Error::Network`] if this machine cannot set up TLS.
    pub fn intel(etiquette: Etiquette) -> Result<Self, Error> {
        Self::at(Self::INTEL, etiquette)
    }

    /// A cache with the same paths below `base`. Plain HTTP does no harm: answers are verified.
    ///
    /// # Errors
    /// As [`intel`](Self::intel).
    pub fn at(base: &str, etiquette: Etiquette) -> Result<Self, Error> {
        let base = base.trim_end_matches('/').to_owned();
        let service = Service::new(&base, etiquette)?;
        Ok(Self { base, service })
    }

    /// Where the TCB info of a platform is.
    pub fn tcb_info_address(&self, platform: &Platform) -> String {
        let (tee, fmspc) = (tee_path(platform.tee), platform.fmspc);
        format!("{}/{tee}/certification/v4/tcb?fmspc={fmspc}", self.base)
    }

    /// Where the identity of the Quoting Enclave is.
    pub fn qe_identity_address(&self, tee: Tee) -> String {
        format!("{}/{}/certification/v4/qe/identity", self.base, tee_path(tee))
    }

    /// Where the list of revoked platforms is, as DER.
    pub fn pck_revocation_list_address(&self, authority: PckAuthority) -> String {
        format!("{}/sgx/certification/v4/pckcrl?ca={}&encoding=der", self.base, authority.name())
    }

    /// Where the list of revoked authorities is. Intel keeps it at an address of its own.
    pub fn root_revocation_list_address(&self) -> String {
        if self.base == Self::INTEL {
            return "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der".to_owned();
        }
        format!("{}/sgx/certification/v4/rootcacrl", self.base)
    }

    /// Where the TCB evaluation data numbers are.
    pub fn evaluation_numbers_address(&self, tee: Tee) -> String {
        format!("{}/{}/certification/v4/tcbevaluationdatanumbers", self.base, tee_path(tee))
    }

    pub(crate) fn etiquette(&self) -> Etiquette {
        self.service.etiquette
    }

    /// Everything about a platform, well formed; nothing about its signatures is known.
    pub(crate) async fn fetch(&self, platform: &Platform) -> Result<PlatformCollateral, Error> {
        let address = self.tcb_info_address(platform);
        let answer = self.ask(&address).await?;
        let (tcb_info, tcb_info_signature) = read(&address, TcbInfo::parse_response(&answer.body))?;
        let [tcb_info_signer, root] = issuer_chain(&address, &answer, TCB_INFO_CHAIN)?;

        let address = self.qe_identity_address(platform.tee);
        let answer = self.ask(&address).await?;
        let (qe_identity, qe_identity_signature) =
            read(&address, EnclaveIdentity::parse_response(&answer.body))?;
        let [qe_identity_signer, _] = issuer_chain(&address, &answer, QE_IDENTITY_CHAIN)?;

        let address = self.pck_revocation_list_address(platform.authority);
        let answer = self.ask(&address).await?;
        let pck_revocation_list = list(&address, "pck_crl", answer.body.clone())?;
        let [pck_authority, _] = issuer_chain(&address, &answer, PCK_CRL_CHAIN)?;

        let address = self.root_revocation_list_address();
        let root_revocation_list = list(&address, "root_ca_crl", self.ask(&address).await?.body)?;

        let der = |certificate: Certificate| certificate.as_der().to_vec().into();
        Ok(PlatformCollateral {
            collateral: IntelCollateral {
                tcb_info: tcb_info.signed_bytes().to_vec().into(),
                tcb_info_signature,
                tcb_info_signer: der(tcb_info_signer),
                qe_identity: qe_identity.signed_bytes().to_vec().into(),
                qe_identity_signature,
                qe_identity_signer: der(qe_identity_signer),
                root: der(root),
                root_revocation_list: root_revocation_list.into(),
                pck_revocation_list: pck_revocation_list.into(),
                pck_chain: Vec::new(),
            },
            pck_authority: der(pck_authority),
        })
    }

    /// The TCB evaluation data numbers, well formed; nothing about their signature is known.
    pub(crate) async fn fetch_evaluation_numbers(&self, tee: Tee) -> Result<SignedNumbers, Error> {
        let address = self.evaluation_numbers_address(tee);
        let answer = self.ask(&address).await?;
        let (numbers, signature) = read(&address, EvaluationNumbers::parse_response(&answer.body))?;
        let [signer, root] = issuer_chain(&address, &answer, NUMBERS_CHAIN)?;
        Ok(SignedNumbers {
            body: numbers.signed_bytes().to_vec().into(),
            signature,
            signer: signer.as_der().to_vec().into(),
            root: root.as_der().to_vec().into(),
        })
    }

    async fn ask(&self, address: &str) -> Result<Answer, Error> {
        self.service.fetch(address, MAXIMUM_ANSWER_LEN, &[]).await
    }
}

fn read<T>(address: &str, read: Result<T, CollateralError>) -> Result<T, Error> {
    read.map_err(|source| Error::collateral(address, CollateralFileError::Document(source)))
}

/// The two certificates of a header: PEM, as one percent-encoded line.
fn issuer_chain(address: &str, answer: &Answer, name: &'static str) -> Result<[Certificate; 2], Error> {
    let chain = answer.header(name).and_then(percent_decode);
    let chain = chain.and_then(|pem| Certificate::parse_pem(&pem).ok());
    let chain = chain.and_then(|chain| <[_; 2]>::try_from(chain).ok());
    chain.ok_or_else(|| Error::collateral(address, CollateralRefusal::IssuerChain { name }))
}

/// RFC 3986 §2.1.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// A list in DER; caches send the root's in hexadecimal digits of it.
fn list(address: &str, member: &'static str, body: Vec<u8>) -> Result<Vec<u8>, Error> {
    // A DER sequence of 128 bytes or more has no ASCII byte here (X.690 §8.1.3).
    if body.get(1).is_some_and(|byte| !byte.is_ascii()) {
        return Ok(body);
    }
    let digits = body.trim_ascii();
    casemate_canon::reexport::hex::decode(digits)
        .map_err(|_| Error::collateral(address, CollateralFileError::NotHex { member }))
}

/// As addresses and files name a TEE.
pub(crate) fn tee_path(tee: Tee) -> &'static str {
    match tee {
        Tee::Sgx => "sgx",
        Tee::Tdx => "tdx",
    }
}

const TCB_INFO_CHAIN: &str = "TCB-Info-Issuer-Chain";
const QE_IDENTITY_CHAIN: &str = "SGX-Enclave-Identity-Issuer-Chain";
const PCK_CRL_CHAIN: &str = "SGX-PCK-CRL-Issuer-Chain";
const NUMBERS_CHAIN: &str = "TCB-Evaluation-Data-Numbers-Issuer-Chain";
const MAXIMUM_ANSWER_LEN: usize = Collateral::MAXIMUM_FILE_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_specification() {
        let platform = Platform {
            tee: Tee::Tdx,
            fmspc: [0, 0xA0, 0x6D, 8, 0, 0].into(),
            authority: PckAuthority::Platform,
        };
        let server = CollateralServer::intel(Etiquette::person()).unwrap();
        let api = "https://api.trustedservices.intel.com";
        assert_eq!(
            server.tcb_info_address(&platform),
            format!("{api}/tdx/certification/v4/tcb?fmspc=00a06d080000")
        );
        assert_eq!(server.qe_identity_address(Tee::Sgx), format!("{api}/sgx/certification/v4/qe/identity"));
        assert_eq!(server.qe_identity_address(Tee::Tdx), format!("{api}/tdx/certification/v4/qe/identity"));
        assert_eq!(
            server.pck_revocation_list_address(PckAuthority::Processor),
            format!("{api}/sgx/certification/v4/pckcrl?ca=processor&encoding=der")
        );
        assert_eq!(
            server.evaluation_numbers_address(Tee::Sgx),
            format!("{api}/sgx/certification/v4/tcbevaluationdatanumbers")
        );
        assert_eq!(
            server.root_revocation_list_address(),
            "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
        );
        let azure = CollateralServer::at(CollateralServer::AZURE, Etiquette::person()).unwrap();
        assert_eq!(
            azure.root_revocation_list_address(),
            "https://global.acccache.azure.net/sgx/certification/v4/rootcacrl"
        );
    }

    #[test]
    fn headers_are_percent_decoded() {
        assert_eq!(percent_decode("-----BEGIN%20X%0A+/=").as_deref(), Some("-----BEGIN X\n+/="));
        assert_eq!(percent_decode("%"), None);
        assert_eq!(percent_decode("%4"), None);
        assert_eq!(percent_decode("%zz"), None);
        assert_eq!(percent_decode("%ff"), None);
    }
}
