//! What does it cost to verify a TDX quote?
//!
//! Cached is what a seat or a gateway does all day: the collateral was read and verified once, a quote arrives with
//! the certificates of its platform. The alternative is the `dcap-qvl` crate, which is given the collateral with
//! each quote.

use std::hint::black_box;

use casemate_crypto::{AwsLc, Provider};
use casemate_evidence::intel::Quote;
use casemate_verify::{
    intel::{AuthenticatedCollateral, Collateral},
    tdx,
};

use crate::{
    quote_evidence::QuoteEvidence,
    sample::Pairs,
    table::{Promise, Row, Section, Unit},
    verify::accepted,
};

/// Measures every side `rounds` times.
///
/// # Panics
/// If one of the sides does not verify `evidence`.
pub fn measure(evidence: &QuoteEvidence, rounds: usize) -> Section {
    let ours = Ours::new(evidence, &AwsLc);
    let mut rows = vec![
        row("parse", Pairs::timed(rounds, || ours.parse(), || ours.genuine()), CACHED)
            .promised(Promise::AtMost(0.02)),
        row(
            "appraise under the example policy",
            Pairs::timed(rounds, ours.appraise(), || ours.genuine()),
            CACHED,
        ),
        row("collateral verified each time", Pairs::timed(rounds, || ours.anew(), || ours.genuine()), CACHED),
    ];
    let (compared, not_measured) = compare(evidence, &ours, rounds);
    rows.extend(compared);
    Section {
        title: "What does it cost to verify a TDX quote?",
        note: evidence.name.clone(),
        rows,
        not_measured,
    }
}

#[cfg(feature = "dcap-qvl")]
fn compare(evidence: &QuoteEvidence, ours: &Ours<'_>, rounds: usize) -> (Vec<Row>, Vec<String>) {
    use casemate_crypto::RustCrypto;

    use crate::dcap_qvl::{RING, RUST_CRYPTO, Ring, Rust, Theirs};

    let portable = Ours::new(evidence, &RustCrypto);
    let (ring, rust) = (Theirs::<Ring>::new(evidence), Theirs::<Rust>::new(evidence));
    let timed = |ours: &dyn Fn(), theirs: &dyn Fn()| Pairs::timed(rounds, ours, theirs);
    let rows = vec![
        row("cached: parse, authenticate, appraise", timed(&|| ours.cached(), &|| ring.verify()), RING)
            .promised(Promise::AtMost(0.5)),
        row("cached: parse and authenticate", timed(&|| ours.genuine(), &|| ring.verify()), RING)
            .promised(Promise::AtMost(0.5)),
        row("collateral verified each time", timed(&|| ours.anew(), &|| ring.verify()), RING),
        row("collateral from JSON each time", timed(&|| ours.from_json(), &|| ring.from_json()), RING),
        row("cached", timed(&|| ours.genuine(), &|| rust.verify()), RUST_CRYPTO),
        row("cached, RustCrypto", timed(&|| portable.genuine(), &|| rust.verify()), RUST_CRYPTO),
        row(
            "collateral verified each time, RustCrypto",
            timed(&|| portable.anew(), &|| rust.verify()),
            RUST_CRYPTO,
        ),
    ];
    (rows, Vec::new())
}

/// Built without the other side: its dependencies would make every build of the workspace another one.
#[cfg(not(feature = "dcap-qvl"))]
fn compare(_: &QuoteEvidence, _: &Ours<'_>, _: usize) -> (Vec<Row>, Vec<String>) {
    let why = "against the dcap-qvl crate: built without the feature `dcap-qvl`, which `make bench` turns on";
    (Vec::new(), vec![why.to_owned()])
}

fn row(name: &str, pairs: Pairs, against: &'static str) -> Row {
    Row::new(name, Unit::Seconds, &pairs, against)
}

const CACHED: &str = "ours, cached: parse and authenticate";

/// Our side.
pub struct Ours<'a> {
    evidence: &'a QuoteEvidence,
    provider: &'static dyn Provider,
    collateral: Collateral,
    cached: AuthenticatedCollateral,
}

impl<'a> Ours<'a> {
    /// Reads and verifies the collateral, once.
    ///
    /// # Panics
    /// If it is not good.
    pub fn new(evidence: &'a QuoteEvidence, provider: &'static dyn Provider) -> Self {
        Ours {
            evidence,
            provider,
            collateral: evidence.parse_collateral(),
            cached: evidence.verify_collateral(provider),
        }
    }

    /// From bytes to a well-formed quote.
    ///
    /// # Panics
    /// If it is none.
    pub fn parse(&self) {
        black_box(self.quote());
    }

    /// From bytes to a genuine quote, under collateral that is known.
    ///
    /// # Panics
    /// If it is none.
    pub fn genuine(&self) {
        black_box(self.authenticate());
    }

    /// From bytes to an accepted quote, under collateral that is known.
    ///
    /// # Panics
    /// If it is refused.
    pub fn cached(&self) {
        self.appraise_one(&self.authenticate());
    }

    /// The appraisal alone, of a quote that is genuine.
    ///
    /// # Panics
    /// If it is refused.
    pub fn appraise(&self) -> impl FnMut() {
        let genuine = self.authenticate();
        move || self.appraise_one(black_box(&genuine))
    }

    /// From bytes of the quote and collateral that was read to a genuine quote.
    ///
    /// # Panics
    /// If it is none.
    pub fn anew(&self) {
        self.verify_with(&self.collateral);
    }

    /// From bytes of quote and collateral to a genuine quote.
    ///
    /// # Panics
    /// If it is none.
    pub fn from_json(&self) {
        self.verify_with(&Collateral::parse_json(black_box(&self.evidence.collateral)).expect("collateral"));
    }

    fn quote(&self) -> Quote {
        Quote::parse(black_box(&self.evidence.quote)).expect("a quote")
    }

    fn authenticate(&self) -> tdx::Genuine {
        tdx::authenticate_with(self.quote(), &self.cached, self.evidence.now_ms, self.provider)
            .expect("genuine")
    }

    fn appraise_one(&self, genuine: &tdx::Genuine) {
        let QuoteEvidence { policy, expectations, accept_simulated, now_ms, .. } = self.evidence;
        accepted(&black_box(policy.appraise(genuine, expectations, *accept_simulated, *now_ms)));
    }

    fn verify_with(&self, collateral: &Collateral) {
        let QuoteEvidence { policy, now_ms, .. } = self.evidence;
        let genuine =
            tdx::authenticate(self.quote(), black_box(collateral), &policy.roots(), *now_ms, self.provider);
        black_box(genuine).expect("genuine");
    }
}
