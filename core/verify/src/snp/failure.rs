//! Which check does evidence fail that is not genuine?

use casemate_evidence::snp::ReportError;

use super::{AuthenticateError, ChainError, EndorsementsError};
use crate::verdict::{Code, Comparison, Node, Value, not_genuine as failed};

pub(crate) fn unreadable_report(error: &ReportError) -> Box<Node> {
    failed(Code::ReportFormat, error.to_string(), Comparison::Equal, Value::Nothing)
}

pub(crate) fn missing_endorsements() -> Box<Node> {
    failed(
        Code::EndorsementsPresent,
        "missing",
        Comparison::Equal,
        "certificates from the report's key to a root",
    )
}

pub(crate) fn unreadable_endorsements(error: &EndorsementsError) -> Box<Node> {
    failed(Code::EndorsementsFormat, error.to_string(), Comparison::Equal, Value::Nothing)
}

/// One check per way of not being genuine, with what was found and what the evidence itself demands.
pub(crate) fn not_genuine(error: &AuthenticateError) -> Box<Node> {
    use AuthenticateError as E;
    match error {
        E::Chain(error) => broken_chain(error),
        E::Unsigned => failed(Code::ReportSigned, "not signed", Comparison::Equal, "signed"),
        E::SigningKey { found, expected } => {
            failed(Code::SigningKeyKind, found.name(), Comparison::Equal, expected.name())
        }
        E::Signature => failed(Code::ReportSignature, "does not verify", Comparison::Equal, Value::Nothing),
        E::Processor { found, expected } => failed(
            Code::Processor,
            found.map_or("unknown", |product| product.name()),
            Comparison::Equal,
            expected.name(),
        ),
        E::Tcb { found, expected } => {
            failed(Code::CertifiedTcb, found.as_ref(), Comparison::Equal, expected.as_ref())
        }
        E::ChipMasked => failed(Code::CertifiedChip, "masked", Comparison::Equal, "the certificate's chip"),
        E::Chip { found, expected } => {
            failed(Code::CertifiedChip, &found.as_bytes()[..], Comparison::Equal, &expected.as_bytes()[..])
        }
        E::TcbLayout(error) => {
            failed(Code::CertifiedTcb, error.to_string(), Comparison::Equal, Value::Nothing)
        }
    }
}

fn broken_chain(error: &ChainError) -> Box<Node> {
    use ChainError as E;
    match error {
        E::UntrustedRoot { found, .. } => {
            failed(Code::Root, found.as_ref(), Comparison::OneOf, "the trusted roots")
        }
        E::Issuer { found, expected, .. } => {
            failed(Code::CertificateIssuer, found.clone(), Comparison::Equal, expected.clone())
        }
        E::Signature { .. } | E::SignatureAlgorithm { .. } | E::IssuerKey { .. } => {
            failed(Code::CertificateSignature, error.to_string(), Comparison::Equal, Value::Nothing)
        }
        E::NotAuthority { .. } | E::PathLength { .. } | E::CriticalExtension { .. } => {
            failed(Code::CertificateRight, error.to_string(), Comparison::Equal, Value::Nothing)
        }
        E::NotYetValid { not_before_ms, now_ms, .. } => {
            failed(Code::CertificateTime, *now_ms, Comparison::AtLeast, *not_before_ms)
        }
        E::Expired { not_after_ms, now_ms, .. } => {
            failed(Code::CertificateTime, *now_ms, Comparison::AtMost, *not_after_ms)
        }
        E::Revoked { .. } => failed(Code::Revocation, error.to_string(), Comparison::Equal, Value::Nothing),
        E::Leaf(_) | E::LeafKey => {
            failed(Code::LeafFormat, error.to_string(), Comparison::Equal, Value::Nothing)
        }
        E::Product { found, expected } => {
            failed(Code::LeafProduct, found.name(), Comparison::Equal, expected.name())
        }
        E::Intermediate { found, expected } => {
            failed(Code::LeafProduct, found.clone(), Comparison::Equal, expected.clone())
        }
    }
}
