//! From bytes to a verdict, in one step.

use casemate_crypto::Provider;
use casemate_crypto::hash::sha256;
use casemate_evidence::bundle::Bundle;
use casemate_evidence::snp::{Report, ReportError};

use crate::appraise::Appraisal;
use crate::expectations::Expectations;
use crate::policy::Policy;
use crate::snp::{AuthenticateError, ChainError, Endorsements, EndorsementsError, authenticate};
use crate::trust::{AcceptSimulated, Roots};
use crate::verdict::{Code, Comparison, Node, NotEstablished, Outcome, Source, Value, Verdict};

/// Everything that stays the same from one appraisal to the next.
#[derive(Clone, Copy)]
pub struct Verifier<'a> {
    /// What is accepted.
    pub policy: &'a Policy,
    /// Where chains may end. [`Policy::roots`] gives the roots that the policy names.
    pub roots: &'a Roots,
    /// Whether simulated hardware will do, where the policy lists its root.
    pub accept_simulated: AcceptSimulated,
    /// Which library verifies signatures.
    pub provider: &'a dyn Provider,
}

impl Verifier<'_> {
    /// Appraises an evidence bundle at time `now_ms` (milliseconds since 1970).
    ///
    /// `endorsements` serve if the bundle carries none. A manifest in the bundle must be the one whose
    /// digest the hardware recorded.
    pub fn verify_bundle(
        &self,
        bundle: &Bundle,
        endorsements: Option<&Endorsements>,
        expectations: &Expectations,
        now_ms: u64,
    ) -> Appraisal {
        let Some(report) = bundle.snp_report() else {
            return self.hearsay(missing(Code::ReportPresent, "an SEV-SNP attestation report"));
        };
        let report = match Report::parse(report) {
            Ok(report) => report,
            Err(error) => return self.hearsay(unreadable_report(&error)),
        };
        let carried = match Endorsements::from_bundle(bundle) {
            Ok(carried) => carried,
            Err(error) => return self.hearsay(unreadable_endorsements(&error)),
        };
        let Some(endorsements) = carried.as_ref().or(endorsements) else {
            return self
                .hearsay(missing(Code::EndorsementsPresent, "certificates from the report's key to a root"));
        };
        let genuine = match authenticate(report, endorsements, self.roots, now_ms, self.provider) {
            Ok(genuine) => genuine,
            Err(error) => return self.hearsay(not_genuine(&error)),
        };
        let manifest = bundle.manifest().map(sha256);
        self.policy.appraise_with_manifest(&genuine, manifest, expectations, self.accept_simulated, now_ms)
    }

    /// Appraises a report by itself at time `now_ms` (milliseconds since 1970).
    pub fn verify_report(
        &self,
        report: &[u8],
        endorsements: &Endorsements,
        expectations: &Expectations,
        now_ms: u64,
    ) -> Appraisal {
        let report = match Report::parse(report) {
            Ok(report) => report,
            Err(error) => return self.hearsay(unreadable_report(&error)),
        };
        match authenticate(report, endorsements, self.roots, now_ms, self.provider) {
            Ok(genuine) => self.policy.appraise(&genuine, expectations, self.accept_simulated, now_ms),
            Err(error) => self.hearsay(not_genuine(&error)),
        }
    }

    /// The verdict on evidence that no root vouches for: one failed check, and nothing else was looked at,
    /// since whatever the evidence says is hearsay.
    fn hearsay(&self, failed: Node) -> Appraisal {
        let unchecked = |code, check| Node::group(code, vec![Node::not_checked(check, Value::Nothing)]);
        Appraisal::Refused(Box::new(Verdict {
            outcome: Outcome::NotGenuine,
            trust_class: None,
            policy_digest: self.policy.digest(),
            claims: None,
            groups: vec![
                Node::group(Code::Hardware, vec![Node::group(Code::Signer, vec![failed])]),
                unchecked(Code::Image, Code::Measurement),
                unchecked(Code::Workload, Code::ExpectedWorkload),
                unchecked(Code::Freshness, Code::ReportData),
                unchecked(Code::Channel, Code::SessionKey),
            ],
            not_established: vec![
                NotEstablished::MemoryConfidentiality,
                NotEstablished::LaunchMeasurement,
                NotEstablished::Workload,
                NotEstablished::Freshness,
                NotEstablished::Channel,
                NotEstablished::Availability,
                NotEstablished::SideChannels,
            ],
        }))
    }
}

fn missing(code: Code, what: &'static str) -> Node {
    failed(code, "missing", Comparison::Equal, what)
}

fn unreadable_report(error: &ReportError) -> Node {
    failed(Code::ReportFormat, error.to_string(), Comparison::Equal, Value::Nothing)
}

fn unreadable_endorsements(error: &EndorsementsError) -> Node {
    failed(Code::EndorsementsFormat, error.to_string(), Comparison::Equal, Value::Nothing)
}

/// One check per way of not being genuine, with what was found and what the evidence itself demands.
fn not_genuine(error: &AuthenticateError) -> Node {
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

fn broken_chain(error: &ChainError) -> Node {
    use ChainError as E;
    match error {
        E::UntrustedRoot { found, .. } => {
            failed(Code::Root, found.as_ref(), Comparison::OneOf, "the trusted roots")
        }
        E::Issuer { found, expected, .. } => {
            failed(Code::CertificateIssuer, found.clone(), Comparison::Equal, expected.clone())
        }
        E::Signature { .. } | E::IssuerKey { .. } => {
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

fn failed(code: Code, found: impl Into<Value>, comparison: Comparison, expected: impl Into<Value>) -> Node {
    Node::check(code, false, found, comparison, expected, Source::Evidence)
}
