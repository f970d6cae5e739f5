//! How does the `dcap-qvl` crate verify a TDX quote?

use std::hint::black_box;

use casemate_verify::intel::Collateral;
use dcap_qvl::{
    QuoteCollateralV3,
    config::Config,
    configs::{RingConfig, RustCryptoConfig},
    verify::QuoteVerifier,
};

use crate::quote_evidence::QuoteEvidence;

/// What it verifies signatures with unless told otherwise.
pub type Ring = RingConfig;
/// Its other library.
pub type Rust = RustCryptoConfig;

pub(crate) const RING: &str = "dcap-qvl crate, ring";
pub(crate) const RUST_CRYPTO: &str = "dcap-qvl crate, RustCrypto";

/// Its side, with the library that `C` names.
pub struct Theirs<'a, C: Config> {
    evidence: &'a QuoteEvidence,
    verifier: QuoteVerifier<C>,
    collateral: QuoteCollateralV3,
}

impl<'a, C: Config> Theirs<'a, C> {
    /// Reads the collateral, once. It has no form in which verified collateral could be kept.
    ///
    /// # Panics
    /// If it is none.
    pub fn new(evidence: &'a QuoteEvidence) -> Self {
        let Collateral { root, .. } = evidence.parse_collateral();
        Theirs {
            evidence,
            verifier: QuoteVerifier::new_with_config(root.as_der().to_vec()),
            collateral: read(&evidence.collateral),
        }
    }

    /// From bytes of the quote and collateral that was read to a verified report.
    ///
    /// # Panics
    /// If it is none.
    pub fn verify(&self) {
        self.verify_with(&self.collateral);
    }

    /// From bytes of quote and collateral to a verified report.
    ///
    /// # Panics
    /// If it is none.
    pub fn from_json(&self) {
        self.verify_with(&read(black_box(&self.evidence.collateral)));
    }

    fn verify_with(&self, collateral: &QuoteCollateralV3) {
        let QuoteEvidence { quote, now_ms, .. } = self.evidence;
        let verified = self.verifier.verify(black_box(quote), black_box(collateral), now_ms / 1000);
        black_box(verified).expect("a good quote");
    }
}

fn read(json: &[u8]) -> QuoteCollateralV3 {
    serde_json::from_slice(json).expect("the format is theirs")
}
