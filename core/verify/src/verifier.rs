//! From bytes to a verdict, in one step.

use std::borrow::Cow;

use casemate_crypto::Provider;
use casemate_crypto::hash::{Sha256, sha256};
use casemate_evidence::azure::{HclReport, ReportType};
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::intel::{Body, Quote};
use casemate_evidence::nitro::Document;
use casemate_evidence::snp::Report;

use crate::appraise::{Appraisal, Genuine, rule};
use crate::expectations::Expectations;
use crate::intel::{self, Collateral};
use crate::logs::{self, Logs, Registers, WithLogs};
use crate::nvidia::{Alone, Devices, WithDevices};
use crate::policy::Policy;
use crate::trust::{AcceptSimulated, Roots};
use crate::verdict::{
    Code, Comparison, Node, NotEstablished, Outcome, Platform, Value, Verdict, not_genuine,
};
use crate::{azure, nitro, nvidia, sgx, snp, tdx, tpm};

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
        let mut needed = std::iter::once(platform).chain(tee_of_azure(bundle));
        if let Some(platform) = needed.find(|platform| !self.policy.has_rules(*platform)) {
            return self.hearsay(Outcome::Refused, rule::no_rules(platform));
        }
        if let Some(failed) = logs::no_rules(self.policy, bundle) {
            return self.hearsay(Outcome::Refused, failed);
        }
        let manifest = bundle.manifest().map(sha256);
        let genuine: Result<Box<dyn Genuine>, Box<Node>> = match platform {
            Platform::Snp => {
                let report = bundle.snp_report().expect("the bundle was found to hold a report");
                let genuine = self.authenticate_snp(report, bundle, endorsements, now_ms);
                genuine.map(|genuine| Box::new(genuine) as _)
            }
            Platform::Tdx | Platform::Sgx => {
                let elsewhere = endorsements.and_then(|endorsements| endorsements.intel.as_ref());
                self.authenticate_intel(bundle, platform, elsewhere, now_ms)
            }
            Platform::Azure => self.authenticate_azure(bundle, endorsements, now_ms),
            Platform::Nitro => self.authenticate_nitro(bundle, now_ms),
            // Whose TPM it is, its certificate says.
            Platform::Tpm | Platform::Gcp => self.authenticate_tpm(bundle, now_ms),
            Platform::Nvidia => self.authenticate_devices(bundle, now_ms).map(|devices| {
                let alone = Alone::new(devices).expect("the bundle was found to hold a device");
                Box::new(alone) as _
            }),
        };
        let genuine = genuine.and_then(|genuine| self.with_logs(genuine, bundle));
        let genuine = genuine.and_then(|genuine| self.with_devices(genuine, bundle, now_ms));
        self.appraise(genuine, manifest, expectations, now_ms)
    }

    /// The evidence and its logs, where it has registers and the policy rules for logs, or a log came along.
    fn with_logs(&self, evidence: Box<dyn Genuine>, bundle: &Bundle) -> Result<Box<dyn Genuine>, Box<Node>> {
        let registers = evidence.registers();
        let has_logs = bundle.event_log().is_some() || bundle.ima_list().is_some();
        let has_rules = self.policy.events.is_some() || self.policy.ima.is_some();
        if !has_logs && (!has_rules || matches!(registers, Registers::None)) {
            return Ok(evidence);
        }
        let logs = Logs::authenticate(bundle, registers, self.policy, self.provider)?;
        Ok(Box::new(WithLogs { evidence, logs }))
    }

    /// The evidence and its devices, where any came along or the policy has rules for them.
    fn with_devices(
        &self,
        evidence: Box<dyn Genuine>,
        bundle: &Bundle,
        now_ms: u64,
    ) -> Result<Box<dyn Genuine>, Box<Node>> {
        let none_came = bundle.nvidia_devices().is_empty() && bundle.nvidia_manifests().is_empty();
        let devices = match (&self.policy.nvidia, none_came) {
            (None, true) => return Ok(evidence),
            (None, false) => None,
            (Some(_), _) => Some(self.authenticate_devices(bundle, now_ms)?),
        };
        Ok(Box::new(WithDevices { evidence, devices }))
    }

    fn authenticate_devices(&self, bundle: &Bundle, now_ms: u64) -> Result<Devices, Box<Node>> {
        Devices::authenticate(bundle, self.roots, now_ms, self.provider)
            .map_err(|error| nvidia::not_genuine(&error))
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

    /// A report of SEV-SNP, by the certificates in the bundle or elsewhere.
    fn authenticate_snp(
        &self,
        report: &[u8],
        bundle: &Bundle,
        endorsements: Option<&Endorsements>,
        now_ms: u64,
    ) -> Result<snp::Genuine, Box<Node>> {
        let elsewhere = endorsements.and_then(|endorsements| endorsements.snp.as_ref());
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
        let collateral = collateral_of(bundle, elsewhere)?;
        self.authenticate_quote(quote, &collateral, now_ms)
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

    fn authenticate_nitro(&self, bundle: &Bundle, now_ms: u64) -> Result<Box<dyn Genuine>, Box<Node>> {
        let bytes = bundle.nitro_document().expect("the bundle was found to hold a document");
        let document = Document::parse(bytes).map_err(|error| nitro::unreadable_document(&error))?;
        let genuine = nitro::authenticate(document, self.roots, now_ms, self.provider);
        genuine.map(|genuine| Box::new(genuine) as _).map_err(|error| nitro::not_genuine(&error))
    }

    fn authenticate_tpm(&self, bundle: &Bundle, now_ms: u64) -> Result<Box<dyn Genuine>, Box<Node>> {
        let quote = bundle.tpm_quote().expect("the bundle was found to hold a quote");
        let genuine = tpm::authenticate(quote, bundle.tpm_key(), self.roots, now_ms, self.provider);
        genuine.map(|genuine| Box::new(genuine) as _).map_err(|error| tpm::not_genuine(&error))
    }

    /// The TEE's part first, then what it vouches for.
    fn authenticate_azure(
        &self,
        bundle: &Bundle,
        endorsements: Option<&Endorsements>,
        now_ms: u64,
    ) -> Result<Box<dyn Genuine>, Box<Node>> {
        let bytes = bundle.azure_report().expect("the bundle was found to hold Azure's report");
        let hcl = HclReport::parse(bytes).map_err(|error| azure::unreadable_report(&error))?;
        let tee = match hcl.report_type {
            ReportType::Snp => {
                let genuine = self.authenticate_snp(&hcl.tee_report, bundle, endorsements, now_ms)?;
                azure::Tee::Snp(Box::new(genuine))
            }
            ReportType::Tdx => {
                let quote = bundle.tdx_quote().ok_or_else(azure::missing_quote)?;
                let quote = Quote::parse(quote).map_err(|error| intel::unreadable_quote(&error))?;
                let elsewhere = endorsements.and_then(|endorsements| endorsements.intel.as_ref());
                let collateral = collateral_of(bundle, elsewhere)?;
                let genuine = tdx::authenticate(quote, &collateral, self.roots, now_ms, self.provider);
                azure::Tee::Tdx(Box::new(genuine.map_err(|error| intel::not_genuine(&error))?))
            }
        };
        let genuine = azure::authenticate(&hcl, tee, bundle.tpm_quote(), bundle.tpm_key(), self.provider);
        genuine.map(|genuine| Box::new(genuine) as _).map_err(|error| azure::not_genuine(&error))
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

/// Intel's collateral in the bundle, or elsewhere.
fn collateral_of<'a>(
    bundle: &Bundle,
    elsewhere: Option<&'a Collateral>,
) -> Result<Cow<'a, Collateral>, Box<Node>> {
    let carried = bundle.intel_collateral().map(Collateral::from_bundle_item).transpose();
    let carried = carried.map_err(|error| intel::unreadable_collateral(&error))?;
    match carried {
        Some(carried) => Ok(Cow::Owned(carried)),
        None => elsewhere.map(Cow::Borrowed).ok_or_else(intel::missing_collateral),
    }
}

/// The TEE of a confidential VM of Azure; of a report that cannot be read nothing is known.
fn tee_of_azure(bundle: &Bundle) -> Option<Platform> {
    let report = bundle.azure_report().and_then(|bytes| HclReport::parse(bytes).ok())?;
    Some(match report.report_type {
        ReportType::Snp => Platform::Snp,
        ReportType::Tdx => Platform::Tdx,
    })
}

/// The one platform whose evidence a bundle holds. Devices of NVIDIA come along with any, or alone. A TDX quote
/// and a TPM's belong to Azure's report where there is one.
fn platform(bundle: &Bundle) -> Result<Platform, Box<Node>> {
    let azure = bundle.azure_report().is_some();
    let found: Vec<Platform> = bundle
        .items()
        .iter()
        .filter_map(|item| match item {
            Item::SnpReport(_) => Some(Platform::Snp),
            Item::AzureReport(_) => Some(Platform::Azure),
            Item::TdxQuote(_) | Item::TpmQuote(_) if azure => None,
            Item::TdxQuote(_) => Some(Platform::Tdx),
            Item::SgxQuote(_) => Some(Platform::Sgx),
            Item::NitroDocument(_) => Some(Platform::Nitro),
            Item::TpmQuote(_) => Some(Platform::Tpm),
            _ => None,
        })
        .collect();
    match found[..] {
        [platform] => Ok(platform),
        [] if !bundle.nvidia_devices().is_empty() => Ok(Platform::Nvidia),
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
