//! Each rule is kept and broken by its row, and none is without one.

use std::collections::BTreeSet;

use casemate_evidence::snp::{CpuId, Layout, PlatformInfo, Product, Vmpl};
use casemate_verify::{AcceptSimulated, Code, Freshness, Outcome, Policy, Roots, Workload};
use proptest::prelude::*;

use crate::case::{Case, bits};

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
                let parts = crate::support::tcb($product);
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
