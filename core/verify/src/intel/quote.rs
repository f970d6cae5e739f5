//! Did this platform's Quoting Enclave sign this quote?

use casemate_crypto::hash::{Sha256, sha256};
use casemate_crypto::{Provider, sign};
use casemate_evidence::Measurement;
use casemate_evidence::intel::{Body, Certification, EnclaveKind, Fmspc, Pck, Quote, QuoteSignature, Tee};
use casemate_evidence::tdx::TeeTcbSvn;
use casemate_evidence::x509;

use super::certificate::ChainError;
use super::collateral::{AuthenticatedCollateral, Collateral, DocumentError};
use super::standing::{ModuleVersions, Standing};
use crate::trust::TrustClass;

/// A quote that a trusted root vouches for, with what Intel says of its platform. Whether its report is
/// acceptable is not asked here.
#[derive(Debug, Clone)]
pub struct AuthenticatedQuote {
    pub(crate) quote: Quote,
    pub(crate) pck: Pck,
    pub(crate) standing: Standing,
    pub(crate) trust_class: TrustClass,
    pub(crate) root_key_digest: Sha256,
    pub(crate) root_name: String,
    pub(crate) oldest_collateral_ms: u64,
}

/// Why a quote is not genuine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticateError {
    /// The collateral does not count.
    #[error(transparent)]
    Collateral(#[from] DocumentError),
    /// No trusted root vouches for the platform's key.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The quote names its PCK only, and nobody brought its certificates.
    #[error(
        "certification data of type {kind} carries no certificates of the PCK; bring them with the collateral"
    )]
    NoPckChain {
        /// The type.
        kind: u16,
    },
    /// The quote's certificates cannot be read.
    #[error("the certificates in the quote cannot be read: {0}")]
    Certificates(x509::Error),
    /// The PCK did not sign the Quoting Enclave's report.
    #[error(
        "the report of the Quoting Enclave was not signed by the platform's certified key, or was changed"
    )]
    QeReportSignature,
    /// The Quoting Enclave does not vouch for the attestation key.
    #[error(
        "the Quoting Enclave's report commits to {found}, the quote's attestation key asks for {expected}"
    )]
    AttestationKey {
        /// First half of the report data.
        found: Sha256,
        /// SHA-256 of attestation key and authentication data.
        expected: Sha256,
    },
    /// Bytes behind the commitment are not zero.
    #[error("the Quoting Enclave's report data does not end in zeros; it is no commitment to a key")]
    AttestationKeyPadding,
    /// The attestation key did not sign the quote.
    #[error("the quote was not signed by its attestation key, or was changed")]
    QuoteSignature,
    /// The collateral is of the other TEE.
    #[error("collateral of {found}, the quote is of {expected}")]
    OtherTee {
        /// TEE of the collateral.
        found: &'static str,
        /// TEE of the quote.
        expected: &'static str,
    },
    /// The TCB info speaks of other processors.
    #[error("TCB info of FMSPC {found}, the platform is {expected}; fetch the collateral of this platform")]
    OtherFmspc {
        /// In the TCB info.
        found: Fmspc,
        /// In the PCK certificate.
        expected: Fmspc,
    },
    /// The TCB info speaks of another provisioning certification enclave.
    #[error("TCB info of PCE {found:02x?}, the platform's is {expected:02x?}")]
    OtherPce {
        /// In the TCB info.
        found: [u8; 2],
        /// In the PCK certificate.
        expected: [u8; 2],
    },
    /// The Quoting Enclave is not Intel's.
    #[error("the Quoting Enclave is signed by {found}, Intel's by {expected}")]
    QeSigner {
        /// MRSIGNER found.
        found: Sha256,
        /// MRSIGNER of the identity.
        expected: Sha256,
    },
    /// Another enclave of the same signer.
    #[error(
        "the enclave that made the attestation key is product {found}, the Quoting Enclave is {expected}"
    )]
    QeProduct {
        /// ISVPRODID found.
        found: u16,
        /// ISVPRODID of the identity.
        expected: u16,
    },
    /// MISCSELECT of the Quoting Enclave.
    #[error("MISCSELECT of the Quoting Enclave is {found:02x?} where it counts, expected {expected:02x?}")]
    QeMiscSelect {
        /// Found where the mask is set.
        found: [u8; 4],
        /// In the identity.
        expected: [u8; 4],
    },
    /// ATTRIBUTES of the Quoting Enclave, such as its debug bit.
    #[error("ATTRIBUTES of the Quoting Enclave are {found:02x?} where they count, expected {expected:02x?}")]
    QeAttributes {
        /// Found where the mask is set.
        found: [u8; 16],
        /// In the identity.
        expected: [u8; 16],
    },
    /// Another kind of report than asked for.
    #[error("the quote is of {found}, expected {expected}")]
    Body {
        /// TEE of the quote.
        found: &'static str,
        /// TEE asked for.
        expected: &'static str,
    },
    /// A major version of the TDX module of which the collateral knows nothing.
    #[error(
        "TDX module of major version {found}, of which Intel's TCB info does not speak; fetch newer collateral"
    )]
    ModuleVersion {
        /// Byte 1 of TEE_TCB_SVN.
        found: u8,
    },
    /// A TDX module of another signer.
    #[error("the TDX module is signed by {found}, expected {expected}")]
    ModuleSigner {
        /// MRSIGNERSEAM.
        found: Box<Measurement>,
        /// In the TCB info.
        expected: Box<Measurement>,
    },
    /// SEAMATTRIBUTES.
    #[error("SEAMATTRIBUTES are {found:02x?} where they count, expected {expected:02x?}")]
    ModuleAttributes {
        /// Found where the mask is set.
        found: [u8; 8],
        /// In the TCB info.
        expected: [u8; 8],
    },
}

impl AuthenticatedCollateral {
    /// Verifies that the platform's Quoting Enclave signed `quote`, and that this collateral speaks of
    /// both, at time `now_ms` (milliseconds since 1970).
    ///
    /// # Errors
    /// [`AuthenticateError`], the first that applies.
    pub fn authenticate(
        &self,
        quote: Quote,
        now_ms: u64,
        provider: &dyn Provider,
    ) -> Result<AuthenticatedQuote, AuthenticateError> {
        self.check_window(now_ms)?;
        let signature = quote.signature();
        let chain = match &signature.certification {
            Certification::Certificates { .. } => {
                signature.certification.certificates().map_err(AuthenticateError::Certificates)?
            }
            Certification::Name(name) if self.collateral.pck_chain.is_empty() => {
                return Err(AuthenticateError::NoPckChain { kind: name.kind });
            }
            Certification::Name(_) => self.collateral.pck_chain.clone(),
        };
        let pck = self.verify_pck(&chain, now_ms, provider)?;
        check_qe_report_signature(signature, pck.public_key(), provider)?;
        check_attestation_key(signature)?;
        check_quote_signature(&quote, provider)?;
        self.check_speaks_of(&quote, &pck)?;
        self.check_quoting_enclave(signature)?;
        let standing = self.standing(&quote, &pck);
        Ok(AuthenticatedQuote {
            pck,
            standing,
            trust_class: self.trust_class,
            root_key_digest: self.root_key_digest,
            root_name: self.collateral.root.subject_common_name(),
            oldest_collateral_ms: self.oldest_ms(),
            quote,
        })
    }

    /// TEE, processor and provisioning enclave of the TCB info are those of the quote.
    fn check_speaks_of(&self, quote: &Quote, pck: &Pck) -> Result<(), AuthenticateError> {
        let Collateral { tcb_info, qe_identity, .. } = &self.collateral;
        let (tee, enclave) = match quote.body() {
            Body::Sgx(_) => (Tee::Sgx, EnclaveKind::Qe),
            Body::Tdx(_) => (Tee::Tdx, EnclaveKind::TdQe),
        };
        if tcb_info.tee() != tee || qe_identity.kind() != enclave {
            let found = if tcb_info.tee() == tee { enclave_tee(qe_identity.kind()) } else { tcb_info.tee() };
            return Err(AuthenticateError::OtherTee { found: tee_name(found), expected: tee_name(tee) });
        }
        if tcb_info.fmspc() != pck.fmspc() {
            return Err(AuthenticateError::OtherFmspc { found: tcb_info.fmspc(), expected: pck.fmspc() });
        }
        if tcb_info.pce_id() != pck.pce_id() {
            return Err(AuthenticateError::OtherPce { found: tcb_info.pce_id(), expected: pck.pce_id() });
        }
        Ok(())
    }

    /// PCS API, "Get Quoting Enclave Identity": signer, product, and what is masked must be Intel's.
    fn check_quoting_enclave(&self, signature: &QuoteSignature) -> Result<(), AuthenticateError> {
        let (report, identity) = (&signature.qe_report, &self.collateral.qe_identity);
        if report.mr_signer() != identity.mr_signer() {
            let (found, expected) = (report.mr_signer(), identity.mr_signer());
            return Err(AuthenticateError::QeSigner { found, expected });
        }
        if report.isv_prod_id() != identity.isv_prod_id() {
            let (found, expected) = (report.isv_prod_id(), identity.isv_prod_id());
            return Err(AuthenticateError::QeProduct { found, expected });
        }
        let misc_select = identity.misc_select(report);
        if !misc_select.holds() {
            let (found, expected) = (misc_select.found, misc_select.expected);
            return Err(AuthenticateError::QeMiscSelect { found, expected });
        }
        let attributes = identity.attributes(report);
        if !attributes.holds() {
            let (found, expected) = (attributes.found, attributes.expected);
            return Err(AuthenticateError::QeAttributes { found, expected });
        }
        Ok(())
    }

    fn standing(&self, quote: &Quote, pck: &Pck) -> Standing {
        let Collateral { tcb_info, qe_identity, .. } = &self.collateral;
        let modules = match quote.body() {
            Body::Sgx(_) => None,
            Body::Tdx(report) => Some(ModuleVersions {
                launched: report.tee_tcb_svn(),
                current: report.service_td().map(|service| -> TeeTcbSvn { service.tee_tcb_svn_2 }),
            }),
        };
        Standing::find(
            tcb_info,
            pck.tcb(),
            modules,
            qe_identity.levels(),
            quote.signature().qe_report.isv_svn(),
            tcb_info.evaluation_number().min(qe_identity.evaluation_number()),
        )
    }
}

/// The PCK signed the Quoting Enclave's report.
///
/// # Errors
/// [`AuthenticateError::QeReportSignature`].
pub fn check_qe_report_signature(
    signature: &QuoteSignature,
    pck: &sign::PublicKey,
    provider: &dyn Provider,
) -> Result<(), AuthenticateError> {
    provider
        .verify_p256(pck, signature.qe_report.as_bytes(), &signature.qe_report_signature)
        .map_err(|_| AuthenticateError::QeReportSignature)
}

/// The Quoting Enclave's report data is SHA-256 of attestation key and authentication data, then zeros
/// (Quoting Library API, A.3.9 "QE Report Certification Data").
///
/// # Errors
/// [`AuthenticateError::AttestationKey`], [`AuthenticateError::AttestationKeyPadding`].
pub fn check_attestation_key(signature: &QuoteSignature) -> Result<(), AuthenticateError> {
    let mut committed = signature.attestation_key.as_bytes().to_vec();
    committed.extend_from_slice(&signature.qe_authentication_data);
    let expected = sha256(&committed);
    let report_data = signature.qe_report.report_data();
    let (found, padding) = report_data.as_bytes().split_at(32);
    let found = Sha256::try_from(found).expect("32 bytes");
    if found != expected {
        return Err(AuthenticateError::AttestationKey { found, expected });
    }
    if padding.iter().any(|byte| *byte != 0) {
        return Err(AuthenticateError::AttestationKeyPadding);
    }
    Ok(())
}

/// The attestation key signed header and report.
///
/// # Errors
/// [`AuthenticateError::QuoteSignature`].
pub fn check_quote_signature(quote: &Quote, provider: &dyn Provider) -> Result<(), AuthenticateError> {
    let QuoteSignature { attestation_key, signature, .. } = quote.signature();
    provider
        .verify_p256(attestation_key, quote.signed_bytes(), signature)
        .map_err(|_| AuthenticateError::QuoteSignature)
}

fn enclave_tee(kind: EnclaveKind) -> Tee {
    match kind {
        EnclaveKind::Qe => Tee::Sgx,
        EnclaveKind::TdQe => Tee::Tdx,
    }
}

pub(crate) fn tee_name(tee: Tee) -> &'static str {
    match tee {
        Tee::Sgx => "SGX",
        Tee::Tdx => "TDX",
    }
}
