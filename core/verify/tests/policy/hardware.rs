//! What do rules about chip, firmware and signer make of what is not stated?

use casemate_evidence::snp::{CpuId, KeyInfo, Layout, Product, Silicon, TcbVersion, Vmpl};
use casemate_verify::{Code, Outcome, Policy, PolicyError};

use crate::case::Case;
use crate::file::parse_error;
use crate::support::DAY_MS;

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
