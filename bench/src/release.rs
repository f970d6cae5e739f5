//! What does a key cost at the seat?
//!
//! A real `casemate-kms` on a Unix socket, simulated evidence under a chain of 4096-bit keys, one volume. The
//! floor is one P-384 verification, without which no seat can know its guest. Below the calls themselves
//! stand their parts, each measured alone, in the same turn, as a share of the call for keys.

use std::{
    hint::black_box,
    path::Path,
    sync::Barrier,
    time::{Duration, Instant},
};

use casemate_crypto::{seal, sign::SigningKey};
use casemate_evidence::{ReportData, bundle::Bundle};
use casemate_tests::http;
use casemate_verify::{
    AcceptSimulated, Appraisal, Channel, Expectations, Freshness, Policy, Verifier, Workload,
};
use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::{
    evidence::signing_key,
    machine::cores,
    sample::{Pairs, batch, seconds},
    seat::{Calls, Guest, call, grants},
    table::{Row, Section, Unit},
    verify::Raw,
};

/// The question.
pub const TITLE: &str = "What does a key cost at the seat?";

/// Boots `rounds` guests at a seat of `image`, as far as the seat can tell.
///
/// # Panics
/// If seat or chip do not start, or the seat denies.
pub fn measure(image: &Path, rounds: usize) -> Section {
    let mut on_disk = Guest::new(&std::env::temp_dir(), image);
    let memory = Path::new("/dev/shm");
    let mut in_memory = memory.is_dir().then(|| Guest::new(memory, image));
    let mut parts = Parts::new(&mut on_disk);
    on_disk.boot(); // the first of a volume makes it
    if let Some(guest) = &mut in_memory {
        guest.boot();
    }

    let mut turns = Turns::default();
    for _ in 0..rounds {
        turns.calls.push(on_disk.boot());
        turns.raw.push(parts.raw());
        if let Some(guest) = &mut in_memory {
            turns.in_memory.push(guest.boot());
        }
        for (index, part) in parts.all().into_iter().enumerate() {
            turns.parts[index].push(part);
        }
    }
    let mut not_measured = Vec::new();
    if in_memory.is_none() {
        not_measured
            .push("the share of writing to the disk: there is no /dev/shm to compare with".to_owned());
    }
    let mut rows = turns.rows();
    rows.extend(rates(&mut on_disk, &parts, rounds.div_ceil(10)));
    let note =
        "simulated evidence, a chain of 4096-bit keys, one volume; a connection for each call".to_owned();
    Section { title: TITLE, note, rows, not_measured }
}

/// Everything that was measured, turn by turn.
#[derive(Default)]
struct Turns {
    calls: Vec<Calls>,
    in_memory: Vec<Calls>,
    raw: Vec<f64>,
    parts: [Vec<f64>; PARTS.len()],
}

impl Turns {
    fn rows(&self) -> Vec<Row> {
        type Which = fn(&Calls) -> f64;

        let of = |calls: &[Calls], which: Which| calls.iter().map(which).collect::<Vec<f64>>();
        let keys = of(&self.calls, |calls| calls.release);
        let mut rows = Vec::new();
        let calls: [(&str, Which); 5] = [
            ("key release: challenge and keys", |calls| calls.challenge + calls.release),
            ("  call for a challenge", |calls| calls.challenge),
            ("  call for keys", |calls| calls.release),
            ("call to prepare a stamp", |calls| calls.prepare),
            ("call to commit a stamp", |calls| calls.commit),
        ];
        for (name, which) in calls {
            rows.push(seconds_row(name, of(&self.calls, which), self.raw.clone(), RAW));
        }
        if !self.in_memory.is_empty() {
            let in_memory = of(&self.in_memory, |calls| calls.release);
            rows.push(seconds_row("call for keys, state on disk", keys.clone(), in_memory, MEMORY));
        }
        for (name, part) in PARTS.iter().zip(&self.parts) {
            rows.push(seconds_row(name, part.clone(), keys.clone(), SHARE));
        }
        rows
    }
}

const RAW: &str = "one P-384 verification by AWS-LC";
const MEMORY: &str = "the same with the seat's state in memory";
const SHARE: &str = "share of the call for keys";

fn seconds_row(name: &str, ours: Vec<f64>, theirs: Vec<f64>, against: &'static str) -> Row {
    Row::new(name, Unit::Seconds, &Pairs::of(ours, theirs), against)
}

/// What a call for keys is made of, each done alone in this program with the seat's own libraries.
struct Parts {
    raw: Raw,
    socket: std::path::PathBuf,
    bundle: Vec<u8>,
    policy: String,
    expectations: Expectations,
    sealing: seal::SealingKey,
    sealed: seal::Sealed,
    signing: SigningKey,
}

/// In the order of [`Parts::all`].
const PARTS: [&str; 6] = [
    "  policy file parsed",
    "  evidence appraised, owner's policy and floor",
    "  salt opened (X-Wing)",
    "  grant sealed (X-Wing)",
    "  grant signed (P-256)",
    "  HTTP: connection, call, nothing to do",
];

impl Parts {
    fn new(guest: &mut Guest) -> Self {
        let report_data = ReportData::from([0x5a; 64]);
        let bundle = guest.evidence(report_data);
        let mut random = UnwrapErr(SysRng);
        let sealing = seal::SealingKey::generate(&mut random);
        Parts {
            raw: Raw::of(&guest.report(report_data), &signing_key(guest.vcek())),
            socket: guest.socket(),
            bundle,
            policy: guest.policy(),
            expectations: Expectations {
                freshness: Freshness::Challenge { report_data, made_ms: now_ms() },
                workload: Workload::Authorised { app_id: guest.app_id(), digest: guest.workload_digest() },
                images: Vec::new(),
                channel: Channel::Unchecked,
            },
            sealed: seal::seal(&mut random, &sealing.public(), b"info", b"context", &[7; 32]),
            sealing,
            signing: SigningKey::generate(&mut random),
        }
    }

    /// Seconds that one raw verification takes.
    fn raw(&self) -> f64 {
        time(|| self.raw.verify())
    }

    /// Seconds of each part.
    fn all(&mut self) -> [f64; PARTS.len()] {
        [
            time(|| {
                let _ = black_box(Policy::parse(black_box(&self.policy)));
            }),
            self.appraise_twice(),
            time(|| {
                let _ = black_box(self.sealing.open(b"info", b"context", &self.sealed));
            }),
            time(|| {
                let plain = [7; 32 + 64];
                black_box(seal::seal_session(
                    &mut UnwrapErr(SysRng),
                    &self.public(),
                    b"info",
                    b"context",
                    &plain,
                ));
            }),
            time(|| {
                let _ = black_box(self.signing.sign(black_box(&[7; 1400])));
            }),
            time(|| {
                let answer = http::exchange(&self.socket, "GET", "/healthz", "application/cbor", b"")
                    .expect("the seat answers");
                assert_eq!(answer.status, 200);
            }),
        ]
    }

    /// As the seat does: once under its own floor and once under the owner's policy, from the bundle's bytes.
    fn appraise_twice(&self) -> f64 {
        let policy = Policy::parse(&self.policy).expect("a policy");
        let verifier = Verifier {
            policy: &policy,
            roots: &policy.roots(),
            accept_simulated: AcceptSimulated::Yes,
            provider: casemate_crypto::provider(),
        };
        time(|| {
            let bundle = Bundle::parse(black_box(&self.bundle)).expect("a bundle");
            for _ in 0..2 {
                let appraisal = verifier.verify_bundle(&bundle, None, &self.expectations, now_ms());
                let Appraisal::Accepted(_) = black_box(&appraisal) else {
                    panic!("the seat's own policy refuses: {:#?}", appraisal.verdict().refusals());
                };
            }
        })
    }

    fn public(&self) -> seal::SealingPublicKey {
        self.sealing.public()
    }
}

/// How many guests get their keys per second, where one asks after the other and where many ask at once.
fn rates(guest: &mut Guest, parts: &Parts, rounds: usize) -> Vec<Row> {
    let floor = || {
        let one = |raw: &Raw| 1.0 / time(|| raw.verify());
        let raw = &parts.raw;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores()).map(|_| scope.spawn(|| one(raw))).collect();
            workers.into_iter().map(|worker| worker.join().expect("verification does not panic")).sum()
        })
    };
    let clients = [1, 8];
    let row = |clients| {
        let name = format!("calls for keys, {clients} at a time");
        let pairs = Pairs::new(rounds, || per_second(guest, clients), floor);
        Row::new(name, Unit::PerSecond, &pairs, "P-384 verifications by AWS-LC on all cores")
    };
    clients.map(row).into()
}

/// Grants per second to `clients` that ask at the same time, challenges and evidence ready.
fn per_second(guest: &mut Guest, clients: usize) -> f64 {
    let requests: Vec<Vec<u8>> = (0..AT_ONCE).map(|_| guest.request().bytes).collect();
    // Until the seat, which counts calls, takes that many at once again.
    std::thread::sleep(PAUSE);
    let socket = guest.socket();
    let start = Barrier::new(clients + 1);
    std::thread::scope(|scope| {
        for mine in requests.chunks(AT_ONCE.div_ceil(clients)) {
            let (start, socket) = (&start, &socket);
            scope.spawn(move || {
                start.wait();
                for request in mine {
                    assert!(grants(&call(socket, request).0), "the seat denies");
                }
            });
        }
        start.wait();
        let began = Instant::now();
        // The scope ends when the last client has its last key.
        began
    })
    .elapsed()
    .as_secs_f64()
    .recip()
        * AT_ONCE as f64
}

/// Requests of one turn; a multiple of every number of clients, and with their challenges fewer than the seat
/// takes at once.
const AT_ONCE: usize = 64;
const PAUSE: Duration = Duration::from_millis(1500);

/// Seconds that one call takes.
fn time(mut run: impl FnMut()) -> f64 {
    let calls = batch(&mut run);
    seconds(calls, &mut run)
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
