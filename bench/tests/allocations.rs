//! Does a warm verifier ask for memory?

use casemate_bench::{evidence::Evidence, verify::Ours};
use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_fuzz::sys::{Allocations, Counting, allocations};
use casemate_verify::{Appraisal, Freshness};

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_report_of_a_known_chain_is_authenticated_without_allocating() {
    for evidence in [Evidence::simulated(), Evidence::find()] {
        for provider in [&AwsLc as &'static dyn Provider, &RustCrypto] {
            let ours = Ours::new(&evidence, provider);
            ours.genuine(); // what a library makes once and keeps is not the report's
            let (taken, ()) = allocations(|| ours.genuine());
            assert_eq!(taken, Allocations::default(), "{} by {}", evidence.name, provider.name());
        }
    }
}

/// What is taken is in the verdict: nothing of it is given back before the verdict is, and then all of it.
#[test]
fn a_verdict_is_all_that_a_report_of_a_known_chain_allocates() {
    for mut evidence in [Evidence::simulated(), Evidence::find()] {
        for refused in [false, true] {
            if refused {
                evidence.expectations.freshness =
                    Freshness::Challenge { report_data: [9; 64].into(), made_ms: evidence.now_ms };
            }
            for provider in [&AwsLc as &'static dyn Provider, &RustCrypto] {
                let ours = Ours::new(&evidence, provider);
                drop(ours.appraisal());
                let (taken, appraisal) = allocations(|| ours.appraisal());
                assert_eq!(matches!(appraisal, Appraisal::Refused(_)), refused, "{}", evidence.name);
                let (dropped, ()) = allocations(|| drop(appraisal));
                assert_eq!((taken.returned, dropped.count), (0, 0), "{}", evidence.name);
                assert_eq!(taken.count, dropped.returned, "{} by {}", evidence.name, provider.name());
            }
        }
    }
}

#[test]
fn allocations_are_counted() {
    let (taken, kept) = allocations(|| vec![0_u8; 100]);
    assert_eq!((taken, kept.len()), (Allocations { count: 1, bytes: 100, returned: 0 }, 100));
    let (taken, ()) = allocations(|| drop(kept));
    assert_eq!(taken, Allocations { returned: 1, ..Allocations::default() });
}
