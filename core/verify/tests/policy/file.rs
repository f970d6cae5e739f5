//! Which texts are no policy?

use casemate_evidence::snp::Product;
use casemate_verify::{Policy, PolicyError};

use crate::case::Case;

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

pub(crate) fn parse_error(key: &str, value: &str) -> PolicyError {
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
pub(crate) fn other_versions_are_refused() {
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
