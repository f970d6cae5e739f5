//! libFuzzer on one target, named by `CASEMATE_FUZZ_TARGET`; see `scripts/fuzz`.
//!
//! With `CASEMATE_FUZZ_SEEDS` it fuzzes nothing: it writes the seeds of every target into that folder and prints
//! name and longest input of each.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use casemate_crypto::hash::sha256;
use casemate_fuzz::sys::Counting;
use casemate_fuzz::{TARGETS, Target, Vectors, target};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static COUNTING: Counting = Counting;

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fuzz_target!(init: begin(), |bytes: &[u8]| CHOSEN.get().expect("chosen at the beginning").run(bytes));

fn begin() {
    if let Some(folder) = std::env::var_os("CASEMATE_FUZZ_SEEDS") {
        write_seeds(Path::new(&folder));
        std::process::exit(0);
    }
    let name = std::env::var("CASEMATE_FUZZ_TARGET").unwrap_or_default();
    let Some(chosen) = target(&name) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("casemate-fuzz: CASEMATE_FUZZ_TARGET is {name:?}, expected one of {}", names.join(", "));
        std::process::exit(2);
    };
    CHOSEN.set(chosen).expect("chosen once");
}

fn write_seeds(folder: &Path) {
    let Some(vectors) = Vectors::find() else {
        eprintln!("casemate-fuzz: no recorded evidence; set CASEMATE_VECTORS");
        std::process::exit(2);
    };
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).expect("the folder of seeds can be written");
        let seeds = target.seeds(&vectors);
        for seed in &seeds {
            std::fs::write(folder.join(sha256(seed).to_string()), seed).expect("a seed can be written");
        }
        println!("{} {} {}", target.name, target.maximum_len, seeds.len());
    }
}
