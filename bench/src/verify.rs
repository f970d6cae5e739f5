//! What does it cost to verify an SNP report?
//!
//! Warm is what a seat or a gateway does all day: the chain is known, a report arrives. Cold begins with three
//! certificates in DER. The floor is one P-384 verification by AWS-LC over the report's own bytes, with the
//! key read beforehand; the alternative is the `sev` crate with its pure-Rust cryptography.

use std::{
    hint::black_box,
    sync::Barrier,
    time::{Duration, Instant},
};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_evidence::snp::Report;
use casemate_fuzz::sys::allocations;
use casemate_verify::{
    Appraisal,
    snp::{AuthenticatedChain, Endorsements, authenticate},
};
use sev::{
    certs::snp::{Chain, Verifiable as _},
    firmware::guest::AttestationReport,
    parser::ByteParser as _,
};

use crate::{
    evidence::Evidence,
    machine::cores,
    sample::Pairs,
    table::{Promise, Row, Section, Unit},
};

/// Measures every side `rounds` times.
///
/// # Panics
/// If one of the sides does not verify `evidence`.
pub fn measure(evidence: &Evidence, rounds: usize) -> Section {
    let raw = Raw::new(evidence);
    let ours = Ours::new(evidence, &AwsLc);
    let portable = Ours::new(evidence, &RustCrypto);
    let theirs = Theirs::new(evidence);
    let row = |name, pairs: Pairs, against| Row::new(name, Unit::Seconds, &pairs, against);
    let mut rows = vec![
        row(
            "warm: parse, authenticate, appraise",
            Pairs::timed(rounds, || ours.warm(), || raw.verify()),
            RAW,
        )
        .promised(Promise::AtMost(1.15)),
        row("warm: parse and authenticate", Pairs::timed(rounds, || ours.genuine(), || raw.verify()), RAW)
            .promised(Promise::AtMost(1.15)),
        row("parse", Pairs::timed(rounds, || ours.parse(), || raw.verify()), RAW)
            .promised(Promise::AtMost(0.02)),
        row("appraise under the example policy", Pairs::timed(rounds, ours.appraise(), || raw.verify()), RAW),
        row("warm", Pairs::timed(rounds, || ours.genuine(), || theirs.warm()), SEV)
            .promised(Promise::AtMost(0.25)),
        row("cold: from certificates in DER", Pairs::timed(rounds, || ours.cold(), || theirs.cold()), SEV),
        row("warm, RustCrypto", Pairs::timed(rounds, || portable.genuine(), || theirs.warm()), SEV),
        row("cold, RustCrypto", Pairs::timed(rounds, || portable.cold(), || theirs.cold()), SEV),
    ];
    if cores() > 1 {
        let (all, one) = (cores(), 1);
        let pairs = Pairs::new(rounds.div_ceil(10), || ours.per_second(all), || ours.per_second(one));
        let row = Row::new(format!("warm, {all} cores"), Unit::PerSecond, &pairs, "the same on one core");
        rows.push(row.promised(Promise::AtLeast(0.9 * all as f64)));
    }
    rows.extend(memory(&ours, &theirs));
    Section {
        title: "What does it cost to verify an SNP report?",
        note: evidence.name.clone(),
        rows,
        not_measured: Vec::new(),
    }
}

const RAW: &str = "one P-384 verification by AWS-LC";
const SEV: &str = "sev crate, pure Rust";

/// How often each side asks for memory. The same number every time, so one round.
fn memory(ours: &Ours<'_>, theirs: &Theirs) -> [Row; 3] {
    let count = |run: &mut dyn FnMut()| {
        run(); // what is made once and kept is not the report's
        vec![allocations(run).0.count as f64]
    };
    let genuine = count(&mut || ours.genuine());
    let sev = count(&mut || theirs.warm());
    let (taken, appraisal) = allocations(|| ours.appraisal());
    let (held, ()) = allocations(|| drop(appraisal));
    [
        Row {
            theirs: Some(crate::sample::Spread::of(&sev)),
            ..Row::alone("warm: allocations", Unit::Count, &genuine, SEV)
        }
        .promised(Promise::AtMost(0.0)),
        Row::alone(
            "warm: allocations that the verdict does not hold",
            Unit::Count,
            &[(taken.count - held.returned) as f64],
            "parse, authenticate, appraise",
        )
        .promised(Promise::AtMost(0.0)),
        Row::alone(
            "warm: allocations of the verdict",
            Unit::Count,
            &[held.returned as f64],
            "its lists, bytes and names",
        ),
    ]
}

/// One raw verification with a prepared key.
pub struct Raw {
    key: ParsedPublicKey,
    message: Vec<u8>,
    signature: [u8; 96],
}

impl Raw {
    /// Of the report's signature.
    ///
    /// # Panics
    /// If `report` or `key` is none.
    pub fn of(report: &[u8], key: &[u8]) -> Self {
        let report = Report::parse(report).expect("a report");
        Raw {
            key: ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).expect("a point of P-384"),
            message: report.signed_bytes().to_vec(),
            signature: *report.signature().as_bytes(),
        }
    }

    fn new(evidence: &Evidence) -> Self {
        Raw::of(&evidence.report, &evidence.signing_key())
    }

    /// Verifies.
    ///
    /// # Panics
    /// If the signature is not good.
    pub fn verify(&self) {
        self.key.verify_sig(black_box(&self.message), &self.signature).expect("a good signature");
    }
}

/// Our side.
pub struct Ours<'a> {
    evidence: &'a Evidence,
    provider: &'static dyn Provider,
    chain: AuthenticatedChain,
}

impl<'a> Ours<'a> {
    /// Verifies the chain, once.
    ///
    /// # Panics
    /// If it is not good.
    pub fn new(evidence: &'a Evidence, provider: &'static dyn Provider) -> Self {
        Ours { evidence, provider, chain: evidence.chain(provider) }
    }

    /// From bytes to a well-formed report.
    ///
    /// # Panics
    /// If it is none.
    pub fn parse(&self) {
        black_box(Report::parse(black_box(&self.evidence.report))).expect("a report");
    }

    /// From bytes to a genuine report, under a chain that is known.
    ///
    /// # Panics
    /// If it is none.
    pub fn genuine(&self) {
        let report = Report::parse(black_box(&self.evidence.report)).expect("a report");
        black_box(self.chain.authenticate(report, self.evidence.now_ms)).expect("genuine");
    }

    /// From bytes to an accepted report, under a chain that is known.
    ///
    /// # Panics
    /// If it is refused.
    pub fn warm(&self) {
        accepted(&black_box(self.appraisal()));
    }

    /// From bytes to a verdict, under a chain that is known.
    ///
    /// # Panics
    /// If the report is not genuine.
    pub fn appraisal(&self) -> Appraisal {
        let Evidence { policy, expectations, accept_simulated, now_ms, report, .. } = self.evidence;
        let report = Report::parse(black_box(report)).expect("a report");
        let genuine = self.chain.authenticate(report, *now_ms).expect("genuine");
        policy.appraise(&genuine, expectations, *accept_simulated, *now_ms)
    }

    /// The appraisal alone, of a report that is genuine.
    ///
    /// # Panics
    /// If it is refused.
    pub fn appraise(&self) -> impl FnMut() + use<'a> {
        let Evidence { policy, expectations, accept_simulated, now_ms, report, .. } = self.evidence;
        let report = Report::parse(report).expect("a report");
        let genuine = self.chain.authenticate(report, *now_ms).expect("genuine");
        move || {
            accepted(&black_box(policy.appraise(
                black_box(&genuine),
                expectations,
                *accept_simulated,
                *now_ms,
            )))
        }
    }

    /// From bytes of report and certificates to a genuine report.
    ///
    /// # Panics
    /// If it is none.
    pub fn cold(&self) {
        let Evidence { report, certificates: [leaf, intermediate, root], now_ms, .. } = self.evidence;
        let endorsements = Endorsements::parse(black_box(leaf), intermediate, root).expect("certificates");
        let report = Report::parse(black_box(report)).expect("a report");
        let genuine = authenticate(report, &endorsements, &self.evidence.roots(), *now_ms, self.provider);
        black_box(genuine).expect("genuine");
    }

    /// Genuine reports per second on `threads` threads that share the chain.
    fn per_second(&self, threads: usize) -> f64 {
        let start = Barrier::new(threads);
        let work = || {
            start.wait();
            let (began, mut reports) = (Instant::now(), 0_u32);
            while began.elapsed() < AT_WORK {
                self.genuine();
                reports += 1;
            }
            f64::from(reports) / began.elapsed().as_secs_f64()
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().expect("verification does not panic")).sum()
        })
    }
}

const AT_WORK: Duration = Duration::from_millis(300);

pub(crate) fn accepted(appraisal: &Appraisal) {
    let Appraisal::Accepted(_) = appraisal else {
        panic!("the example policy refuses this evidence: {:#?}", appraisal.verdict().refusals());
    };
}

/// The `sev` crate's side.
struct Theirs {
    report: Vec<u8>,
    certificates: [Vec<u8>; 3],
    chain: Chain,
}

impl Theirs {
    fn new(evidence: &Evidence) -> Self {
        let [leaf, intermediate, root] = &evidence.certificates;
        Theirs {
            report: evidence.report.clone(),
            certificates: evidence.certificates.clone(),
            chain: Chain::from_der(root, intermediate, leaf).expect("certificates"),
        }
    }

    fn warm(&self) {
        let report = AttestationReport::from_bytes(black_box(&self.report)).expect("a report");
        (&self.chain.vek, &report).verify().expect("genuine");
    }

    fn cold(&self) {
        let [leaf, intermediate, root] = black_box(&self.certificates);
        let chain = Chain::from_der(root, intermediate, leaf).expect("certificates");
        let report = AttestationReport::from_bytes(black_box(&self.report)).expect("a report");
        (&chain, &report).verify().expect("genuine");
    }
}
