//! Did that key sign this report, about that chip and firmware?

use std::sync::Arc;

use casemate_crypto::hash::Sha256;
use casemate_evidence::ChipId;
use casemate_evidence::snp::{Leaf, Product, Report, SigningKeyKind, Tcb, TcbError, TcbVersion};

use super::chain::{AuthenticatedChain, ChainError};
use crate::trust::TrustClass;

/// A report that a trusted root vouches for. It says what the hardware says; whether that is good
/// enough is asked by [`crate::Policy`].
///
/// Made by [`AuthenticatedChain::authenticate`] only.
#[derive(Debug, Clone)]
pub struct Genuine {
    report: Report,
    leaf: Arc<Leaf>,
    reported_tcb: Tcb,
    chip_id: Option<ChipId>,
    trust_class: TrustClass,
    root_key_digest: Sha256,
    root_name: Arc<str>,
    revocation_list_made_ms: Option<u64>,
}

/// Why a report is not genuine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticateError {
    /// No trusted root vouches for the key.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The firmware was told not to sign.
    #[error("the report is not signed: the platform masks its key (MASK_CHIP_KEY) or has none")]
    Unsigned,
    /// The report names another kind of key than the certificate.
    #[error("the report says a {found} signed it, the certificate is of a {expected}", found = found.name(), expected = expected.name())]
    SigningKey {
        /// Kind in the report.
        found: SigningKeyKind,
        /// Kind of the certificate.
        expected: SigningKeyKind,
    },
    /// The signature does not verify.
    #[error("the signature of the report was not made by the certified key, or the report was changed")]
    Signature,
    /// The report names a processor of another product.
    #[error("the report names a processor of {found:?}, the certificate is for {expected}")]
    Processor {
        /// Product of the processor, if known.
        found: Option<Product>,
        /// Product of the certificate.
        expected: Product,
    },
    /// REPORTED_TCB is not the TCB version of the certificate.
    #[error("the report states TCB version {found}, the certificate is for {expected}; fetch the right VCEK")]
    Tcb {
        /// In the report.
        found: TcbVersion,
        /// In the certificate.
        expected: TcbVersion,
    },
    /// A TCB version of the report breaks the product's layout.
    #[error(transparent)]
    TcbLayout(#[from] TcbError),
    /// CHIP_ID is zero although a VCEK signed: the platform masks it.
    #[error("the report hides its chip (MASK_CHIP_ID), so it cannot be compared with the certificate")]
    ChipMasked,
    /// CHIP_ID is not the chip of the certificate.
    #[error("the report is of chip {found}, the certificate of {expected}; fetch the right VCEK")]
    Chip {
        /// In the report.
        found: Box<ChipId>,
        /// In the certificate.
        expected: Box<ChipId>,
    },
}

impl AuthenticatedChain {
    /// Verifies that the chain's key signed `report`, and that both agree on product, firmware and chip.
    ///
    /// # Errors
    /// [`AuthenticateError`], the first that applies.
    pub fn authenticate(&self, report: Report, now_ms: u64) -> Result<Genuine, AuthenticateError> {
        self.check_time(now_ms)?;
        let flags = report.key_info();
        if flags.mask_chip_key() || flags.signing_key() == SigningKeyKind::None {
            return Err(AuthenticateError::Unsigned);
        }
        if flags.signing_key() != self.leaf.kind() {
            return Err(AuthenticateError::SigningKey {
                found: flags.signing_key(),
                expected: self.leaf.kind(),
            });
        }
        self.key
            .verify(report.signed_bytes(), &report.signature())
            .map_err(|_| AuthenticateError::Signature)?;
        let product = self.leaf.product();
        if let Some(cpuid) = report.cpuid()
            && cpuid.product() != Some(product)
        {
            return Err(AuthenticateError::Processor { found: cpuid.product(), expected: product });
        }
        let reported_tcb = check_tcb(&report, &self.leaf)?;
        let chip_id = check_chip(&report, &self.leaf)?;
        Ok(Genuine {
            leaf: self.leaf.clone(),
            reported_tcb,
            chip_id,
            trust_class: self.trust_class(),
            root_key_digest: self.root_key_digest,
            root_name: self.root_name.clone(),
            revocation_list_made_ms: self.revocation_list_made_ms,
            report,
        })
    }
}

impl Genuine {
    /// The report; every field of it is the hardware's word.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The product line.
    pub fn product(&self) -> Product {
        self.leaf.product()
    }

    /// Which kind of key signed.
    pub fn signing_key(&self) -> SigningKeyKind {
        self.leaf.kind()
    }

    /// The cloud provider to which a VLEK was issued; `None` for a VCEK.
    pub fn provider(&self) -> Option<&str> {
        self.leaf.provider()
    }

    /// REPORTED_TCB, part by part.
    pub fn reported_tcb(&self) -> Tcb {
        self.reported_tcb
    }

    /// The chip; `None` if a VLEK signed and the platform masks the chip.
    pub fn chip_id(&self) -> Option<ChipId> {
        self.chip_id
    }

    /// Whether the root is AMD's or simulated.
    pub fn trust_class(&self) -> TrustClass {
        self.trust_class
    }

    /// Digest of the root's key.
    pub fn root_key_digest(&self) -> Sha256 {
        self.root_key_digest
    }

    /// Common name of the root.
    pub fn root_name(&self) -> &str {
        &self.root_name
    }

    /// When the revocation list was made that names neither certificate, in milliseconds since 1970;
    /// `None` if there was no list.
    pub fn revocation_list_made_ms(&self) -> Option<u64> {
        self.revocation_list_made_ms
    }
}

/// Checks that REPORTED_TCB is what the certificate is for, and that every TCB version of the report
/// keeps to the product's layout.
///
/// # Errors
/// [`AuthenticateError::Tcb`], [`AuthenticateError::TcbLayout`].
pub fn check_tcb(report: &Report, leaf: &Leaf) -> Result<Tcb, AuthenticateError> {
    if report.reported_tcb() != leaf.tcb() {
        return Err(AuthenticateError::Tcb { found: report.reported_tcb(), expected: leaf.tcb() });
    }
    for version in [report.current_tcb(), report.committed_tcb(), report.launch_tcb()] {
        version.components(leaf.product())?;
    }
    Ok(report.reported_tcb().components(leaf.product())?)
}

/// Checks that a VCEK's report is of the certificate's chip. A VLEK belongs to no chip: what the report
/// says is returned as it stands, `None` if masked.
///
/// # Errors
/// [`AuthenticateError::ChipMasked`], [`AuthenticateError::Chip`].
pub fn check_chip(report: &Report, leaf: &Leaf) -> Result<Option<ChipId>, AuthenticateError> {
    let found = report.chip_id();
    match leaf.hardware_id() {
        None => Ok((!found.is_masked()).then_some(found)),
        Some(_) if found.is_masked() => Err(AuthenticateError::ChipMasked),
        Some(hardware_id) if found == hardware_id.chip_id() => Ok(Some(found)),
        Some(hardware_id) => {
            Err(AuthenticateError::Chip { found: Box::new(found), expected: Box::new(hardware_id.chip_id()) })
        }
    }
}
