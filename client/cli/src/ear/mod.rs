//! How does another Relying Party learn what came out?
//!
//! An EAT Attestation Result (draft-ietf-rats-ear, profile `tag:github.com,2023:veraison/ear`) as a JWT
//! (RFC 7519), signed with ES256 (RFC 7518 §3.4). What each appraisal becomes: `docs/reference/ear.md`.

mod key;
mod vector;

pub use key::ResultKey;
pub use vector::{Established, Tier, TrustVector, appraise};

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use casemate_verify::Verdict;
use serde::Serialize;

/// The profile's name.
pub const PROFILE: &str = "tag:github.com,2023:veraison/ear";

/// The one submodule: the guest whose evidence was appraised.
pub const SUBMODULE: &str = "guest";

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
    kid: String,
}

/// The claims of a result.
#[derive(Debug, Serialize)]
struct Claims {
    eat_profile: &'static str,
    /// Unix seconds.
    iat: u64,
    #[serde(rename = "ear.verifier-id")]
    verifier: Verifier,
    submods: BTreeMap<&'static str, Appraised>,
}

#[derive(Debug, Serialize)]
struct Verifier {
    developer: &'static str,
    build: &'static str,
}

#[derive(Debug, Serialize)]
struct Appraised {
    #[serde(rename = "ear.status")]
    status: Tier,
    #[serde(rename = "ear.trustworthiness-vector")]
    vector: TrustVector,
    /// A name of the policy by its digest (RFC 6920).
    #[serde(rename = "ear.appraisal-policy-id")]
    policy: String,
}

/// The verdict as a signed result, issued at `now_ms` (milliseconds since 1970).
pub fn sign(verdict: &Verdict, key: &ResultKey, now_ms: u64) -> String {
    let (status, vector) = appraise(&Established::by(verdict));
    let policy = format!("ni:///sha-256;{}", URL_SAFE_NO_PAD.encode(verdict.policy_digest()));
    let claims = Claims {
        eat_profile: PROFILE,
        iat: now_ms / 1000,
        verifier: Verifier { developer: "Casemate", build: concat!("casemate ", env!("CARGO_PKG_VERSION")) },
        submods: BTreeMap::from([(SUBMODULE, Appraised { status, vector, policy })]),
    };
    let header = Header { alg: "ES256", typ: "JWT", kid: key.thumbprint() };
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn part(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("plain data"))
}
