//! Which check does a TPM's evidence fail that is not genuine?

use super::evidence::AuthenticateError;
use super::key::KeyCertificateError;
use super::quote::QuoteError;
use crate::certificates::failed_path;
use crate::verdict::{Code, Comparison, Node, Value, broken, not_genuine as failed};

/// One check per way of not being genuine.
pub(crate) fn not_genuine(error: &AuthenticateError) -> Box<Node> {
    use AuthenticateError as E;
    match error {
        E::Statement(error) => broken(Code::TpmStatement, error),
        E::SignatureFormat(error) => broken(Code::TpmSignatureFormat, error),
        E::Pcrs(error) => broken(Code::TpmPcrFormat, error),
        E::NoKey => failed(Code::TpmKeyPresent, "missing", Comparison::Equal, "the attestation key"),
        E::PublicArea(_) | E::PublicKey(_) | E::SeveralLeaves { .. } => broken(Code::TpmKeyFormat, error),
        E::Certificate(_) | E::TcgCertificate(_) => broken(Code::ChainFormat, error),
        E::OtherKey { .. } => broken(Code::TpmOtherKey, error),
        E::Attributes(error) => broken(Code::TpmKeyAttributes, error),
        E::KeyCertificate(KeyCertificateError::Path(error)) => failed_path(error),
        E::KeyCertificate(error) => broken(Code::TpmCertificateUse, error),
        E::NotEnrolled { found } => {
            failed(Code::TpmKeyEnrolled, found.as_ref(), Comparison::OneOf, "the enrolled keys")
        }
        E::Instance(error) => broken(Code::GcpInstance, error),
        E::Quote(error) => broken_quote(error),
    }
}

fn broken_quote(error: &QuoteError) -> Box<Node> {
    match error {
        QuoteError::NotAQuote { .. } => broken(Code::TpmStatement, error),
        QuoteError::Signature(_) => {
            failed(Code::TpmSignature, "does not verify", Comparison::Equal, Value::Nothing)
        }
        QuoteError::QualifiedSigner { .. } => broken(Code::TpmOtherKey, error),
        QuoteError::NothingSelected => broken(Code::TpmSelection, error),
        QuoteError::MissingPcr { .. } => broken(Code::TpmPcrPresent, error),
        QuoteError::PcrDigest { found, expected } => {
            failed(Code::TpmPcrDigest, found.as_bytes(), Comparison::Equal, &expected[..])
        }
    }
}
