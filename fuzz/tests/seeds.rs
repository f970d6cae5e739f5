//! Recorded evidence and the documentation's bytes, through every target.

use casemate_fuzz::sys::Counting;
use casemate_fuzz::{TARGETS, Vectors};

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn every_target_has_seeds_and_takes_them() {
    let Some(vectors) = Vectors::find() else {
        assert!(std::env::var_os("CI").is_none(), "no vectors; CI needs them");
        eprintln!("NOT RUN: no vectors; set CASEMATE_VECTORS");
        return;
    };
    for target in TARGETS {
        let seeds = target.seeds(&vectors);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        println!("{}: {} seeds", target.name, seeds.len());
        for seed in seeds {
            target.run(&seed);
            target.run(&seed[..seed.len() / 2]);
        }
    }
}

#[test]
fn names_are_told_apart() {
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TARGETS.len());
}
