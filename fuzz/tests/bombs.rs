//! What is small to send and large to read: deep nesting, long lists, lengths that are only claimed. Through every
//! target, at every size up to 10 MB. Nothing here looks at a clock: all memory that is asked for counts, freed or
//! not, and whatever takes many steps for little memory is one of the few loops that read a file once.

use casemate_fuzz::sys::{Counting, allocations};
use casemate_fuzz::{TARGETS, Vectors};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Below and above what the parsers accept at most.
const SIZES: [usize; 5] = [4 << 10, 60 << 10, 500 << 10, 1 << 20, 10_000_000];

/// Bytes asked for per byte of input, beyond [`FIXED`].
const PER_BYTE: u64 = 64;
const FIXED: u64 = 24 << 20;

#[test]
fn bombs_take_little_memory() {
    let mut most = vec![(0, ""); TARGETS.len()];
    for (name, make) in bombs() {
        for len in SIZES {
            let bytes = make(len);
            for (target, most) in TARGETS.iter().zip(&mut most) {
                let (taken, ()) = allocations(|| target.run(&bytes));
                let allowed = FIXED + PER_BYTE * len as u64;
                let found = taken.bytes;
                assert!(found <= allowed, "{}, {len} bytes of {name}: {found} of {allowed}", target.name);
                *most = (found, name).max(*most);
            }
        }
    }
    for (target, (bytes, name)) in TARGETS.iter().zip(most) {
        println!("{}: at most {bytes} bytes, for {name}", target.name);
    }
}

/// Good evidence, over and over.
#[test]
fn repeated_evidence_takes_little_memory() {
    let Some(vectors) = Vectors::find() else {
        assert!(std::env::var_os("CI").is_none(), "no vectors; CI needs them");
        eprintln!("NOT RUN: no vectors; set CASEMATE_VECTORS");
        return;
    };
    for target in TARGETS {
        let Some(seed) = target.seeds(&vectors).into_iter().find(|seed| !seed.is_empty()) else { continue };
        let bytes = repeated(&seed, 10_000_000);
        let (taken, ()) = allocations(|| target.run(&bytes));
        assert!(
            taken.bytes <= FIXED + PER_BYTE * bytes.len() as u64,
            "{}: {} bytes",
            target.name,
            taken.bytes
        );
    }
}

type Bomb = (&'static str, Box<dyn Fn(usize) -> Vec<u8>>);

fn bombs() -> Vec<Bomb> {
    let mut bombs: Vec<Bomb> = Vec::new();
    // One pattern, over and over: what opens without end in each notation.
    for (name, pattern) in [
        ("zeros", &b"\0"[..]),
        ("ones", b"\xFF"),
        ("CBOR arrays in arrays", b"\x81"),
        ("CBOR maps in maps", b"\xA1\x00"),
        ("CBOR arrays without end", b"\x9F"),
        ("CBOR strings without end", b"\x5F"),
        ("CBOR tags", b"\xC1"),
        ("CBOR arrays of 2^64", b"\x9B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
        ("JSON lists in lists", b"["),
        ("JSON objects in objects", b"{\"a\":"),
        ("hexadecimal", b"30"),
        ("base64", b"MIIB"),
        ("YAML lists in lists", b"- "),
        ("YAML maps in maps", b"? "),
        ("YAML braces", b"{a: "),
        ("TOML dots", b"a."),
        ("TOML tables", b"[a]\n"),
        ("variables in variables", b"${A:-"),
        ("PEM", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        ("PEM that only begins", b"-----BEGIN CERTIFICATE-----\n"),
        ("lines", b"\n"),
    ] {
        bombs.push((name, Box::new(|len| repeated(pattern, len))));
    }
    // A beginning that is accepted, and then a long list.
    for (name, start, pattern, end) in [
        ("a JSON list", &b"["[..], &b"0,"[..], &b"0]"[..]),
        ("a JSON object", b"{", b"\"a\":0,", b"\"b\":0}"),
        ("a TOML list", b"a = [", b"0,", b"]"),
        ("TOML lists in lists", b"a = ", b"[", b""),
        ("an array of claims", b"\x9A\x00\x98\x96\x80", b"\x00", b""),
        ("a bundle of claims", b"\x82\x01\x9A\x00\x98\x96\x80", b"\x82\x01\x81\x40", b""),
        ("collateral", b"{\"tcb_info\":[", b"[", b""),
        (
            "IMA entries",
            b"",
            b"10 0000000000000000000000000000000000000000 ima-ng sha1:0000000000000000000000000000000000000000 /\n",
            b"",
        ),
        ("services", b"services:\n", b"  a: {image: b}\n", b""),
    ] {
        bombs.push((
            name,
            Box::new(move |len| {
                let middle = repeated(pattern, len.saturating_sub(start.len() + end.len()));
                [start, &middle, end].concat()
            }),
        ));
    }
    bombs.push(("DER sequences in sequences", Box::new(nested_der)));
    bombs.push(("exclusions of an IMA policy", Box::new(exclusions)));
    bombs.push(("an event log", Box::new(event_log)));
    bombs
}

fn repeated(pattern: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = pattern.repeat(len.div_ceil(pattern.len()));
    bytes.truncate(len);
    bytes
}

/// Each sequence holds the next, all lengths right.
fn nested_der(len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() + 6 <= len {
        let rest = (len - bytes.len() - 6) as u32;
        bytes.extend_from_slice(&[0x30, 0x84]);
        bytes.extend_from_slice(&rest.to_be_bytes());
    }
    bytes.resize(len, 0);
    bytes
}

/// A crypto-agile log of empty events.
fn event_log(len: usize) -> Vec<u8> {
    let mut bytes = [&[0; 4][..], &3_u32.to_le_bytes(), &[0; 20], &33_u32.to_le_bytes()].concat();
    bytes.extend_from_slice(b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0B\0\x20\0\0");
    let event =
        [&7_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), &1_u32.to_le_bytes(), &[0x0B, 0], &[0; 36]].concat();
    let events = repeated(&event, len.saturating_sub(bytes.len()));
    [bytes, events].concat()
}

/// A runtime policy whose patterns are short to write and large to compile, and an empty list.
fn exclusions(len: usize) -> Vec<u8> {
    const START: &[u8] = br#"{"meta":{"version":1},"digests":{},"keyrings":{},"ima":{"ignored_keyrings":[],
        "log_hash_alg":"sha1"},"ima-buf":{},"verification-keys":"","excludes":["#;
    const END: &[u8] = br#""a"]}"#;
    let middle = repeated(br#""a{9999}","#, (len - START.len() - END.len()) / 10 * 10);
    let policy = [START, &middle, END].concat();
    [&(policy.len() as u32).to_be_bytes()[1..], &policy].concat()
}
