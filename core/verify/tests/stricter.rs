//! A stricter policy never accepts more: some rules are tightened, of evidence that some of them refuse, and whatever
//! the tighter policy accepts, so does the other.

#[path = "support/nvidia.rs"]
mod nvidia;
mod support;

use std::collections::BTreeSet;

use casemate_evidence::Measurement;
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::sgx::Attributes;
use casemate_evidence::snp::{PlatformInfo, Product, Vmpl};
use casemate_evidence::tdx::TdAttributes;
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, LaunchMeasurement, Outcome, Policy, ReferenceValue,
    Section, Verifier, Workload,
};
use nvidia::{Device, Golden, other_chip, switch};
use proptest::prelude::*;
use support::intel::{Guest, Machine};
use support::{NOW_MS, Tee, set_rule};

/// A key, a rule for it, and a stricter rule. The first of a key counts.
type Row = (&'static str, &'static str, &'static str);

const ANY: &str = "\"any\"";
const EXPECTED: &str = "\"expected\"";
const REQUIRED: &str = "\"required\"";
const FORBIDDEN: &str = "\"forbidden\"";
const NONE: &str = "\"none\"";

const EVERYWHERE: &[Row] = &[
    ("image.measurements", ANY, EXPECTED),
    ("freshness.report_data", ANY, EXPECTED),
    ("freshness.maximum_age_seconds", "300", "10"),
    ("collateral.maximum_age_days", ANY, "1"),
];

const SNP: &[Row] = &[
    ("hardware.products", "[\"Milan\", \"Genoa\"]", "[\"Milan\"]"),
    ("hardware.products", "[\"Milan\", \"Genoa\"]", "[\"Genoa\"]"),
    ("hardware.denied_products", NONE, "[\"Genoa\"]"),
    ("hardware.signing_keys", ANY, "[\"VCEK\"]"),
    ("hardware.minimum_report_version", "2", "3"),
    ("hardware.vmpl", "[0, 1]", "[0]"),
    ("minimum_tcb.Genoa.bootloader", "0", "10"),
    ("minimum_tcb.Genoa.snp", "27", "28"),
    ("minimum_tcb.Genoa.mitigations", ANY, "[0]"),
    ("guest_policy.debug", ANY, FORBIDDEN),
    ("guest_policy.migrate_ma", ANY, FORBIDDEN),
    ("guest_policy.smt", ANY, REQUIRED),
    ("guest_policy.smt", ANY, FORBIDDEN),
    ("guest_policy.single_socket", ANY, REQUIRED),
    ("platform.smt", ANY, REQUIRED),
    ("platform.tsme", ANY, FORBIDDEN),
    ("platform.ecc", ANY, REQUIRED),
    ("platform.alias_check", ANY, REQUIRED),
    ("collateral.revocation_list", "\"optional\"", REQUIRED),
];

const TDX: &[Row] = &[
    ("intel.minimum_tcb_evaluation_number", "17", "18"),
    ("intel.smt", ANY, REQUIRED),
    ("intel.smt", ANY, FORBIDDEN),
    ("intel.dynamic_platform", ANY, FORBIDDEN),
    ("intel.cached_keys", ANY, REQUIRED),
    ("intel.accepted_advisories", ANY, NONE),
    ("intel.tcb_statuses", "[\"UpToDate\", \"OutOfDate\"]", "[\"UpToDate\"]"),
    ("tdx.minimum_report", "\"1.0\"", "\"1.5\""),
    ("tdx.service_td", ANY, NONE),
    ("tdx.xfam", ANY, "\"0000000000000003\""),
    ("tdx.attributes.debug", ANY, FORBIDDEN),
    ("tdx.attributes.sept_ve_disable", ANY, REQUIRED),
    ("tdx.attributes.pks", ANY, REQUIRED),
    ("tdx.attributes.perfmon", ANY, FORBIDDEN),
];

const SGX: &[Row] = &[
    ("intel.smt", ANY, REQUIRED),
    ("intel.tcb_statuses", "[\"UpToDate\", \"OutOfDate\"]", "[\"UpToDate\"]"),
    ("intel.minimum_tcb_evaluation_number", "17", "18"),
    ("sgx.isv_prod_ids", "[6, 7]", "[7]"),
    ("sgx.isv_prod_ids", ANY, "[6, 7]"),
    ("sgx.minimum_isv_svn", "2", "3"),
    ("sgx.minimum_isv_svn", "3", "4"),
    ("sgx.debug", ANY, FORBIDDEN),
    ("sgx.provision_key", ANY, REQUIRED),
];

const NVIDIA: &[Row] = &[
    ("nvidia.minimum_gpus", "1", "2"),
    ("nvidia.alone", "\"accepted\"", "\"refused\""),
    ("nvidia.minimum_switches", "0", "1"),
    ("nvidia.nonce", ANY, REQUIRED),
    ("nvidia.manifests", ANY, REQUIRED),
    ("nvidia.uncompared_measurements", "[\"3\"]", NONE),
    ("nvidia.modes", ANY, "[\"single\"]"),
    ("nvidia.modes", "[\"single\", \"multi\"]", "[\"single\"]"),
    ("nvidia.hopper.minimum_driver", ANY, "\"550.90.08\""),
    ("nvidia.hopper.minimum_driver", "\"550.54\"", "\"550.90.07\""),
    ("nvidia.hopper.minimum_vbios", ANY, "\"96.00.9F.00.02\""),
    ("nvidia.ls10.minimum_vbios", ANY, "\"96.00.9F.00.02\""),
    ("nvidia.blackwell.minimum_driver", ANY, "\"600\""),
    ("nvidia.blackwell.minimum_vbios", ANY, "\"97\""),
    ("collateral.revocation_list", "\"optional\"", REQUIRED),
];

const SGX_RULES: &str = "
[sgx]
mr_signers = \"any\"
isv_prod_ids = \"any\"
minimum_isv_svn = 0
debug = \"any\"
provision_key = \"any\"
";

/// Whether the policy that holds the weaker rules accepts, and whether the one with the stricter does.
fn accepted(base: &str, rows: &[Row], judge: impl Fn(Verifier<'_>) -> Outcome) -> [bool; 2] {
    let (mut loose, mut strict) = (base.to_owned(), base.to_owned());
    let mut seen = BTreeSet::new();
    for (key, weaker, stricter) in rows.iter().filter(|(key, ..)| seen.insert(*key)) {
        set_rule(&mut loose, key, weaker);
        set_rule(&mut strict, key, stricter);
    }
    [loose, strict].map(|text| {
        let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let roots = policy.roots();
        let accept_simulated = AcceptSimulated::Yes;
        let provider = casemate_crypto::provider();
        judge(Verifier { policy: &policy, roots: &roots, accept_simulated, provider }) == Outcome::Verified
    })
}

/// What the caller asks for besides.
fn expectations(measurement: LaunchMeasurement) -> Expectations {
    Expectations {
        freshness: Freshness::Challenge { report_data: [0x77; 64].into(), made_ms: NOW_MS - 41_000 },
        workload: Workload::Unchecked,
        images: vec![ReferenceValue {
            image: "image 1".to_owned(),
            measurement,
            source: "a test".to_owned(),
        }],
        channel: Channel::Unchecked,
    }
}

fn snp(tee: &Tee, rows: &[Row]) -> [bool; 2] {
    let base = Policy::example(&[tee.root_digest()]).replace("digests = \"expected\"", "digests = \"any\"");
    let (report, endorsements) = (tee.sign_report(), tee.endorsements());
    let expectations = expectations(Measurement::from([0x4D; 48]).into());
    accepted(&base, rows, |verifier| {
        let appraisal = verifier.verify_report(report.as_bytes(), &endorsements, &expectations, NOW_MS);
        appraisal.verdict().outcome()
    })
}

fn intel(machine: &Machine, rows: &[Row]) -> [bool; 2] {
    let base =
        Policy::example(&[machine.root_digest()]).replace("digests = \"expected\"", "digests = \"any\"");
    let measurement = match &machine.guest {
        Guest::Tdx(report) => report.finish().launch_registers().launch_measurement().into(),
        Guest::Sgx(report) => report.mr_enclave.into(),
    };
    let (quote, collateral, expectations) =
        (machine.quote(), machine.collateral(), expectations(measurement));
    accepted(&(base + SGX_RULES), rows, |verifier| {
        verifier.verify_quote(&quote, &collateral, &expectations, NOW_MS).verdict().outcome()
    })
}

fn devices(devices: &[Device], manifests: &[Golden], rows: &[Row]) -> [bool; 2] {
    let tee = Tee::new(Product::Genoa);
    let base = Policy::example(&[tee.root_digest()]).replace("digests = \"expected\"", "digests = \"any\"");
    let base = Policy::with_section(&base, Section::Nvidia);
    let bundle = Bundle::new([
        Item::SnpReport(tee.sign_report().as_bytes().to_vec().into()),
        Item::SnpCertificates(tee.endorsements().to_bundle_item()),
        Item::NvidiaDevices(devices.iter().map(Device::item).collect()),
        Item::NvidiaManifests(manifests.iter().map(|golden| golden.to_bytes().into()).collect()),
    ]);
    let expectations = expectations(Measurement::from([0x4D; 48]).into());
    accepted(&base, rows, |verifier| {
        verifier.verify_bundle(&bundle, None, &expectations, NOW_MS).verdict().outcome()
    })
}

fn rows(own: &'static [Row]) -> impl Strategy<Value = Vec<Row>> {
    let all: Vec<Row> = EVERYWHERE.iter().chain(own).copied().collect();
    prop::sample::subsequence(all, 1..7)
}

/// The properties below are about something: the evidence is accepted as it is, and tighter rules refuse it.
#[test]
fn the_evidence_is_accepted_by_the_weaker_rules() {
    assert_eq!(snp(&Tee::new(Product::Genoa), &[]), [true, true]);
    assert_eq!(intel(&Machine::tdx(), &[]), [true, true]);
    assert_eq!(intel(&Machine::sgx(), &[]), [true, true]);
    for row in EVERYWHERE.iter().chain(SNP) {
        assert!(snp(&Tee::new(Product::Genoa), &[*row])[0], "{row:?}");
    }
    let golden = [Golden::driver(), Golden::vbios()];
    assert_eq!(devices(&[Device::new()], &golden, &[]), [true, true]);
    assert_eq!(devices(&[Device::new()], &golden, &[NVIDIA[0]]), [true, false]);
    assert_eq!(snp(&Tee::new(Product::Genoa), &[SNP[0]]), [true, false]);
    assert_eq!(intel(&Machine::tdx(), &[("tdx.attributes.pks", ANY, REQUIRED)]), [true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn tighter_rules_accept_no_more_reports(
        rows in rows(SNP),
        platform in any::<u64>(),
        vmpl in 0u8..2,
        guest_svn in 0u32..2,
        other_image in prop::bool::weighted(0.2),
    ) {
        let mut tee = Tee::new(Product::Genoa);
        tee.report.platform_info = PlatformInfo::from_bits(platform);
        tee.report.vmpl = Vmpl::Guest(vmpl);
        tee.report.guest_svn = guest_svn;
        if other_image {
            tee.report.measurement = [0x4E; 48].into();
        }
        let [loose, strict] = snp(&tee, &rows);
        prop_assert!(loose || !strict, "{rows:?}");
    }

    #[test]
    fn tighter_rules_accept_no_more_trust_domains(
        rows in rows(TDX),
        bits in prop::sample::select(vec![0u64, 1, 1 << 30, 1 << 63]),
        component in 5u8..8,
    ) {
        let mut machine = Machine::tdx();
        machine.platform.tcb.components[0] = component;
        machine.td().td_attributes = TdAttributes::from_bits(1 << 28 | bits).expect("defined bits");
        let [loose, strict] = intel(&machine, &rows);
        prop_assert!(loose || !strict, "{rows:?}");
    }

    #[test]
    fn tighter_rules_accept_no_more_enclaves(
        rows in rows(SGX),
        flags in prop::sample::select(vec![0b101u64, 0b111, 0b1_0101]),
        isv_svn in 2u16..5,
        isv_prod_id in 6u16..8,
        component in 5u8..8,
    ) {
        let mut machine = Machine::sgx();
        machine.platform.tcb.components[0] = component;
        let enclave = machine.enclave();
        enclave.attributes = Attributes { flags, xfrm: 3 };
        (enclave.isv_svn, enclave.isv_prod_id) = (isv_svn, isv_prod_id);
        let [loose, strict] = intel(&machine, &rows);
        prop_assert!(loose || !strict, "{rows:?}");
    }

    #[test]
    fn tighter_rules_accept_no_more_devices(
        rows in rows(NVIDIA),
        [second, with_switch, otherwise_asked, otherwise_measured] in any::<[bool; 4]>(),
        mode in prop::option::of(0u8..3),
        driver in prop::sample::select(vec!["550.54.15", "550.90.07", "551.1"]),
        manifests in 0usize..4,
    ) {
        let mut first = Device::new();
        first.report.opaque[0].1 = driver.as_bytes().to_vec();
        if let Some(mode) = mode {
            first.report.opaque.push((36, vec![mode, 0]));
        }
        if otherwise_asked {
            first.report.nonce = [9; 32];
        }
        if otherwise_measured {
            first.report.blocks[3].value = [0xBB; 48].into();
        }
        let (switch, of_switch) = switch();
        let mut all = vec![first];
        if second {
            all.push(other_chip());
        }
        if with_switch && !second {
            all.push(switch);
        }
        let mut golden = vec![Golden::driver(), Golden::vbios(), of_switch];
        golden.truncate(manifests);
        let [loose, strict] = devices(&all, &golden, &rows);
        prop_assert!(loose || !strict, "{rows:?}");
    }
}
