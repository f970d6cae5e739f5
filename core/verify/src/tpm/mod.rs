//! Did a genuine TPM 2.0 state this?
//!
//! A quote is genuine if an attestation key signed it that somebody trusted vouches for: a certificate
//! authority ([`authenticate_key_certificate`]), a registrar that enrolled the key by credential
//! activation ([`AttestationKey::enrolled`]), a TEE that measured the software that holds it (Azure, see
//! [`crate::azure`]), or another such key of the same TPM ([`authenticate_certify`]). Source: TCG TPM 2.0
//! Library, Parts 1 to 3, and the TCG EK Credential Profile.
//!
//! A TPM states what software told it to extend, from the first firmware on. It does not encrypt memory,
//! and a vTPM is as trustworthy as the machine that runs it.

mod appraise;
mod claims;
mod clock;
mod evidence;
mod failure;
mod key;
mod quote;

pub(crate) use appraise::{freshness_slot, measurement};
pub use claims::Claims;
pub use clock::{ClockError, Continuity, check_clock};
pub use evidence::{AuthenticateError, Genuine, VouchedKey, authenticate, authenticate_key};
pub(crate) use evidence::{public_key, quote_by, read_quote};
pub(crate) use failure::not_genuine;
pub use key::{
    AttestationKey, AuthenticatedKeyCertificate, KeyCertificateError, KeyError, Voucher,
    authenticate_key_certificate,
};
pub use quote::{
    CertifyError, GenuineQuote, QuoteError, authenticate_certify, authenticate_quote, pcr_digest,
};
