//! What is a verdict in the words of AR4SI?
//!
//! draft-ietf-rats-ar4si §2.3. Conservative: what was not established is 0, "no claim"; a result that
//! refuses affirms nothing, and neither does a simulated TEE. The same table for people: `docs/reference/ear.md`.

use casemate_verify::{Code, NotEstablished, Outcome, Status, TrustClass, Value, Verdict};
use serde::Serialize;

/// A trustworthiness tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// No claim.
    None,
    /// 2 to 31.
    Affirming,
    /// 32 to 95.
    Warning,
    /// 96 to 127.
    Contraindicated,
}

/// The trustworthiness vector. Casemate makes no claim about file system, storage and sourced data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrustVector {
    /// Whether this very machine or boot was expected.
    pub instance_identity: i8,
    /// How the guest was launched.
    pub configuration: i8,
    /// What was booted, and which workload.
    pub executables: i8,
    /// Always 0.
    pub file_system: i8,
    /// Processor and firmware.
    pub hardware: i8,
    /// Who can read its memory.
    pub runtime_opaque: i8,
    /// Always 0.
    pub storage_opaque: i8,
    /// Always 0.
    pub sourced_data: i8,
}

/// What a verdict establishes, as far as a vector can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// How it came out.
    pub outcome: Outcome,
    /// Whether hardware stands behind it, and not a simulation.
    pub real: bool,
    /// Whether an expected machine made it, or the seats vouch for this boot.
    pub instance: bool,
    /// Whether the policy demanded that nobody can debug the guest, and it is so.
    pub debug_off: bool,
    /// Whether image and workload were compared with expected ones.
    pub software: bool,
    /// Whether a revocation list was at hand.
    pub revocation: bool,
    /// Whether it answers a challenge made now.
    pub fresh: bool,
    /// Whether the vendor knows vulnerabilities of this firmware that the policy accepts.
    pub vulnerable: bool,
    /// Checks and groups that failed.
    pub failed: Vec<Code>,
}

impl Established {
    /// By this verdict.
    pub fn by(verdict: &Verdict) -> Self {
        let missing = |what| verdict.not_established().contains(&what);
        let held = |codes: &[Code]| {
            verdict.checks().any(|check| codes.contains(&check.code) && check.status == Status::Ok)
        };
        let found = |code| verdict.checks().find(|check| check.code == code).map(|check| &check.found);
        let off = Value::Word("off");
        Established {
            outcome: verdict.outcome(),
            real: verdict.trust_class() == Some(TrustClass::Real),
            instance: held(&[Code::Chip, Code::IntelPlatform, Code::SessionLease]),
            debug_off: verdict.checks().any(|check| {
                matches!(check.code, Code::GuestDebug | Code::TdDebug | Code::EnclaveDebug)
                    && check.status == Status::Ok
                    && check.found == off
            }),
            software: !missing(NotEstablished::LaunchMeasurement) && !missing(NotEstablished::Workload),
            revocation: !missing(NotEstablished::Revocation),
            fresh: !missing(NotEstablished::Freshness),
            vulnerable: found(Code::TcbStatus).is_some_and(|word| word.to_string() != "UpToDate")
                || found(Code::Advisories)
                    .is_some_and(|list| !matches!(list.to_string().as_str(), "none" | "")),
            failed: verdict.failures().map(|check| check.code).chain(failed_groups(verdict)).collect(),
        }
    }
}

fn failed_groups(verdict: &Verdict) -> Vec<Code> {
    let mut rest: Vec<_> = verdict.groups().iter().collect();
    let mut failed = Vec::new();
    while let Some(node) = rest.pop() {
        rest.extend(&node.checks);
        if node.code.is_group() && node.status == Status::Failed {
            failed.push(node.code);
        }
    }
    failed
}

/// Tier and vector of what was established.
pub fn appraise(found: &Established) -> (Tier, TrustVector) {
    let vector = match found.outcome {
        Outcome::Verified if found.real => verified(found),
        // What a simulated TEE says, its host may have written.
        Outcome::Verified => TrustVector::default(),
        Outcome::Refused => refused(found),
        Outcome::NotGenuine => TrustVector { hardware: not_genuine(found), ..TrustVector::default() },
    };
    let tier = match found.outcome {
        Outcome::Refused | Outcome::NotGenuine => Tier::Contraindicated,
        Outcome::Verified if vector.hardware == UNSAFE_HARDWARE => Tier::Warning,
        Outcome::Verified => {
            let all = [vector.configuration, vector.executables, vector.hardware, vector.runtime_opaque];
            if found.fresh && all.iter().all(|claim| *claim != NO_CLAIM) {
                Tier::Affirming
            } else {
                Tier::None
            }
        }
    };
    (tier, vector)
}

fn verified(found: &Established) -> TrustVector {
    let claim = |holds, value| if holds { value } else { NO_CLAIM };
    TrustVector {
        instance_identity: claim(found.instance, RECOGNIZED_INSTANCE),
        configuration: claim(found.debug_off, APPROVED_CONFIGURATION),
        executables: claim(found.software, APPROVED_BOOT),
        hardware: match (found.revocation, found.vulnerable) {
            (_, true) => UNSAFE_HARDWARE,
            (true, false) => GENUINE_HARDWARE,
            (false, false) => NO_CLAIM,
        },
        runtime_opaque: claim(found.debug_off, ENCRYPTED_MEMORY),
        ..TrustVector::default()
    }
}

fn refused(found: &Established) -> TrustVector {
    let failed = |codes: &[Code]| codes.iter().any(|code| found.failed.contains(code));
    let claim = |holds, value| if holds { value } else { NO_CLAIM };
    // Without rules nobody looked at the hardware.
    let unread = failed(&[Code::SnpAccepted, Code::TdxAccepted, Code::SgxAccepted, Code::NvidiaAccepted]);
    TrustVector {
        instance_identity: claim(failed(&[Code::Channel]), UNRECOGNIZED_INSTANCE),
        configuration: claim(failed(&[Code::Guest]), UNSUPPORTABLE_CONFIGURATION),
        executables: claim(failed(&[Code::Image, Code::Workload]), UNRECOGNIZED_EXECUTABLES),
        hardware: claim(
            failed(&[Code::Signer, Code::Firmware, Code::Platform, Code::Devices]) && !unread,
            CONTRAINDICATED_HARDWARE,
        ),
        ..TrustVector::default()
    }
}

fn not_genuine(found: &Established) -> i8 {
    let failed = |codes: &[Code]| codes.iter().any(|code| found.failed.contains(code));
    if failed(&[
        Code::EvidencePresent,
        Code::ReportFormat,
        Code::QuoteFormat,
        Code::QuoteTee,
        Code::NvidiaReportFormat,
    ]) {
        UNEXPECTED_EVIDENCE
    } else if failed(&[
        Code::ReportSignature,
        Code::CertificateSignature,
        Code::QuoteSignature,
        Code::QeReportSignature,
        Code::AttestationKey,
        Code::IntelCertificateSignature,
        Code::NvidiaSignature,
        Code::NvidiaManifestSignature,
    ]) {
        CRYPTOGRAPHY_FAILED
    } else {
        UNRECOGNIZED_HARDWARE
    }
}

// draft-ietf-rats-ar4si §2.3.2 (for all claims) and §2.3.4 (for each).
const NO_CLAIM: i8 = 0;
const UNEXPECTED_EVIDENCE: i8 = 1;
const CRYPTOGRAPHY_FAILED: i8 = 99;
const RECOGNIZED_INSTANCE: i8 = 2;
const UNRECOGNIZED_INSTANCE: i8 = 97;
const APPROVED_CONFIGURATION: i8 = 2;
const UNSUPPORTABLE_CONFIGURATION: i8 = 96;
const APPROVED_BOOT: i8 = 3;
const UNRECOGNIZED_EXECUTABLES: i8 = 33;
const GENUINE_HARDWARE: i8 = 2;
const UNSAFE_HARDWARE: i8 = 32;
const CONTRAINDICATED_HARDWARE: i8 = 96;
const UNRECOGNIZED_HARDWARE: i8 = 97;
const ENCRYPTED_MEMORY: i8 = 2;
