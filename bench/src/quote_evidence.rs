//! Which TDX quote do both sides verify?
//!
//! One recorded on real hardware, with Intel's collateral of its day, if `CASEMATE_VECTORS` names the folder of
//! recorded evidence. Otherwise one made on the spot; chains and documents are as long and signed alike.

use std::{fs, path::Path};

use casemate_crypto::{Provider, sign};
use casemate_evidence::{
    intel::Quote,
    x509::{Certificate, RevocationList},
};
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, Policy, ReferenceValue, Workload,
    intel::{AuthenticatedCollateral, Collateral},
    tdx,
};

use crate::evidence::support::{NOW_MS, intel::Machine};

/// A quote with its collateral, and everything that a verifier of it is told.
#[derive(Debug)]
pub struct QuoteEvidence {
    /// What it is and where it comes from.
    pub name: String,
    /// The quote, which holds the certificates of its PCK.
    pub quote: Vec<u8>,
    /// The collateral, in the JSON that both sides read.
    pub collateral: Vec<u8>,
    /// A time at which all of it is valid, in milliseconds since 1970.
    pub now_ms: u64,
    /// The example policy, with the simulated root if there is one.
    pub policy: Policy,
    /// The same, as a file holds it.
    pub policy_text: String,
    /// What the quote says, as the caller's expectation.
    pub expectations: Expectations,
    /// Whether the root is simulated.
    pub accept_simulated: AcceptSimulated,
}

impl QuoteEvidence {
    /// A recorded quote if there is one, else one made on the spot.
    pub fn find() -> Self {
        recorded().unwrap_or_else(Self::simulated)
    }

    /// A quote made on the spot.
    ///
    /// # Panics
    /// If the test platform makes no good quote.
    pub fn simulated() -> Self {
        let mut machine = Machine::tdx();
        // RFC 5280 §5.2.3 asks for a number, and `dcap-qvl` reads no list without one.
        for list in [&mut machine.root_list, &mut machine.pck_list] {
            list.number = Some(1);
        }
        let policy = Policy::example(&[machine.root_digest()]);
        let name = "simulated: TDX quote v5".to_owned();
        let collateral = to_json(&machine.collateral());
        Self::accepted(name, machine.quote(), collateral, NOW_MS, &policy, AcceptSimulated::Yes)
            .expect("the quote is good")
    }

    /// The collateral, read.
    ///
    /// # Panics
    /// If it is none.
    pub fn parse_collateral(&self) -> Collateral {
        Collateral::parse_json(&self.collateral).expect("collateral")
    }

    /// The collateral, read and verified.
    ///
    /// # Panics
    /// If it is not good.
    pub fn verify_collateral(&self, provider: &dyn Provider) -> AuthenticatedCollateral {
        AuthenticatedCollateral::verify(&self.parse_collateral(), &self.policy.roots(), self.now_ms, provider)
            .expect("good collateral")
    }

    /// Nothing if the quote is not genuine, or not accepted under `policy`.
    fn accepted(
        name: String,
        quote: Vec<u8>,
        collateral: Vec<u8>,
        now_ms: u64,
        policy: &str,
        accept_simulated: AcceptSimulated,
    ) -> Option<Self> {
        let policy_text = with_old_evaluation(policy);
        let policy = Policy::parse(&policy_text).expect("the example policy");
        let parsed = Collateral::parse_json(&collateral).ok()?;
        let provider = casemate_crypto::provider();
        let genuine =
            tdx::authenticate(Quote::parse(&quote).ok()?, &parsed, &policy.roots(), now_ms, provider).ok()?;
        let report = genuine.report();
        let expectations = Expectations {
            freshness: Freshness::Challenge { report_data: report.report_data(), made_ms: now_ms },
            workload: report.workload_slot().map_or(Workload::Unchecked, |slot| Workload::Digest {
                digest: slot.into(),
                source: "compose.yaml + compose.lock".to_owned(),
            }),
            images: vec![ReferenceValue {
                image: "casemate-lite 2026.11".to_owned(),
                measurement: report.launch_registers().launch_measurement().into(),
                source: "computed from image.toml".to_owned(),
            }],
            channel: Channel::Unchecked,
        };
        let appraisal = policy.appraise(&genuine, &expectations, accept_simulated, now_ms);
        appraisal.accepted().ok()?;
        Some(Self { name, quote, collateral, now_ms, policy, policy_text, expectations, accept_simulated })
    }
}

/// The first recorded quote, by name, that the example policy accepts.
fn recorded() -> Option<QuoteEvidence> {
    let vectors = std::env::var_os("CASEMATE_VECTORS")?;
    let mut folders: Vec<_> =
        fs::read_dir(Path::new(&vectors).join("tdx")).ok()?.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.iter().find_map(|folder| read(folder))
}

fn read(folder: &Path) -> Option<QuoteEvidence> {
    let vector: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("vector.json")).ok()?).ok()?;
    let run = &vector["expected"]["runs"][0];
    let collateral = fs::read(folder.join(run["collateral"].as_str()?)).ok()?;
    let quote = fs::read(folder.join("quote.bin")).ok()?;
    let version = Quote::parse(&quote).ok()?.version().number();
    let name = format!("recorded evidence {}: TDX quote v{version}", folder.file_name()?.to_string_lossy());
    let now_ms = run["timestamp"].as_u64()? * 1000;
    // Who recorded it did not name workloads as Casemate does.
    let policy = Policy::example(&[]).replace("digests = \"expected\"", "digests = \"any\"");
    QuoteEvidence::accepted(name, quote, collateral, now_ms, &policy, AcceptSimulated::No)
}

/// The policy without a floor for TCB evaluations: collateral was recorded in its day, and as many checks are made.
fn with_old_evaluation(policy: &str) -> String {
    let rule = "minimum_tcb_evaluation_number = ";
    let lowered = |line: &str| if line.starts_with(rule) { format!("{rule}0") } else { line.to_owned() };
    policy.lines().map(lowered).collect::<Vec<_>>().join("\n") + "\n"
}

/// The file that [`Collateral::parse_json`] and other verifiers read.
fn to_json(collateral: &Collateral) -> Vec<u8> {
    let pem = |certificate: &Certificate| {
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, certificate.as_der())
            .expect("certificates are short")
    };
    let chain = |signer: &Certificate| pem(signer) + &pem(&collateral.root);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the documents are JSON");
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let list = |list: &RevocationList| digits(list.as_der());
    let signature = |signature: &sign::Signature| digits(signature.as_bytes());
    let file = serde_json::json!({
        "tcb_info": text(collateral.tcb_info.signed_bytes()),
        "tcb_info_signature": signature(&collateral.tcb_info_signature),
        "tcb_info_issuer_chain": chain(&collateral.tcb_info_signer),
        "qe_identity": text(collateral.qe_identity.signed_bytes()),
        "qe_identity_signature": signature(&collateral.qe_identity_signature),
        "qe_identity_issuer_chain": chain(&collateral.qe_identity_signer),
        "root_ca_crl": list(&collateral.root_revocation_list),
        "pck_crl": list(&collateral.pck_revocation_list),
        "pck_crl_issuer_chain": "",
    });
    file.to_string().into_bytes()
}
