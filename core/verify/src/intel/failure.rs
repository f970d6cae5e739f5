//! Which check does a quote fail that is not genuine?

use casemate_evidence::intel::QuoteError;

use super::certificate::ChainError;
use super::collateral::{CollateralFileError, Document, DocumentError};
use super::quote::AuthenticateError;
use crate::verdict::{Code, Comparison, Node, Value, broken, not_genuine as failed};

pub(crate) fn unreadable_quote(error: &QuoteError) -> Box<Node> {
    broken(Code::QuoteFormat, error)
}

pub(crate) fn missing_collateral() -> Box<Node> {
    failed(Code::CollateralPresent, "missing", Comparison::Equal, "Intel's collateral of the platform")
}

pub(crate) fn unreadable_collateral(error: &CollateralFileError) -> Box<Node> {
    broken(Code::CollateralFormat, error)
}

pub(crate) fn wrong_tee(found: &'static str, expected: &'static str) -> Box<Node> {
    failed(Code::QuoteTee, found, Comparison::Equal, expected)
}

/// One check per way of not being genuine, with what was found and what the evidence itself demands.
pub(crate) fn not_genuine(error: &AuthenticateError) -> Box<Node> {
    use AuthenticateError as E;
    let equal = Comparison::Equal;
    match error {
        E::Collateral(error) => broken_document(error),
        E::Chain(error) => broken_chain(error),
        E::NoPckChain { .. } | E::Certificates(_) => broken(Code::PckChainPresent, error),
        E::QeReportSignature => failed(Code::QeReportSignature, "does not verify", equal, Value::Nothing),
        E::AttestationKey { found, expected } => {
            failed(Code::AttestationKey, found.as_ref(), equal, expected.as_ref())
        }
        E::AttestationKeyPadding => broken(Code::AttestationKey, error),
        E::QuoteSignature => failed(Code::QuoteSignature, "does not verify", equal, Value::Nothing),
        E::OtherTee { found, expected } => failed(Code::CollateralTee, *found, equal, *expected),
        E::OtherFmspc { found, expected } => {
            failed(Code::CollateralPlatform, found.as_ref(), equal, expected.as_ref())
        }
        E::OtherPce { found, expected } => failed(Code::CollateralPlatform, &found[..], equal, &expected[..]),
        E::QeSigner { found, expected } => failed(Code::QeSigner, found.as_ref(), equal, expected.as_ref()),
        E::QeProduct { found, expected } => {
            failed(Code::QeProduct, u64::from(*found), equal, u64::from(*expected))
        }
        E::QeMiscSelect { found, expected } => failed(Code::QeMiscSelect, &found[..], equal, &expected[..]),
        E::QeAttributes { found, expected } => failed(Code::QeAttributes, &found[..], equal, &expected[..]),
        E::Body { found, expected } => wrong_tee(found, expected),
        E::ModuleVersion { .. } => broken(Code::ModuleVersion, error),
        E::ModuleSigner { found, expected } => {
            failed(Code::ModuleSigner, found.as_ref().as_ref(), equal, expected.as_ref().as_ref())
        }
        E::ModuleAttributes { found, expected } => {
            failed(Code::ModuleAttributes, &found[..], equal, &expected[..])
        }
    }
}

fn broken_document(error: &DocumentError) -> Box<Node> {
    use DocumentError as E;
    let signature = |document: &Document| match document {
        Document::TcbInfo => Code::TcbInfoSignature,
        Document::QeIdentity => Code::QeIdentitySignature,
    };
    let time = |document: &Document| match document {
        Document::TcbInfo => Code::TcbInfoTime,
        Document::QeIdentity => Code::QeIdentityTime,
    };
    match error {
        E::Chain(error) => broken_chain(error),
        E::Signature { document } => {
            failed(signature(document), "does not verify", Comparison::Equal, Value::Nothing)
        }
        E::NotYetValid { document, issued_ms, now_ms } => {
            failed(time(document), *now_ms, Comparison::AtLeast, *issued_ms)
        }
        E::Expired { document, next_update_ms, now_ms } => {
            failed(time(document), *now_ms, Comparison::AtMost, *next_update_ms)
        }
    }
}

fn broken_chain(error: &ChainError) -> Box<Node> {
    use ChainError as E;
    match error {
        E::UntrustedRoot { found, .. } => {
            failed(Code::IntelRootKey, found.as_ref(), Comparison::OneOf, "the trusted roots")
        }
        E::OtherRoot { found, expected } => {
            failed(Code::IntelRootKey, found.as_ref(), Comparison::Equal, expected.as_ref())
        }
        E::Issuer { found, expected, .. } => {
            failed(Code::IntelCertificateIssuer, found.clone(), Comparison::Equal, expected.clone())
        }
        E::Subject { found, expected, .. } => {
            failed(Code::IntelCertificateSubject, found.clone(), Comparison::Equal, *expected)
        }
        E::Signature { .. } | E::SignatureAlgorithm { .. } | E::IssuerKey { .. } => {
            broken(Code::IntelCertificateSignature, error)
        }
        E::Length { .. }
        | E::NotAuthority { .. }
        | E::NotLeaf { .. }
        | E::PathLength { .. }
        | E::CriticalExtension { .. } => broken(Code::IntelCertificateRight, error),
        E::NotYetValid { not_before_ms, now_ms, .. } => {
            failed(Code::IntelCertificateTime, *now_ms, Comparison::AtLeast, *not_before_ms)
        }
        E::Expired { not_after_ms, now_ms, .. } => {
            failed(Code::IntelCertificateTime, *now_ms, Comparison::AtMost, *not_after_ms)
        }
        E::Revoked { .. } => broken(Code::IntelRevocation, error),
        E::Pck(_) => broken(Code::PckFormat, error),
    }
}
