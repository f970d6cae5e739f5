//! Each rule of a policy decides something: for every key of the file there is a row that changes it, or
//! the evidence, and names the one check that then fails.

mod support;

use std::collections::BTreeSet;

use casemate_evidence::Measurement;
use casemate_evidence::snp::{
    CpuId, GuestPolicy, KeyInfo, Layout, PlatformInfo, Product, Silicon, Tcb, TcbVersion, Vmpl,
};
use casemate_record::{LeaseFault, LeaseTerm};
use casemate_verify::{
    AcceptSimulated, Channel, Code, Expectations, Freshness, KnownRoster, LEASE_ALLOWANCE_MS, Outcome,
    Policy, PolicyError, ReferenceValue, Roots, SessionStanding, Status, Verdict, Verifier, Workload,
};
use proptest::prelude::*;
use support::{DAY_MS, ListParts, NOW_MS, Tee};

/// Evidence, what is expected of it, and the policy's text.
#[derive(Clone)]
struct Case {
    tee: Tee,
    policy: String,
    expectations: Expectations,
    accept_simulated: AcceptSimulated,
    roots: Option<Roots>,
    now_ms: u64,
}

impl Case {
    fn new(product: Product) -> Self {
        let mut tee = Tee::new(product);
        tee.revocation_list = Some(ListParts::new(&tee.root.subject));
        Self {
            policy: Policy::example(&[tee.root_digest()]),
            tee,
            expectations: Expectations {
                freshness: Freshness::Challenge { report_data: [0x77; 64].into(), made_ms: NOW_MS - 1000 },
                workload: Workload::Digest { digest: [0x9C; 32].into(), source: "a test".to_owned() },
                images: vec![ReferenceValue {
                    image: "image 1".to_owned(),
                    measurement: Measurement::from([0x4D; 48]).into(),
                    source: "a test".to_owned(),
                }],
                channel: Channel::Unchecked,
            },
            accept_simulated: AcceptSimulated::Yes,
            roots: None,
            now_ms: NOW_MS,
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        support::set_rule(&mut self.policy, key, value);
    }

    /// Makes the report come from a processor with this microcode, and its certificate agree.
    fn is_of(&mut self, cpuid: CpuId, product: &str, microcode: u8) {
        let product = Product::ALL.into_iter().find(|known| known.name() == product).expect("a product");
        *self = Case::new(product);
        let tcb = Tcb { microcode, ..support::tcb(product) }.version(product);
        self.tee = self.tee.clone().with_tcb(product, tcb);
        self.tee.report.layout = match self.tee.report.layout {
            Layout::V5 { launch_mitigations, current_mitigations, .. } => {
                Layout::V5 { cpuid, launch_mitigations, current_mitigations }
            }
            _ => Layout::V3 { cpuid },
        };
    }

    /// Replaces the floor of one design.
    fn set_microcode(&mut self, product: &str, design: &str, floor: u32) {
        let header = format!("[minimum_tcb.{product}]");
        let (before, table) = self.policy.split_once(&header).expect("a table");
        let (line, after) = table.split_once(" }").expect("a table of designs");
        let from = line.find(&format!(" {design} = ")).expect("a design") + design.len() + 4;
        let to = line[from..].find(',').map_or(line.len(), |comma| from + comma);
        self.policy = format!("{before}{header}{}{floor}{} }}{after}", &line[..from], &line[to..]);
    }

    /// Lists the ID key of the report, so that what its ID block states is bound to somebody.
    fn with_id_block(&mut self) {
        self.tee.report.id_key_digest = [0x1D; 48];
        self.tee.report.key_info = KeyInfo::from_bits(1).expect("an author key");
        self.set("id_block.id_keys", &format!("[\"{}\"]", "1d".repeat(48)));
    }

    fn verdict(&self) -> Verdict {
        let policy = Policy::parse(&self.policy).unwrap_or_else(|error| panic!("{error}\n{}", self.policy));
        let roots = self.roots.clone().unwrap_or_else(|| policy.roots());
        let verifier = Verifier {
            policy: &policy,
            roots: &roots,
            accept_simulated: self.accept_simulated,
            provider: casemate_crypto::provider(),
        };
        let report = self.tee.sign_report();
        let endorsements = self.tee.endorsements();
        verifier
            .verify_report(report.as_bytes(), &endorsements, &self.expectations, self.now_ms)
            .verdict()
            .clone()
    }
}

fn bits(set: u64) -> GuestPolicy {
    GuestPolicy::from_bits(1 << 17 | set).expect("defined bits")
}

/// A row: the key that it is about, a change that keeps the rule, a change that breaks it, the check.
type Row = (&'static str, fn(&mut Case), fn(&mut Case), Code);

/// A guest bit: on where it is forbidden, off where it is required.
macro_rules! guest_bit {
    ($key:literal, $bit:expr, $code:expr) => {
        (
            concat!("guest_policy.", $key),
            |case| {
                case.set(concat!("guest_policy.", $key), "\"required\"");
                case.tee.report.policy = bits(1 << $bit);
            },
            |case| {
                case.set(concat!("guest_policy.", $key), "\"required\"");
                case.tee.report.policy = bits(0);
            },
            $code,
        )
    };
}

macro_rules! platform_bit {
    ($key:literal, $bit:expr, $code:expr) => {
        (
            concat!("platform.", $key),
            |case| {
                case.set(concat!("platform.", $key), "\"required\"");
                case.tee.report.platform_info = PlatformInfo::from_bits(1 << 5 | 1 << $bit);
            },
            |case| {
                case.set("platform.alias_check", "\"any\"");
                case.set(concat!("platform.", $key), "\"required\"");
                case.tee.report.platform_info = PlatformInfo::from_bits(0);
            },
            $code,
        )
    };
}

/// Microcode of one design at its floor, and one below it.
macro_rules! microcode {
    ($product:literal, $design:literal, $cpuid:expr, $found:literal) => {
        (
            concat!("minimum_tcb.", $product, ".microcode.", $design),
            |case| case.is_of($cpuid, $product, $found),
            |case| {
                case.is_of($cpuid, $product, $found);
                case.set_microcode($product, $design, $found + 1);
            },
            Code::TcbMicrocode,
        )
    };
}

/// A list of keys or ids that an ID block must name.
macro_rules! id_block {
    ($key:literal, $field:ident, $len:literal) => {
        (
            concat!("id_block.", $key),
            |case| {
                case.with_id_block();
                case.tee.report.$field = [0x7E; $len];
                case.set(concat!("id_block.", $key), &format!("[\"{}\"]", "7e".repeat($len)));
            },
            |case| {
                case.with_id_block();
                case.tee.report.$field = [0x7E; $len];
                case.set(concat!("id_block.", $key), &format!("[\"{}\"]", "7d".repeat($len)));
            },
            match $key.as_bytes() {
                b"id_keys" => Code::IdKey,
                b"author_keys" => Code::AuthorKey,
                b"family_ids" => Code::FamilyId,
                _ => Code::ImageId,
            },
        )
    };
}

/// A rule of one product that accepts bits of both mitigation vectors.
macro_rules! mitigations {
    ($product:literal, $cpuid:expr) => {
        (
            concat!("minimum_tcb.", $product, ".mitigations"),
            |case| {
                case.is_of($cpuid, $product, 255);
                case.tee.report.layout =
                    Layout::V5 { cpuid: $cpuid, launch_mitigations: 0b0110, current_mitigations: 0b1110 };
                case.set(concat!("minimum_tcb.", $product, ".mitigations"), "[1, 2]");
            },
            |case| {
                case.is_of($cpuid, $product, 255);
                case.tee.report.layout =
                    Layout::V5 { cpuid: $cpuid, launch_mitigations: 0b0010, current_mitigations: 0b1110 };
                case.set(concat!("minimum_tcb.", $product, ".mitigations"), "[1, 2]");
            },
            Code::Mitigations,
        )
    };
}

/// A part of the TCB at its floor, and one below it in LAUNCH_TCB.
macro_rules! tcb_part {
    ($product:expr, $key:literal, $index:expr, $code:expr) => {
        (
            $key,
            |case| *case = Case::new($product),
            |case| {
                *case = Case::new($product);
                let parts = support::tcb($product);
                let at_floor = parts.version($product).as_bytes()[$index];
                case.set($key, &(u32::from(at_floor) + 1).to_string());
            },
            $code,
        )
    };
}

const ROWS: &[Row] = &[
    (
        "roots.amd",
        // With AMD's roots alone a simulated chain would not be genuine; the class decides what is asked.
        |case| case.set("roots.amd", "\"none\""),
        |case| {
            case.accept_simulated = AcceptSimulated::No;
        },
        Code::SimulationAccepted,
    ),
    (
        "simulated_roots.spki_sha256",
        |_| {},
        |case| {
            case.roots = Some(Roots::none().with_simulated([case.tee.simulated_root()]));
            case.set("simulated_roots.spki_sha256", "\"none\"");
        },
        Code::SimulatedRoot,
    ),
    (
        "hardware.products",
        |case| case.set("hardware.products", "\"any\""),
        |case| case.set("hardware.products", "[\"Milan\"]"),
        Code::Product,
    ),
    (
        "hardware.denied_products",
        |case| case.set("hardware.denied_products", "[\"Milan\"]"),
        |case| case.set("hardware.denied_products", "[\"Genoa\"]"),
        Code::DeniedProduct,
    ),
    (
        "hardware.signing_keys",
        |case| case.set("hardware.signing_keys", "[\"VLEK\", \"VCEK\"]"),
        |case| case.set("hardware.signing_keys", "[\"VLEK\"]"),
        Code::SigningKey,
    ),
    (
        "hardware.vlek_providers",
        |case| {
            case.tee = case.tee.clone().with_vlek(Product::Genoa);
            case.set("hardware.signing_keys", "[\"VLEK\"]");
            case.set("hardware.vlek_providers", "[\"another\", \"test provider\"]");
        },
        |case| {
            case.tee = case.tee.clone().with_vlek(Product::Genoa);
            case.set("hardware.signing_keys", "[\"VLEK\"]");
            case.set("hardware.vlek_providers", "[\"another\"]");
        },
        Code::VlekProvider,
    ),
    (
        "hardware.chips",
        |case| case.set("hardware.chips", &format!("[\"{}\"]", "1f".repeat(64))),
        |case| case.set("hardware.chips", &format!("[\"{}\"]", "1e".repeat(64))),
        Code::Chip,
    ),
    (
        "hardware.denied_chips",
        |case| case.set("hardware.denied_chips", &format!("[\"{}\"]", "1e".repeat(64))),
        |case| case.set("hardware.denied_chips", &format!("[\"{}\"]", "1f".repeat(64))),
        Code::DeniedChip,
    ),
    (
        "hardware.minimum_report_version",
        |case| case.set("hardware.minimum_report_version", "2"),
        |case| case.set("hardware.minimum_report_version", "4"),
        Code::ReportVersion,
    ),
    (
        "hardware.vmpl",
        |case| {
            case.set("hardware.vmpl", "[0, 1]");
            case.tee.report.vmpl = Vmpl::Guest(1);
        },
        |case| case.tee.report.vmpl = Vmpl::Guest(1),
        Code::Vmpl,
    ),
    tcb_part!(Product::Milan, "minimum_tcb.Milan.bootloader", 0, Code::TcbBootloader),
    tcb_part!(Product::Milan, "minimum_tcb.Milan.tee", 1, Code::TcbTee),
    tcb_part!(Product::Milan, "minimum_tcb.Milan.snp", 6, Code::TcbSnp),
    microcode!("Milan", "Milan", CpuId { family: 0x19, model: 1, stepping: 1 }, 222),
    microcode!("Milan", "Milan-X", CpuId { family: 0x19, model: 1, stepping: 2 }, 71),
    mitigations!("Milan", CpuId { family: 0x19, model: 1, stepping: 1 }),
    tcb_part!(Product::Genoa, "minimum_tcb.Genoa.bootloader", 0, Code::TcbBootloader),
    tcb_part!(Product::Genoa, "minimum_tcb.Genoa.tee", 1, Code::TcbTee),
    tcb_part!(Product::Genoa, "minimum_tcb.Genoa.snp", 6, Code::TcbSnp),
    microcode!("Genoa", "Genoa", CpuId { family: 0x19, model: 0x11, stepping: 1 }, 86),
    microcode!("Genoa", "Genoa-X", CpuId { family: 0x19, model: 0x11, stepping: 2 }, 81),
    microcode!("Genoa", "Bergamo", CpuId { family: 0x19, model: 0xA0, stepping: 2 }, 25),
    mitigations!("Genoa", CpuId { family: 0x19, model: 0x11, stepping: 1 }),
    tcb_part!(Product::Turin, "minimum_tcb.Turin.fmc", 0, Code::TcbFmc),
    tcb_part!(Product::Turin, "minimum_tcb.Turin.bootloader", 1, Code::TcbBootloader),
    tcb_part!(Product::Turin, "minimum_tcb.Turin.tee", 2, Code::TcbTee),
    tcb_part!(Product::Turin, "minimum_tcb.Turin.snp", 3, Code::TcbSnp),
    microcode!("Turin", "Turin", CpuId { family: 0x1A, model: 2, stepping: 1 }, 81),
    microcode!("Turin", "Turin-Dense", CpuId { family: 0x1A, model: 0x11, stepping: 0 }, 71),
    mitigations!("Turin", CpuId { family: 0x1A, model: 2, stepping: 1 }),
    id_block!("id_keys", id_key_digest, 48),
    id_block!("author_keys", author_key_digest, 48),
    id_block!("family_ids", family_id, 16),
    id_block!("image_ids", image_id, 16),
    (
        "id_block.minimum_guest_svn",
        |case| {
            case.with_id_block();
            case.tee.report.guest_svn = 3;
            case.set("id_block.minimum_guest_svn", "3");
        },
        |case| {
            case.with_id_block();
            case.tee.report.guest_svn = 2;
            case.set("id_block.minimum_guest_svn", "3");
        },
        Code::GuestSvn,
    ),
    ("guest_policy.debug", |_| {}, |case| case.tee.report.policy = bits(1 << 19), Code::GuestDebug),
    ("guest_policy.migrate_ma", |_| {}, |case| case.tee.report.policy = bits(1 << 18), Code::GuestMigrateMa),
    ("guest_policy.cxl", |_| {}, |case| case.tee.report.policy = bits(1 << 21), Code::GuestCxl),
    guest_bit!("smt", 16, Code::GuestSmt),
    guest_bit!("single_socket", 20, Code::GuestSingleSocket),
    guest_bit!("aes_256_xts", 22, Code::GuestAes256Xts),
    guest_bit!("rapl_disabled", 23, Code::GuestRaplDisabled),
    guest_bit!("ciphertext_hiding", 24, Code::GuestCiphertextHiding),
    guest_bit!("page_swap_disabled", 25, Code::GuestPageSwapDisabled),
    platform_bit!("smt", 0, Code::PlatformSmt),
    platform_bit!("tsme", 1, Code::PlatformTsme),
    platform_bit!("ecc", 2, Code::PlatformEcc),
    platform_bit!("rapl_disabled", 3, Code::PlatformRaplDisabled),
    platform_bit!("ciphertext_hiding", 4, Code::PlatformCiphertextHiding),
    platform_bit!("alias_check", 5, Code::PlatformAliasCheck),
    platform_bit!("iommu_write_safe", 6, Code::PlatformIommuWriteSafe),
    platform_bit!("trusted_io", 7, Code::PlatformTrustedIo),
    (
        "image.measurements",
        |case| case.set("image.measurements", &format!("[\"image 2\", \"{}\"]", "4d".repeat(48))),
        |case| case.tee.report.measurement = [0x4E; 48].into(),
        Code::Measurement,
    ),
    (
        "workload.digests",
        |case| case.set("workload.digests", &format!("[\"{}\"]", "9c".repeat(32))),
        |case| case.set("workload.digests", &format!("[\"{}\"]", "9d".repeat(32))),
        Code::AcceptedWorkload,
    ),
    (
        "workload.apps",
        |case| {
            case.set("workload.digests", "\"none\"");
            case.set("workload.apps", &format!("[\"{}\"]", "aa".repeat(32)));
            case.expectations.workload =
                Workload::Authorised { app_id: [0xAA; 32].into(), digest: [0x9C; 32].into() };
        },
        |case| {
            case.set("workload.digests", "\"none\"");
            case.set("workload.apps", &format!("[\"{}\"]", "aa".repeat(32)));
            case.expectations.workload =
                Workload::Authorised { app_id: [0xAB; 32].into(), digest: [0x9C; 32].into() };
        },
        Code::AcceptedWorkload,
    ),
    (
        "collateral.revocation_list",
        |case| case.set("collateral.revocation_list", "\"required\""),
        |case| {
            case.set("collateral.revocation_list", "\"required\"");
            case.tee.revocation_list = None;
        },
        Code::RevocationListPresent,
    ),
    (
        "collateral.maximum_age_days",
        |case| case.set("collateral.maximum_age_days", "10"),
        |case| case.set("collateral.maximum_age_days", "9"),
        Code::CollateralAge,
    ),
    (
        "freshness.report_data",
        |case| {
            case.set("freshness.report_data", "\"any\"");
            case.expectations.freshness = Freshness::Unchecked;
        },
        |case| case.expectations.freshness = Freshness::Unchecked,
        Code::ReportData,
    ),
    (
        "freshness.maximum_age_seconds",
        |case| case.set("freshness.maximum_age_seconds", "1"),
        |case| {
            case.set("freshness.maximum_age_seconds", "1");
            case.now_ms += 1;
        },
        Code::ChallengeAge,
    ),
];

#[test]
fn each_rule_is_kept_and_broken_by_its_row() {
    for (key, keep, break_it, code) in ROWS {
        let mut kept = Case::new(Product::Genoa);
        keep(&mut kept);
        let verdict = kept.verdict();
        let failures: Vec<_> = verdict.failures().collect();
        assert!(failures.is_empty(), "{key} should be kept: {failures:?}");
        let mut broken = Case::new(Product::Genoa);
        break_it(&mut broken);
        let verdict = broken.verdict();
        let failures: Vec<_> = verdict.failures().map(|check| check.code).collect();
        assert_eq!(failures, [*code], "{key} should be broken");
        assert_eq!(verdict.outcome(), Outcome::Refused, "{key}");
    }
}

#[test]
fn every_key_of_the_file_has_a_row() {
    fn keys(table: &toml::Table, prefix: &str, into: &mut BTreeSet<String>) {
        for (name, value) in table {
            match value {
                toml::Value::Table(inner) => keys(inner, &format!("{prefix}{name}."), into),
                _ => drop(into.insert(format!("{prefix}{name}"))),
            }
        }
    }
    let mut in_file = BTreeSet::new();
    keys(&Policy::example(&[]).parse().expect("the example is TOML"), "", &mut in_file);
    assert!(in_file.remove("version"), "tested by `other_versions_are_refused`");
    // The rules of Intel platforms have their rows in `intel_policy.rs`.
    in_file.retain(|key| key != "roots.intel" && !key.starts_with("intel.") && !key.starts_with("tdx."));
    let in_rows: BTreeSet<String> = ROWS.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(in_file, in_rows);
}

#[test]
fn each_key_is_needed_and_no_other_is_known() {
    let example = Policy::example(&[]);
    for (index, line) in example.lines().enumerate() {
        if !line.contains(" = ") || line.starts_with('#') {
            continue;
        }
        let without: Vec<_> =
            example.lines().enumerate().filter(|(other, _)| *other != index).map(|(_, line)| line).collect();
        let error = Policy::parse(&without.join("\n")).expect_err(line);
        assert!(
            matches!(
                error,
                PolicyError::Toml(_)
                    | PolicyError::Fmc { missing: true, .. }
                    | PolicyError::Incomplete { .. }
            ),
            "{line}: {error}"
        );
        let doubled: Vec<_> = example
            .lines()
            .enumerate()
            .flat_map(|(other, text)| [Some(text), (other == index).then_some("surprise = 1")])
            .flatten()
            .collect();
        let error = Policy::parse(&doubled.join("\n")).expect_err(line);
        assert!(matches!(error, PolicyError::Toml(_)), "{line}: {error}");
    }
}

fn parse_error(key: &str, value: &str) -> PolicyError {
    let mut case = Case::new(Product::Genoa);
    case.set(key, value);
    Policy::parse(&case.policy).expect_err("the value is wrong")
}

#[test]
fn a_policy_beyond_its_length_is_refused_before_it_is_read() {
    let mut text = Policy::example(&[]);
    text.push_str(&"#".repeat(Policy::MAXIMUM_LEN - text.len()));
    assert!(Policy::parse(&text).is_ok());
    text.push('#');
    assert_eq!(Policy::parse(&text), Err(PolicyError::TooLong { found: Policy::MAXIMUM_LEN + 1 }));
}

#[test]
fn empty_lists_are_refused_everywhere() {
    for (key, word) in [
        ("simulated_roots.spki_sha256", "none"),
        ("hardware.products", "any"),
        ("hardware.denied_products", "none"),
        ("hardware.signing_keys", "any"),
        ("hardware.vlek_providers", "any"),
        ("id_block.id_keys", "any"),
        ("id_block.author_keys", "any"),
        ("id_block.family_ids", "any"),
        ("id_block.image_ids", "any"),
        ("hardware.chips", "any"),
        ("hardware.denied_chips", "none"),
        ("hardware.vmpl", "any"),
        ("image.measurements", "any"),
        ("workload.digests", "any"),
        ("workload.apps", "none"),
    ] {
        assert_eq!(parse_error(key, "[]"), PolicyError::EmptyList { field: key, word });
    }
}

#[test]
fn words_numbers_and_digests_that_mean_nothing_are_refused() {
    let words = [
        "roots.amd",
        "simulated_roots.spki_sha256",
        "hardware.products",
        "hardware.vmpl",
        "guest_policy.debug",
        "id_block.id_keys",
        "id_block.minimum_guest_svn",
        "platform.alias_check",
        "image.measurements",
        "workload.digests",
        "workload.apps",
        "collateral.revocation_list",
        "collateral.maximum_age_days",
        "freshness.report_data",
    ];
    for key in words {
        let error = parse_error(key, "\"\"");
        assert!(matches!(error, PolicyError::Word { field, .. } if field == key), "{key}: {error}");
    }
    assert!(matches!(
        parse_error("hardware.chips", "[\"1f\"]"),
        PolicyError::Bytes { field: "hardware.chips", .. }
    ));
    assert!(matches!(
        parse_error("workload.digests", "[\"9c\"]"),
        PolicyError::Bytes { field: "workload.digests", .. }
    ));
    assert!(matches!(
        parse_error("hardware.products", "[\"Rome\"]"),
        PolicyError::Product { field: "hardware.products", .. }
    ));
    assert!(matches!(parse_error("hardware.vmpl", "[4]"), PolicyError::Number { found: 4, .. }));
    assert!(matches!(
        parse_error("hardware.minimum_report_version", "1"),
        PolicyError::Number { found: 1, .. }
    ));
    assert!(matches!(
        parse_error("minimum_tcb.Milan.mitigations", "[64]"),
        PolicyError::Number { field: "minimum_tcb.mitigations", found: 64, .. }
    ));
    assert!(matches!(
        parse_error("minimum_tcb.Milan.mitigations", "[]"),
        PolicyError::EmptyList { field: "minimum_tcb.mitigations", word: "any" }
    ));
    assert!(matches!(
        parse_error("minimum_tcb.Milan.mitigations", "\"none\""),
        PolicyError::Word { field: "minimum_tcb.mitigations", .. }
    ));
    assert!(matches!(parse_error("minimum_tcb.Milan.tee", "256"), PolicyError::Toml(_)));
    assert!(matches!(parse_error("freshness.maximum_age_seconds", "-1"), PolicyError::Toml(_)));
}

#[test]
fn other_versions_are_refused() {
    assert_eq!(parse_error("version", "2"), PolicyError::Version { found: 2 });
}

#[test]
fn policies_that_accept_nothing_by_oversight_are_refused() {
    let mut no_roots = Case::new(Product::Genoa);
    no_roots.set("roots.amd", "\"none\"");
    no_roots.set("roots.intel", "\"none\"");
    no_roots.set("simulated_roots.spki_sha256", "\"none\"");
    assert_eq!(Policy::parse(&no_roots.policy), Err(PolicyError::NoRoots));
    assert_eq!(parse_error("workload.digests", "\"none\""), PolicyError::NoWorkload);
    let mut no_floor = Policy::example(&[]);
    let (from, to) = (no_floor.find("[minimum_tcb.Turin]"), no_floor.find("[guest_policy]"));
    no_floor.replace_range(from.expect("a table")..to.expect("a table"), "");
    assert_eq!(Policy::parse(&no_floor), Err(PolicyError::NoMinimumTcb { product: Product::Turin }));
    let with_fmc = Policy::example(&[]).replace("[minimum_tcb.Milan]", "[minimum_tcb.Milan]\nfmc = 1");
    assert_eq!(Policy::parse(&with_fmc), Err(PolicyError::Fmc { product: Product::Milan, missing: false }));
}

#[test]
fn a_platform_has_all_of_its_rules_or_none() {
    let example = Policy::example(&[]);
    let without = |table: &str| {
        let from = example.find(&format!("[{table}")).expect("a table");
        let next = example[from + 1..].find("\n[").map_or(example.len(), |at| from + 1 + at);
        format!("{}{}", &example[..from], &example[next..])
    };
    for table in ["hardware]", "guest_policy]", "id_block]", "platform]"] {
        let error = Policy::parse(&without(table)).expect_err(table);
        assert!(matches!(error, PolicyError::Incomplete { missing, .. } if table.starts_with(missing)));
    }
    let none: String = example
        .split("\n[")
        .filter(|table| {
            !["hardware", "minimum_tcb", "guest_policy", "id_block", "platform", "intel", "tdx"]
                .iter()
                .any(|name| table.starts_with(name))
        })
        .collect::<Vec<_>>()
        .join("\n[")
        .replace("amd = \"builtin\"", "")
        .replace("intel = \"builtin\"", "");
    assert_eq!(Policy::parse(&none), Err(PolicyError::NoPlatform));
}

#[test]
fn every_byte_of_the_file_counts_in_its_digest() {
    let example = Policy::example(&[]);
    let digest = |text: &str| Policy::parse(text).expect("well formed").digest();
    assert_eq!(digest(&example), digest(&example.clone()));
    assert_ne!(digest(&example), digest(&format!("{example}# a remark\n")));
}

#[test]
fn firmware_at_launch_counts_as_well() {
    let mut case = Case::new(Product::Genoa);
    case.tee.report.launch_tcb = TcbVersion::from([10, 0, 0, 0, 0, 0, 27, 85]);
    let verdict = case.verdict();
    assert_eq!(verdict.failures().map(|check| check.code).collect::<Vec<_>>(), [Code::TcbMicrocode]);
}

#[test]
fn every_design_has_its_own_floor_of_microcode_and_no_other() {
    let floor = |value| parse_error("minimum_tcb.Milan.microcode", value);
    assert_eq!(floor("{ Milan = 1 }"), PolicyError::NoMicrocode { silicon: Silicon::MilanX });
    assert_eq!(
        floor("{ Milan = 1, Milan-X = 1, Genoa = 1 }"),
        PolicyError::Silicon { product: Product::Milan, found: "Genoa".to_owned() }
    );
    assert!(matches!(floor("222"), PolicyError::Toml(_)));
    assert!(matches!(floor("{ Milan = 256, Milan-X = 1 }"), PolicyError::Toml(_)));
}

#[test]
fn a_processor_of_no_known_design_meets_no_floor() {
    let mut case = Case::new(Product::Genoa);
    case.tee.report.layout = Layout::V3 { cpuid: CpuId { family: 0x19, model: 0x11, stepping: 0 } };
    case.set("minimum_tcb.Genoa.microcode", "{ Genoa = 0, Genoa-X = 0, Bergamo = 0 }");
    let verdict = case.verdict();
    let failures: Vec<_> = verdict.failures().collect();
    assert_eq!(failures.iter().map(|check| check.code).collect::<Vec<_>>(), [Code::TcbFloor]);
    assert_eq!(failures[0].found.to_string(), "family 0x19, model 0x11, stepping 0");
}

#[test]
fn what_an_id_block_states_counts_only_with_a_key_behind_it() {
    for (key, value) in [
        ("id_block.family_ids", format!("[\"{}\"]", "7e".repeat(16))),
        ("id_block.image_ids", format!("[\"{}\"]", "7e".repeat(16))),
        ("id_block.minimum_guest_svn", "0".to_owned()),
    ] {
        assert_eq!(parse_error(key, &value), PolicyError::UnboundIdBlock { field: key });
        for signed in ["id_block.id_keys", "id_block.author_keys"] {
            let mut case = Case::new(Product::Genoa);
            case.set(signed, &format!("[\"{}\"]", "1d".repeat(48)));
            case.set(key, &value);
            assert!(Policy::parse(&case.policy).is_ok(), "{key} with {signed}");
        }
    }
}

#[test]
fn no_key_is_on_no_list() {
    // Zeros stand for a launch without ID block, even where somebody lists zeros.
    let mut case = Case::new(Product::Genoa);
    case.set("id_block.id_keys", &format!("[\"{}\"]", "00".repeat(48)));
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::IdKey]);
    // A digest without AUTHOR_KEY_EN was not checked by the firmware.
    let mut case = Case::new(Product::Genoa);
    case.tee.report.author_key_digest = [0x7E; 48];
    case.set("id_block.author_keys", &format!("[\"{}\"]", "7e".repeat(48)));
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::AuthorKey]);
    case.tee.report.key_info = KeyInfo::from_bits(1).expect("an author key");
    assert_eq!(case.verdict().outcome(), Outcome::Verified);
}

#[test]
fn reports_without_mitigation_vectors_have_no_mitigation() {
    for layout in [
        Layout::V3 { cpuid: CpuId { family: 0x19, model: 0x11, stepping: 1 } },
        // What version 4 holds in the place of the vectors is not read as vectors.
        Layout::V4 { cpuid: CpuId { family: 0x19, model: 0x11, stepping: 1 }, undescribed: [0xFF; 16] },
    ] {
        let mut case = Case::new(Product::Genoa);
        case.tee.report.layout = layout;
        assert_eq!(case.verdict().outcome(), Outcome::Verified);
        case.set("minimum_tcb.Genoa.mitigations", "[1]");
        let failures = case.verdict().failures().map(|check| check.code).collect::<Vec<_>>();
        assert_eq!(failures, [Code::Mitigations]);
    }
}

#[test]
fn a_list_of_providers_says_nothing_of_a_chips_own_key() {
    let mut case = Case::new(Product::Genoa);
    case.set("hardware.vlek_providers", "[\"another\"]");
    assert_eq!(case.verdict().outcome(), Outcome::Verified);
}

#[test]
fn a_report_that_the_host_asked_for_passes_no_vmpl_rule() {
    for rule in ["[0]", "\"any\""] {
        let mut case = Case::new(Product::Genoa);
        case.set("hardware.vmpl", rule);
        case.tee.report.vmpl = Vmpl::Host;
        assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::Vmpl]);
    }
}

#[test]
fn a_masked_chip_is_on_no_list_and_may_be_a_denied_one() {
    let masked = || {
        let mut case = Case::new(Product::Genoa);
        case.tee = case.tee.with_vlek(Product::Genoa);
        case.tee.report.chip_id = [0; 64].into();
        case.set("hardware.signing_keys", "\"any\"");
        case
    };
    assert_eq!(masked().verdict().outcome(), Outcome::Verified);
    for (key, code) in [("hardware.chips", Code::Chip), ("hardware.denied_chips", Code::DeniedChip)] {
        let mut case = masked();
        case.set(key, &format!("[\"{}\"]", "1f".repeat(64)));
        assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [code]);
    }
}

#[test]
fn simulation_needs_the_list_and_the_caller() {
    let listed = Case::new(Product::Genoa);
    assert_eq!(listed.verdict().outcome(), Outcome::Verified);
    let mut unwilling = listed.clone();
    unwilling.accept_simulated = AcceptSimulated::No;
    assert_eq!(unwilling.verdict().outcome(), Outcome::Refused);
    // Not listed by the policy, whatever roots the caller brings.
    let mut unlisted = listed.clone();
    unlisted.policy = Policy::example(&[]);
    assert_eq!(unlisted.verdict().outcome(), Outcome::NotGenuine);
    unlisted.roots = Some(Roots::builtin().with_simulated([listed.tee.simulated_root()]));
    assert_eq!(unlisted.verdict().outcome(), Outcome::Refused);
}

#[test]
fn expectations_bind_even_where_the_policy_accepts_anything() {
    let mut case = Case::new(Product::Genoa);
    case.set("workload.digests", "\"any\"");
    case.set("freshness.report_data", "\"any\"");
    assert_eq!(case.verdict().outcome(), Outcome::Verified);
    let mut workload = case.clone();
    workload.tee.report.host_data = [0; 32].into();
    assert_eq!(
        workload.verdict().failures().map(|check| check.code).collect::<Vec<_>>(),
        [Code::ExpectedWorkload]
    );
    case.tee.report.report_data = [0; 64].into();
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::ReportData]);
}

#[test]
fn a_session_is_bound_only_by_report_data_that_matched() {
    let mut case = Case::new(Product::Genoa);
    case.set("freshness.report_data", "\"any\"");
    case.expectations.channel = Channel::Session { key_digest: [0x88; 32].into(), standing: standing() };
    assert_eq!(case.verdict().outcome(), Outcome::Verified);
    case.expectations.freshness = Freshness::Unchecked;
    let verdict = case.verdict();
    assert_eq!(verdict.failures().map(|check| check.code).collect::<Vec<_>>(), [Code::SessionKey]);
    let channel = verdict.groups().iter().find(|group| group.code == Code::Channel).expect("a group");
    assert_eq!(channel.status, Status::Failed);
}

#[test]
fn report_data_of_no_date_is_not_fresh_and_binds_no_session() {
    let mut case = Case::new(Product::Genoa);
    case.expectations.freshness = Freshness::Undated { report_data: [0x77; 64].into() };
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::ChallengeAge]);
    case.set("freshness.report_data", "\"any\"");
    let verdict = case.verdict();
    assert_eq!(verdict.outcome(), Outcome::Verified);
    assert!(verdict.not_established().contains(&casemate_verify::NotEstablished::Freshness));
    case.expectations.channel = Channel::Session { key_digest: [0x88; 32].into(), standing: standing() };
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::SessionKey]);
    case.expectations.channel = Channel::Unchecked;
    case.expectations.freshness = Freshness::Undated { report_data: [0; 64].into() };
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::ReportData]);
}

/// A session that its seats leased for ten minutes, a minute ago.
fn standing() -> SessionStanding {
    SessionStanding {
        roster_digest: [0x66; 32].into(),
        key_epoch: 1,
        newest: KnownRoster { digest: [0x66; 32].into(), key_epoch: 1 },
        lease: Ok(LeaseTerm { begins_ms: NOW_MS - 60_000, ends_ms: NOW_MS + 540_000 }),
    }
}

#[test]
fn a_session_stands_under_the_newest_roster_and_a_lease_that_runs() {
    type Change = fn(&mut SessionStanding);
    let table: [(Change, &[Code]); 9] = [
        (|_| {}, &[]),
        (|s| s.roster_digest = [1; 32].into(), &[Code::SessionRoster]),
        // Under another roster its epoch and leases mean nothing.
        (|s| (s.roster_digest, s.key_epoch) = ([1; 32].into(), 9), &[Code::SessionRoster]),
        (|s| s.key_epoch = 2, &[Code::SessionKeyEpoch]),
        (|s| s.lease = Err(LeaseFault::Count { found: 0, needed: 1 }), &[Code::SessionLease]),
        (|s| s.lease = Ok(LeaseTerm { begins_ms: NOW_MS + 60_000, ends_ms: NOW_MS + 90_000 }), &[]),
        (
            |s| s.lease = Ok(LeaseTerm { begins_ms: NOW_MS + 60_001, ends_ms: NOW_MS + 90_000 }),
            &[Code::SessionLeaseBegin],
        ),
        (|s| s.lease = Ok(LeaseTerm { begins_ms: 0, ends_ms: NOW_MS - LEASE_ALLOWANCE_MS }), &[]),
        (
            |s| s.lease = Ok(LeaseTerm { begins_ms: 0, ends_ms: NOW_MS - LEASE_ALLOWANCE_MS - 1 }),
            &[Code::SessionLeaseEnd],
        ),
    ];
    for (number, (change, expected)) in table.into_iter().enumerate() {
        let mut case = Case::new(Product::Genoa);
        let mut standing = standing();
        change(&mut standing);
        case.expectations.channel = Channel::Session { key_digest: [0x88; 32].into(), standing };
        let failures: Vec<_> = case.verdict().failures().map(|check| check.code).collect();
        assert_eq!(failures, expected, "row {number}");
    }
}

#[test]
fn a_challenge_from_the_future_is_refused() {
    let mut case = Case::new(Product::Genoa);
    case.now_ms = NOW_MS - 2000;
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::ChallengeAge]);
}

#[test]
fn old_layouts_are_accepted_only_if_the_policy_says_so() {
    let mut case = Case::new(Product::Genoa);
    case.tee.report.layout = Layout::V2;
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::ReportVersion]);
    case.set("hardware.minimum_report_version", "2");
    assert_eq!(case.verdict().outcome(), Outcome::Verified);
    // Version 2 does not name its processor, so the highest floor of the product counts.
    case.set("minimum_tcb.Genoa.microcode", "{ Genoa = 0, Genoa-X = 0, Bergamo = 87 }");
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::TcbMicrocode]);
    case.set("minimum_tcb.Genoa.microcode", "{ Genoa = 0, Genoa-X = 0, Bergamo = 86 }");
    assert_eq!(case.verdict().outcome(), Outcome::Verified);
}

#[test]
fn a_vlek_is_accepted_only_if_the_policy_says_so() {
    let mut case = Case::new(Product::Genoa);
    case.tee = case.tee.with_vlek(Product::Genoa);
    assert_eq!(case.tee.report.key_info, KeyInfo::from_bits(4).expect("names a VLEK"));
    assert_eq!(case.verdict().failures().map(|check| check.code).collect::<Vec<_>>(), [Code::SigningKey]);
}

#[test]
fn a_revocation_list_in_time_is_named_with_its_age() {
    let verdict = Case::new(Product::Genoa).verdict();
    assert!(!verdict.not_established().contains(&casemate_verify::NotEstablished::Revocation));
    assert_eq!(DAY_MS % 1000, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A stricter policy never accepts more: raise floors and turn "any" into a rule, and whatever was
    /// refused stays refused.
    #[test]
    fn stricter_policies_accept_no_more(
        floors in any::<[u8; 4]>(),
        raises in prop::array::uniform4(0u8..4),
        policy_bits in 0u64..1 << 26,
        platform_bits in any::<u64>(),
        tightened in prop::collection::vec((0usize..6, prop::bool::ANY), 0..4),
    ) {
        const KEYS: [&str; 6] = [
            "guest_policy.smt", "guest_policy.single_socket", "guest_policy.ciphertext_hiding",
            "platform.smt", "platform.ecc", "platform.tsme",
        ];
        let parts = ["bootloader", "tee", "snp", "microcode"];
        let found = [10u8, 0, 27, 86];
        let mut loose = Case::new(Product::Genoa);
        loose.tee.report.policy = bits(policy_bits & !(1 << 17));
        loose.tee.report.platform_info = PlatformInfo::from_bits(platform_bits);
        let mut strict = loose.clone();
        for (index, part) in parts.iter().enumerate() {
            let key = format!("minimum_tcb.Genoa.{part}");
            let floor = floors[index] % found[index].saturating_add(2);
            let value = |floor: u8| match *part {
                "microcode" => format!("{{ Genoa = {floor}, Genoa-X = 255, Bergamo = 255 }}"),
                _ => floor.to_string(),
            };
            loose.set(&key, &value(floor));
            strict.set(&key, &value(floor.saturating_add(raises[index])));
        }
        for (key, required) in tightened {
            strict.set(KEYS[key], if required { "\"required\"" } else { "\"forbidden\"" });
        }
        if strict.verdict().outcome() == Outcome::Verified {
            prop_assert_eq!(loose.verdict().outcome(), Outcome::Verified);
        }
    }
}
