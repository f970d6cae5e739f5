//! What is asked about the evidence, and what is answered?
//!
//! Reference: `docs/reference/question.md`.

use casemate_crypto::Provider;
use casemate_evidence::ReportData;
use casemate_evidence::bundle::Bundle;
use casemate_record::WorkloadDigest;
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, LaunchMeasurement, Outline, Policy, ReferenceValue,
    Style, Verdict, Verifier, Workload,
};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::content::{File, Kind};
use crate::error::Error;
use crate::sort::Sorted;

/// What is asked. Whatever is not expected is not asked for, and fails if the policy says `"expected"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What is verified, for people: `notes on 127.0.0.1`.
    #[serde(default = "evidence")]
    pub subject: String,
    /// The appraisal policy, as TOML.
    pub policy: String,
    /// When it is appraised, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whether simulated hardware will do, where the policy lists its root.
    #[serde(default)]
    pub accept_simulated: bool,
    /// The workload that must run.
    #[serde(default)]
    pub workload: Option<ExpectedWorkload>,
    /// Known launch measurements.
    #[serde(default)]
    pub images: Vec<ExpectedImage>,
    /// What the evidence must answer.
    #[serde(default)]
    pub challenge: Option<Challenge>,
}

/// The workload that must run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedWorkload {
    /// SHA-256 of its manifest.
    pub digest: WorkloadDigest,
    /// Where the digest comes from, for people.
    pub source: String,
}

/// A launch measurement and the image to which it belongs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedImage {
    /// The image's name.
    pub image: String,
    /// Its measurement: 96 or 64 hexadecimal digits.
    #[serde(deserialize_with = "measurement")]
    pub measurement: LaunchMeasurement,
    /// Where the value comes from, for people.
    pub source: String,
}

/// What the evidence must answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[non_exhaustive]
pub enum Challenge {
    /// Its report data must be these 64 bytes.
    ReportData {
        /// The bytes.
        value: ReportData,
        /// When they were chosen, in milliseconds since 1970.
        made_ms: u64,
    },
    /// It must commit to this nonce, as the evidence of a Casemate guest does (`docs/reference/report-data.md`).
    Nonce {
        /// 32 bytes in hexadecimal.
        value: Nonce,
        /// When it was made, in milliseconds since 1970.
        made_ms: u64,
    },
    /// A service of a Casemate guest must have asked for it over these bytes (purpose `appl`).
    Application {
        /// The bytes, in hexadecimal.
        #[serde(deserialize_with = "hexadecimal")]
        value: Vec<u8>,
        /// When they were chosen, in milliseconds since 1970; left out where nobody knows.
        #[serde(default)]
        made_ms: Option<u64>,
    },
}

casemate_canon::byte_type! {
    /// 32 bytes that nobody could know before.
    pub struct Nonce([u8; 32]);
}

/// What comes out.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// The kind of each file, in the order in which they came.
    pub kinds: Vec<Kind>,
    /// Every check.
    pub verdict: Verdict,
    /// The verdict as people read it, in pieces.
    pub outline: Outline,
    /// The verdict as people read it, as text.
    pub text: String,
}

impl Question {
    /// Asks whether evidence meets `policy` at time `at_ms` (milliseconds since 1970), and expects nothing.
    pub fn new(policy: String, at_ms: u64) -> Self {
        Self {
            subject: evidence(),
            policy,
            at_ms,
            accept_simulated: false,
            workload: None,
            images: Vec::new(),
            challenge: None,
        }
    }

    /// Answers the question about files that were sorted, and perhaps completed, before.
    ///
    /// # Errors
    /// [`Error::Policy`], [`Error::NoSession`].
    pub fn answer(&self, sorted: Sorted, provider: &dyn Provider) -> Result<Answer, Error> {
        let policy = Policy::parse(&self.policy)?;
        let verifier = Verifier {
            policy: &policy,
            roots: &policy.roots(),
            accept_simulated: if self.accept_simulated { AcceptSimulated::Yes } else { AcceptSimulated::No },
            provider,
        };
        let expectations = self.expectations(&sorted.bundle)?;
        let appraisal =
            verifier.verify_bundle(&sorted.bundle, Some(&sorted.endorsements), &expectations, self.at_ms);
        let verdict = appraisal.verdict().clone();
        Ok(Answer {
            kinds: sorted.kinds,
            outline: verdict.outline(&self.subject),
            text: verdict.render(&self.subject, Style::plain()),
            verdict,
        })
    }

    fn expectations(&self, bundle: &Bundle) -> Result<Expectations, Error> {
        Ok(Expectations {
            freshness: match &self.challenge {
                None => Freshness::Unchecked,
                Some(Challenge::ReportData { value, made_ms }) => {
                    Freshness::Challenge { report_data: *value, made_ms: *made_ms }
                }
                Some(Challenge::Nonce { value, made_ms }) => {
                    Freshness::Challenge { report_data: answer_to(value, bundle)?, made_ms: *made_ms }
                }
                Some(Challenge::Application { value, made_ms }) => {
                    let report_data = casemate_release::report_data::application(value)?;
                    match *made_ms {
                        Some(made_ms) => Freshness::Challenge { report_data, made_ms },
                        None => Freshness::Undated { report_data },
                    }
                }
            },
            workload: self.workload.as_ref().map_or(Workload::Unchecked, |expected| Workload::Digest {
                digest: expected.digest,
                source: expected.source.clone(),
            }),
            images: self
                .images
                .iter()
                .map(|expected| ReferenceValue {
                    image: expected.image.clone(),
                    measurement: expected.measurement,
                    source: expected.source.clone(),
                })
                .collect(),
            // Nothing here speaks to a guest: whoever handed the files over may have them from anywhere.
            channel: Channel::Unchecked,
        })
    }
}

/// Sorts the files and answers the question about them.
///
/// # Errors
/// [`Error`] if there is nothing to judge; evidence that is not good enough is an answer, not an error.
pub fn verify(question: &Question, files: &[File<'_>], provider: &dyn Provider) -> Result<Answer, Error> {
    question.answer(Sorted::read(files)?, provider)
}

/// What the report data of a Casemate guest is that answers this nonce. The evidence itself names session and
/// manifest; whether the hardware vouches for them, the verdict says.
fn answer_to(nonce: &Nonce, bundle: &Bundle) -> Result<ReportData, Error> {
    let session = bundle.session().ok_or(Error::NoSession)?;
    let manifest = bundle.manifest().ok_or(Error::NoSession)?;
    Ok(casemate_release::report_data::session(
        nonce.as_bytes(),
        &casemate_workload::manifest::digest_of(manifest),
        session,
    ))
}

fn evidence() -> String {
    "the evidence".to_owned()
}

fn measurement<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LaunchMeasurement, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    hex::decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
}
