//! Which report do both sides verify?
//!
//! One recorded on real hardware, if `CASEMATE_VECTORS` names the folder of recorded evidence; its certificates
//! are AMD's, RSA of 4096 bits. Otherwise one made on the spot, whose issuing keys have 2048 bits.

#[path = "../../core/verify/tests/support/mod.rs"]
pub(crate) mod support;

use std::{fs, path::Path};

use casemate_crypto::Provider;
use casemate_evidence::{
    snp::{Leaf, Product, Report, Version},
    x509::Certificate,
};
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, Policy, ReferenceValue, Roots, Workload,
    snp::{AuthenticatedChain, Endorsements},
};
use support::{NOW_MS, Tee};

/// A report with its certificates, and everything that a verifier of it is told.
#[derive(Debug)]
pub struct Evidence {
    /// What it is and where it comes from.
    pub name: String,
    /// The report.
    pub report: Vec<u8>,
    /// VCEK, ASK and ARK, in DER.
    pub certificates: [Vec<u8>; 3],
    /// A time at which all of them are valid, in milliseconds since 1970.
    pub now_ms: u64,
    /// The example policy, with the simulated root if there is one.
    pub policy: Policy,
    /// The same, as a file holds it.
    pub policy_text: String,
    /// What the report says, as the caller's expectation.
    pub expectations: Expectations,
    /// Whether the root is simulated.
    pub accept_simulated: AcceptSimulated,
}

impl Evidence {
    /// A recorded report if there is one, else one made on the spot.
    pub fn find() -> Self {
        recorded().unwrap_or_else(Self::simulated)
    }

    /// A report made on the spot.
    ///
    /// # Panics
    /// If the test TEE makes no good report.
    pub fn simulated() -> Self {
        let tee = Tee::new(Product::Genoa);
        let report = tee.sign_report().as_bytes().to_vec();
        let policy = Policy::example(&[tee.root_digest()]);
        let name = "simulated: report v3 of Genoa, issuing keys of 2048 bits".to_owned();
        Self::new(name, report, &tee.endorsements(), policy, NOW_MS, AcceptSimulated::Yes)
    }

    /// The certificates, read.
    ///
    /// # Panics
    /// If they are none.
    pub fn endorsements(&self) -> Endorsements {
        let [leaf, intermediate, root] = &self.certificates;
        Endorsements::parse(leaf, intermediate, root).expect("certificates")
    }

    /// The roots that the policy trusts.
    pub fn roots(&self) -> Roots {
        self.policy.roots()
    }

    /// The chain, verified.
    ///
    /// # Panics
    /// If it is not good.
    pub fn chain(&self, provider: &dyn Provider) -> AuthenticatedChain {
        AuthenticatedChain::verify(&self.endorsements(), &self.roots(), self.now_ms, provider)
            .expect("a good chain")
    }

    /// The key that signed the report: 4, then x and y (SEC 1, 2.3.3), as AWS-LC wants it.
    ///
    /// # Panics
    /// If the leaf names none.
    pub fn signing_key(&self) -> Vec<u8> {
        signing_key(&self.certificates[0])
    }

    fn new(
        name: String,
        report: Vec<u8>,
        endorsements: &Endorsements,
        policy_text: String,
        now_ms: u64,
        accept_simulated: AcceptSimulated,
    ) -> Self {
        let policy = Policy::parse(&policy_text).expect("the example policy");
        let parsed = Report::parse(&report).expect("a report");
        let expectations = Expectations {
            freshness: Freshness::Challenge { report_data: parsed.report_data(), made_ms: now_ms },
            workload: Workload::Digest {
                digest: (*parsed.host_data().as_bytes()).into(),
                source: "compose.yaml + compose.lock".to_owned(),
            },
            images: vec![ReferenceValue {
                image: "casemate-lite 2026.11".to_owned(),
                measurement: parsed.measurement().into(),
                source: "computed from image.toml".to_owned(),
            }],
            channel: Channel::Unchecked,
        };
        let der = |certificate: &Certificate| certificate.as_der().to_vec();
        let certificates =
            [der(&endorsements.leaf), der(&endorsements.intermediate), der(&endorsements.root)];
        Evidence { name, report, certificates, now_ms, policy, policy_text, expectations, accept_simulated }
    }
}

/// The P-384 key of a VCEK certificate in DER: 4, then x and y.
///
/// # Panics
/// If it certifies none.
pub fn signing_key(vcek: &[u8]) -> Vec<u8> {
    let certificate = Certificate::parse(vcek).expect("a certificate");
    let leaf = Leaf::read(&certificate).expect("a VCEK or VLEK");
    [&[4], &leaf.public_key().as_bytes()[..]].concat()
}

/// The first recorded report, by name, that names its processor and verifies.
fn recorded() -> Option<Evidence> {
    let vectors = std::env::var_os("CASEMATE_VECTORS")?;
    let mut folders: Vec<_> =
        fs::read_dir(Path::new(&vectors).join("snp")).ok()?.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.iter().find_map(|folder| read(folder))
}

fn read(folder: &Path) -> Option<Evidence> {
    let vector: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("vector.json")).ok()?).ok()?;
    if vector["expected"]["result"] != "verify_ok" {
        return None;
    }
    let report = fs::read(folder.join("report.bin")).ok()?;
    let version = Report::parse(&report).ok()?.version();
    if version == Version::V2 {
        return None;
    }
    let leaf = fs::read(folder.join("vcek.der")).ok()?;
    let chain = fs::read_to_string(folder.join("cert_chain.pem")).ok()?;
    let endorsements = Endorsements::parse_with_pem_chain(&leaf, &chain).ok()?;
    let certificates = [&endorsements.leaf, &endorsements.intermediate, &endorsements.root];
    let now_ms = certificates.iter().map(|certificate| certificate.not_before_ms()).max()? + HOUR_MS;
    let policy = with_old_firmware(&Policy::example(&[]));
    let product = Leaf::read(&endorsements.leaf).ok()?.product();
    let name = format!(
        "recorded evidence {}: report v{} of {product}",
        folder.file_name()?.to_string_lossy(),
        version.number()
    );
    Some(Evidence::new(name, report, &endorsements, policy, now_ms, AcceptSimulated::No))
}

/// The policy with TCB floors of zero: what was recorded ran the firmware of its day, and as many checks are made.
fn with_old_firmware(policy: &str) -> String {
    let (mut lowered, mut in_floors) = (String::new(), false);
    for line in policy.lines() {
        if line.starts_with('[') {
            in_floors = line.starts_with("[minimum_tcb.");
        }
        let floor = in_floors && !line.starts_with(['[', '#']) && !line.starts_with("mitigations");
        let without_numbers = |line: &str| line.split(", ").map(zeroed).collect::<Vec<_>>().join(", ");
        lowered.push_str(&if floor { without_numbers(line) } else { line.to_owned() });
        lowered.push('\n');
    }
    lowered
}

/// `snp = 27` with a zero for its number.
fn zeroed(rule: &str) -> String {
    let Some((names, value)) = rule.rsplit_once("= ") else { return rule.to_owned() };
    format!("{names}= 0{}", value.trim_start_matches(|c: char| c.is_ascii_digit()))
}

const HOUR_MS: u64 = 3_600_000;
