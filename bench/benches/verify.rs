//! How long does a report take, once its chain is verified?
//!
//! The promise: at most 1.15 times the P-384 verification that AWS-LC alone needs for the same bytes.
//! Run with `cargo bench -p casemate-bench --bench verify`.

#[path = "../../core/verify/tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_evidence::snp::{Product, Report};
use casemate_verify::Roots;
use casemate_verify::snp::AuthenticatedChain;
use support::{NOW_MS, Tee};

fn main() {
    let tee = Tee::new(Product::Genoa);
    let endorsements = tee.endorsements();
    let roots = Roots::none().with_simulated([tee.simulated_root()]);
    let bytes = *tee.sign_report().as_bytes();
    let report = Report::parse(&bytes).expect("a report");
    let signature = *report.signature().as_bytes();
    let point = tee.leaf_key.verifying_key().to_sec1_point(false);
    let raw = median(|| {
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, black_box(point.as_bytes()));
        key.verify(report.signed_bytes(), &signature).expect("a good signature");
    });
    println!("{:44} {:9.1} us", "AWS-LC P-384 alone", micros(raw));
    for provider in [&AwsLc as &dyn Provider, &RustCrypto] {
        let chain =
            AuthenticatedChain::verify(&endorsements, &roots, NOW_MS, provider).expect("a good chain");
        let warm = median(|| {
            let report = Report::parse(black_box(&bytes)).expect("a report");
            black_box(chain.authenticate(report, NOW_MS)).expect("genuine");
        });
        let cold = median(|| {
            let report = Report::parse(black_box(&bytes)).expect("a report");
            black_box(casemate_verify::snp::authenticate(report, &endorsements, &roots, NOW_MS, provider))
                .expect("genuine");
        });
        let name = provider.name();
        println!(
            "{:44} {:9.1} us  {:.3} x raw",
            format!("{name}: parse and authenticate, chain known"),
            micros(warm),
            warm.as_secs_f64() / raw.as_secs_f64()
        );
        println!("{:44} {:9.1} us  (roots of 2048 bits)", format!("{name}: with the chain"), micros(cold));
    }
}

/// Median of 301 runs, after 20 that do not count.
fn median(mut run: impl FnMut()) -> Duration {
    (0..20).for_each(|_| run());
    let mut times: Vec<Duration> = (0..301)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[150]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
