//! From bytes to a verdict, in one step.

use casemate_crypto::Provider;
use casemate_crypto::hash::{Sha256, sha256};
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::intel::{Body, Quote};
use casemate_evidence::snp::Report;

use crate::appraise::{Appraisal, Genuine, rule};
use crate::expectations::Expectations;
use crate::intel::{self, Collateral};
use crate::policy::Policy;
use crate::trust::{AcceptSimulated, Roots};
use crate::verdict::{
    Code, Comparison, Node, NotEstablished, Outcome, Platform, Value, Verdict, not_genuine,
};
use crate::{sgx, snp, tdx};

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

/// Endorsements from elsewhere, for evidence that carries none along; of each platform those that the
/// caller has.
#[derive(Debug, Clone, Default)]
pub struct Endorsements {
    /// Of an SEV-SNP report.
    pub snp: Option<snp::Endorsements>,
    /// Of a TDX or SGX quote.
    pub intel: Option<Collateral>,
}

impl From<Collateral> for Endorsements {
    fn from(collateral: Collateral) -> Self {
        Self { intel: Some(collateral), ..Self::default() }
    }
}

impl From<snp::Endorsements> for Endorsements {
    fn from(endorsements: snp::Endorsements) -> Self {
        Self { snp: Some(endorsements), ..Self::default() }
    }
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
        let platform = match platform(bundle) {
            Ok(platform) => platform,
            Err(failed) => return self.hearsay(Outcome::NotGenuine, *failed),
        };
        if !self.policy.has_rules(platform) {
            return self.hearsay(Outcome::Refused, rule::no_rules(platform));
        }
        let manifest = bundle.manifest().map(sha256);
        let genuine: Result<Box<dyn Genuine>, Box<Node>> = match platform {
            Platform::Snp => {
                let elsewhere = endorsements.and_then(|endorsements| endorsements.snp.as_ref());
                self.authenticate_snp(bundle, elsewhere, now_ms).map(|genuine| Box::new(genuine) as _)
            }
            Platform::Tdx | Platform::Sgx => {
                let elsewhere = endorsements.and_then(|endorsements| endorsements.intel.as_ref());
                self.authenticate_intel(bundle, platform, elsewhere, now_ms)
            }
        };
        self.appraise(genuine, manifest, expectations, now_ms)
    }

    /// Appraises an SEV-SNP report by itself at time `now_ms` (milliseconds since 1970).
    pub fn verify_report(
        &self,
        report: &[u8],
        endorsements: &snp::Endorsements,
        expectations: &Expectations,
        now_ms: u64,
    ) -> Appraisal {
        if !self.policy.has_rules(Platform::Snp) {
            return self.hearsay(Outcome::Refused, rule::no_rules(Platform::Snp));
        }
        let genuine = Report::parse(report)
            .map_err(|error| snp::unreadable_report(&error))
            .and_then(|report| self.authenticate_report(report, endorsements, now_ms));
        match genuine {
            Ok(genuine) => self.policy.appraise(&genuine, expectations, self.accept_simulated, now_ms),
            Err(failed) => self.hearsay(Outcome::NotGenuine, *failed),
        }
    }

    /// Appraises a TDX or SGX quote by itself at time `now_ms` (milliseconds since 1970).
    pub fn verify_quote(
        &self,
        quote: &[u8],
        collateral: &Collateral,
        expectations: &Expectations,
        now_ms: u64,
    ) -> Appraisal {
        let quote = match Quote::parse(quote) {
            Ok(quote) => quote,
            Err(error) => return self.hearsay(Outcome::NotGenuine, *intel::unreadable_quote(&error)),
        };
        let platform = platform_of(&quote);
        if !self.policy.has_rules(platform) {
            return self.hearsay(Outcome::Refused, rule::no_rules(platform));
        }
        let genuine = self.authenticate_quote(quote, collateral, now_ms);
        self.appraise(genuine, None, expectations, now_ms)
    }

    fn appraise(
        &self,
        genuine: Result<Box<dyn Genuine>, Box<Node>>,
        manifest: Option<Sha256>,
        expectations: &Expectations,
        now_ms: u64,
    ) -> Appraisal {
        match genuine {
            Ok(genuine) => self.policy.appraise_with_manifest(
                &*genuine,
                manifest,
                expectations,
                self.accept_simulated,
                now_ms,
            ),
            Err(failed) => self.hearsay(Outcome::NotGenuine, *failed),
        }
    }

    fn authenticate_snp(
        &self,
        bundle: &Bundle,
        elsewhere: Option<&snp::Endorsements>,
        now_ms: u64,
    ) -> Result<snp::Genuine, Box<Node>> {
        let report = bundle.snp_report().expect("the bundle was found to hold a report");
        let report = Report::parse(report).map_err(|error| snp::unreadable_report(&error))?;
        let carried =
            snp::Endorsements::from_bundle(bundle).map_err(|error| snp::unreadable_endorsements(&error))?;
        let endorsements = carried.as_ref().or(elsewhere).ok_or_else(snp::missing_endorsements)?;
        self.authenticate_report(report, endorsements, now_ms)
    }

    fn authenticate_report(
        &self,
        report: Report,
        endorsements: &snp::Endorsements,
        now_ms: u64,
    ) -> Result<snp::Genuine, Box<Node>> {
        snp::authenticate(report, endorsements, self.roots, now_ms, self.provider)
            .map_err(|error| snp::not_genuine(&error))
    }

    fn authenticate_intel(
        &self,
        bundle: &Bundle,
        platform: Platform,
        elsewhere: Option<&Collateral>,
        now_ms: u64,
    ) -> Result<Box<dyn Genuine>, Box<Node>> {
        let bytes = bundle.tdx_quote().or(bundle.sgx_quote()).expect("the bundle was found to hold a quote");
        let quote = Quote::parse(bytes).map_err(|error| intel::unreadable_quote(&error))?;
        if platform_of(&quote) != platform {
            return Err(intel::wrong_tee(platform_of(&quote).name(), platform.name()));
        }
        let carried = bundle.intel_collateral().map(Collateral::from_bundle_item).transpose();
        let carried = carried.map_err(|error| intel::unreadable_collateral(&error))?;
        let collateral = carried.as_ref().or(elsewhere).ok_or_else(intel::missing_collateral)?;
        self.authenticate_quote(quote, collateral, now_ms)
    }

    fn authenticate_quote(
        &self,
        quote: Quote,
        collateral: &Collateral,
        now_ms: u64,
    ) -> Result<Box<dyn Genuine>, Box<Node>> {
        let genuine: Result<Box<dyn Genuine>, _> = match quote.body() {
            Body::Tdx(_) => tdx::authenticate(quote, collateral, self.roots, now_ms, self.provider)
                .map(|genuine| Box::new(genuine) as _),
            Body::Sgx(_) => sgx::authenticate(quote, collateral, self.roots, now_ms, self.provider)
                .map(|genuine| Box::new(genuine) as _),
        };
        genuine.map_err(|error| intel::not_genuine(&error))
    }

    /// The verdict on evidence that nobody vouches for, or that nobody looked into: one failed check, and
    /// nothing else, since whatever the evidence says is hearsay.
    fn hearsay(&self, outcome: Outcome, failed: Node) -> Appraisal {
        let unchecked = |code, check| Node::group(code, vec![Node::not_checked(check, Value::Nothing)]);
        Appraisal::Refused(Box::new(Verdict {
            outcome,
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

/// The one platform whose evidence a bundle holds.
fn platform(bundle: &Bundle) -> Result<Platform, Box<Node>> {
    let found: Vec<Platform> = bundle
        .items()
        .iter()
        .filter_map(|item| match item {
            Item::SnpReport(_) => Some(Platform::Snp),
            Item::TdxQuote(_) => Some(Platform::Tdx),
            Item::SgxQuote(_) => Some(Platform::Sgx),
            _ => None,
        })
        .collect();
    match found[..] {
        [platform] => Ok(platform),
        [] => Err(not_genuine(Code::EvidencePresent, "missing", Comparison::Equal, "evidence of a TEE")),
        _ => Err(not_genuine(
            Code::EvidencePresent,
            found.iter().map(|platform| platform.name()).collect::<Vec<_>>(),
            Comparison::Equal,
            "evidence of one platform",
        )),
    }
}

fn platform_of(quote: &Quote) -> Platform {
    match quote.body() {
        Body::Tdx(_) => Platform::Tdx,
        Body::Sgx(_) => Platform::Sgx,
    }
}
