//! Does a warm verifier ask for memory?

use casemate_bench::{evidence::Evidence, verify::Ours};
use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_fuzz::sys::{Allocations, Counting, allocations};

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

#[test]
fn allocations_are_counted() {
    let (taken, kept) = allocations(|| vec![0_u8; 100]);
    assert_eq!((taken, kept.len()), (Allocations { count: 1, bytes: 100 }, 100));
    let (taken, ()) = allocations(|| drop(kept));
    assert_eq!(taken, Allocations::default());
}
