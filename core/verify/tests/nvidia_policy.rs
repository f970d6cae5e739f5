//! NVIDIA's devices before a policy: beside evidence of a machine and alone, each rule with what it refuses, and
//! each part that is not genuine by its own name.

#[path = "support/cloud.rs"]
mod cloud;
#[path = "support/nvidia.rs"]
mod nvidia;
mod recorded;
mod support;

use std::collections::BTreeSet;

use casemate_crypto::hash::sha256;
use casemate_evidence::bundle::{Item, NvidiaDevice};
use casemate_evidence::snp::Product;
use casemate_verify::nvidia::nonce_for;
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, NotEstablished, Outcome, Platform, Policy,
    PolicyError, Section, Style, TrustClass, Verifier, Workload,
};
use cloud::{failures, verdict, verdict_unasked};
use nvidia::{Device, Golden, dice, name_chip, nonce, other_chip, resource, switch};
use support::{DAY_MS, NOW_MS, Rsa, Tee, set_rule};

/// Of the evidence of an SEV-SNP guest, unless a test changes them.
const REPORT_DATA: [u8; 64] = [0x77; 64];

/// What one machine hands over.
#[derive(Clone)]
struct Machine {
    devices: Vec<NvidiaDevice>,
    manifests: Vec<Vec<u8>>,
}

impl Machine {
    fn new(device: &Device) -> Self {
        let manifests = [Golden::driver(), Golden::vbios()].map(|golden| golden.to_bytes()).to_vec();
        Self { devices: vec![device.item()], manifests }
    }

    /// The devices with the evidence of an SEV-SNP guest whose report data are [`REPORT_DATA`].
    fn items(&self) -> Vec<Item> {
        self.beside(&Tee::new(Product::Genoa))
    }

    fn beside(&self, tee: &Tee) -> Vec<Item> {
        let report = tee.sign_report().as_bytes().to_vec();
        let mut items =
            vec![Item::SnpReport(report.into()), Item::SnpCertificates(tee.endorsements().to_bundle_item())];
        items.extend(self.alone());
        items
    }

    fn alone(&self) -> Vec<Item> {
        vec![
            Item::NvidiaDevices(self.devices.clone()),
            Item::NvidiaManifests(self.manifests.iter().map(|text| text.clone().into()).collect()),
        ]
    }

    fn judge(&self) -> Vec<&'static str> {
        failures(&verdict(&policy(), self.items()))
    }
}

/// Of SEV-SNP guests under the simulated root, with the rules for devices to start from.
fn policy() -> String {
    let mut text = Policy::example(&[Tee::new(Product::Genoa).root_digest()]);
    set_rule(&mut text, "image.measurements", "\"any\"");
    set_rule(&mut text, "workload.digests", "\"any\"");
    Policy::with_section(&text, Section::Nvidia)
}

/// Of devices alone.
fn alone() -> String {
    let text = cloud::policy("\n[roots]", &[Tee::new(Product::Genoa).root_digest()]);
    let mut text = Policy::with_section(&text, Section::Nvidia);
    set_rule(&mut text, "nvidia.alone", "\"accepted\"");
    text
}

#[test]
fn a_machine_and_its_devices_are_one_verdict() {
    let mut machine = Machine::new(&Device::new());
    let (device, golden) = switch();
    machine.devices.push(device.item());
    machine.manifests.push(golden.to_bytes());
    let found = verdict(&policy(), machine.items());
    assert_eq!(found.outcome(), Outcome::Verified, "{:?}", failures(&found));
    assert_eq!(found.trust_class(), Some(TrustClass::Simulated));
    let claims = serde_json::to_value(found.claims().expect("claims")).expect("JSON");
    assert_eq!(claims["platform"], "snp");
    let [gpu, switch] = [&claims["devices"][0], &claims["devices"][1]];
    assert_eq!(gpu["architecture"], "hopper");
    assert_eq!(gpu["name"], "GH100 A01 GSP FMC LF");
    assert_eq!(gpu["driver_version"], "550.90.07");
    assert_eq!(gpu["vbios_version"], "96.00.9F.00.01");
    assert_eq!(gpu["measurements"], 40);
    assert_eq!(gpu["compared"], 26);
    assert_eq!(gpu["nonce"], nonce().to_string());
    assert_eq!(switch["architecture"], "ls10");
    assert_eq!(switch["driver_version"], serde_json::Value::Null);
    assert_eq!(switch["compared"], 16);
    let missing = found.not_established();
    for what in [NotEstablished::DeviceMode, NotEstablished::DeviceUse, NotEstablished::Revocation] {
        assert_eq!(missing.iter().filter(|found| **found == what).count(), 1, "{what:?}");
    }
    for what in [NotEstablished::DeviceNonce, NotEstablished::DeviceMeasurements, NotEstablished::Machine] {
        assert!(!missing.contains(&what), "{what:?}");
    }
    let text = found.render("machine", Style::plain());
    for part in [
        "1 GPU, 1 switch",
        "GH100 (hopper), driver 550.90.07, VBIOS 96.00.9F.00.01; 26 of 40 measurements compared",
        "LS_10 (ls10), VBIOS 96.00.9F.00.01; 16 of 40 measurements compared",
        "in confidential mode, which their reports do not state",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

/// A row per key of the section: a machine that the rule refuses, and the rule under which it passes.
#[test]
fn each_rule_refuses_what_it_speaks_of() {
    let good = Machine::new(&Device::new());
    assert_eq!(good.judge(), [""; 0]);
    let changed = |change: &dyn Fn(&mut Device)| {
        let mut device = Device::new();
        change(&mut device);
        Machine::new(&device)
    };
    let asked_otherwise = changed(&|device| device.report.nonce = [9; 32]);
    let without_manifests = Machine { manifests: Vec::new(), ..good.clone() };
    let one_manifest = Machine { manifests: good.manifests[..1].to_vec(), ..good.clone() };
    let other_value = changed(&|device| device.report.blocks[3].value = [0xBB; 48].into());
    let several = changed(&|device| device.report.opaque.push((36, vec![1, 0])));
    let mut blackwell = changed(&|device| name_chip(&mut device.tee, "GB100"));
    blackwell.manifests = [Golden::driver(), Golden::vbios()]
        .map(|golden| Golden { product: "GB100".to_owned(), ..golden }.to_bytes())
        .to_vec();
    let mut with_switch = good.clone();
    with_switch.devices.push(switch().0.item());
    with_switch.manifests.push(switch().1.to_bytes());
    let any = "\"any\"";
    type Row<'a> = (&'a str, &'a Machine, &'a str, &'a [&'a str], &'a str);
    let rows: &[Row<'_>] = &[
        ("alone", &good, "\"refused\"", &["policy.nvidia.alone"], "\"accepted\""),
        ("minimum_gpus", &good, "2", &["policy.nvidia.minimum_gpus"], "1"),
        ("minimum_switches", &good, "1", &["policy.nvidia.minimum_switches"], "0"),
        ("nonce", &asked_otherwise, "\"required\"", &["policy.nvidia.nonce"], any),
        ("manifests", &without_manifests, "\"required\"", &["policy.nvidia.manifests"], any),
        ("manifests", &one_manifest, "\"required\"", &["policy.nvidia.manifests"], any),
        ("uncompared_measurements", &other_value, "\"none\"", &["nvidia.measurements"], "[\"3\"]"),
        ("modes", &good, "[\"single\"]", &["policy.nvidia.modes"], any),
        ("modes", &several, "[\"single\", \"protected_pcie\"]", &["policy.nvidia.modes"], "[\"multi\"]"),
        ("hopper.minimum_driver", &good, "\"550.90.08\"", &["policy.nvidia.minimum_driver"], "\"550.90.07\""),
        ("hopper.minimum_vbios", &good, "\"96.00.9F.00.02\"", &["policy.nvidia.minimum_vbios"], any),
        ("blackwell.minimum_driver", &blackwell, "\"551\"", &["policy.nvidia.minimum_driver"], "\"550\""),
        (
            "blackwell.minimum_vbios",
            &blackwell,
            "\"97.00\"",
            &["policy.nvidia.minimum_vbios"],
            "\"96.00.9f.00.01\"",
        ),
        ("ls10.minimum_vbios", &with_switch, "\"96.10\"", &["policy.nvidia.minimum_vbios"], any),
    ];
    let in_rows: BTreeSet<String> = rows.iter().map(|(key, ..)| (*key).to_owned()).collect();
    assert_eq!(in_rows, keys(), "each key of the section has a row");
    for (key, machine, refusing, expected, accepting) in rows {
        for (value, expected) in [(refusing, *expected), (accepting, &[] as &[&str])] {
            let mut text = policy();
            let (table, name) = key
                .split_once('.')
                .map_or(("nvidia".to_owned(), *key), |(table, name)| (format!("nvidia.{table}"), name));
            set_rule(&mut text, &format!("{table}.{name}"), value);
            let items = if *key == "alone" { machine.alone() } else { machine.items() };
            assert_eq!(failures(&verdict(&text, items)), expected, "{key} = {value}");
        }
    }
    // What is accepted without a rule is not established.
    let open = |key: &str, machine: &Machine| {
        let mut text = policy();
        set_rule(&mut text, key, any);
        verdict(&text, machine.items()).not_established().to_vec()
    };
    assert!(open("nvidia.nonce", &asked_otherwise).contains(&NotEstablished::DeviceNonce));
    assert!(open("nvidia.manifests", &one_manifest).contains(&NotEstablished::DeviceMeasurements));
    // Golden values that came along count, even where none is asked for.
    let mut text = policy();
    set_rule(&mut text, "nvidia.manifests", any);
    assert_eq!(failures(&verdict(&text, other_value.items())), ["nvidia.measurements"]);
    // An architecture without a table, and a chip that nobody knows.
    let hopper = "\n[nvidia.hopper]                    # an architecture without a table is refused\nminimum_driver = \"any\"             # or a version, such as \"550.90.07\"\nminimum_vbios = \"any\"              # or a version, such as \"96.00.9F.00.01\"\n";
    let text = policy();
    assert!(text.contains(hopper), "{text}");
    let found = failures(&verdict(&text.replace(hopper, ""), good.items()));
    assert_eq!(found, ["policy.nvidia.architectures"]);
    let unknown = changed(&|device| name_chip(&mut device.tee, "GX100"));
    let found = unknown.judge();
    assert_eq!(
        found,
        ["policy.nvidia.minimum_gpus", "policy.nvidia.architectures", "policy.nvidia.manifests"]
    );
    let mut required = policy();
    set_rule(&mut required, "collateral.revocation_list", "\"required\"");
    let found = failures(&verdict(&required, good.items()));
    assert_eq!(found, ["policy.collateral.revocation_list"; 2], "of the processor, and of the device");
}

/// The keys of the section to start from, as `nonce` and `hopper.minimum_driver`.
fn keys() -> BTreeSet<String> {
    let text: toml::Table = policy().parse().expect("TOML");
    let mut keys = BTreeSet::new();
    for (name, value) in text["nvidia"].as_table().expect("a table") {
        match value.as_table() {
            Some(table) => keys.extend(table.keys().map(|key| format!("{name}.{key}"))),
            None => {
                keys.insert(name.clone());
            }
        }
    }
    keys
}

/// One thing changed at a time, in what came along of devices and manifests.
#[test]
fn each_part_that_is_not_genuine_has_its_own_refusal() {
    let device = Device::new();
    let good = Machine::new(&device);
    let with = |change: &dyn Fn(&mut Machine)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.judge()
    };
    let made = |change: &dyn Fn(&mut Device)| {
        let mut device = device.clone();
        change(&mut device);
        with(&|machine| machine.devices[0] = device.item())
    };
    let manifest = |change: &dyn Fn(&mut Golden)| {
        let mut golden = Golden::driver();
        change(&mut golden);
        with(&|machine| machine.manifests[0] = golden.to_bytes())
    };
    assert_eq!(with(&|_| {}), [""; 0]);
    let without_values =
        |golden: Golden| Golden { resources: vec![resource(0, false, &[[7; 48]])], ..golden };
    assert_eq!(
        with(&|machine| {
            machine.manifests =
                [Golden::driver(), Golden::vbios()].map(|golden| without_values(golden).to_bytes()).to_vec();
        }),
        ["nvidia.measurements"],
        "manifests by which every device would do"
    );
    assert_eq!(with(&|machine| machine.devices[0].report = vec![0x11].into()), ["nvidia.report_format"]);
    let flip = |machine: &mut Machine| {
        let mut bytes = machine.devices[0].report.to_vec();
        bytes[60] ^= 1;
        machine.devices[0].report = bytes.into();
    };
    assert_eq!(with(&flip), ["nvidia.report_signature"]);
    assert_eq!(with(&|machine| machine.devices[0].certificates[1] = vec![0x30].into()), ["chain.format"]);
    assert_eq!(with(&|machine| machine.devices[0].certificates.clear()), ["nvidia.device_certificate"]);
    assert_eq!(with(&|machine| machine.devices[0].certificates.truncate(1)), ["chain.issuer"]);
    assert_eq!(with(&|machine| machine.devices[0].certificates.reverse()), ["nvidia.device_certificate"]);
    assert_eq!(made(&|device| device.tee.leaf.signer = Rsa::Other), ["chain.signature"]);
    assert_eq!(made(&|device| device.tee.leaf.not_after_ms = NOW_MS - DAY_MS), ["chain.time"]);
    assert_eq!(made(&|device| device.tee.leaf.extensions[1].2 = dice(&[0xF2; 48])), ["nvidia.firmware_id"]);
    assert_eq!(
        with(&|machine| machine.devices.push(device.item())),
        ["nvidia.distinct_devices"],
        "one device does not count as two"
    );
    let mut again = device.clone();
    again.report.device_nonce = [0xD2; 32];
    assert_eq!(with(&|machine| machine.devices.push(again.item())), ["nvidia.distinct_devices"]);
    assert_eq!(with(&|machine| machine.manifests[0] = b"<a/>".to_vec()), ["nvidia.manifest_format"]);
    assert_eq!(
        manifest(&|golden| golden.after = vec![("h:Hash0=\"ee", "h:Hash0=\"ef")]),
        ["nvidia.manifest_signature"]
    );
    assert_eq!(
        manifest(&|golden| golden.tee.leaf.extensions[0].2 = vec![3, 2, 2, 4]),
        ["nvidia.manifest_signer"]
    );
    assert_eq!(manifest(&|golden| golden.tee.leaf.not_after_ms = NOW_MS - DAY_MS), ["chain.time"]);
    let error = verdict(&policy(), {
        let mut two = good.clone();
        two.devices.push(other_chip().item());
        two.devices[1].report = vec![0x11].into();
        two.items()
    });
    let text = error.render("machine", Style::plain());
    assert!(text.contains("device 2: "), "{text}");
}

/// The device is genuine, and answered somebody: not the machine whose evidence this is.
#[test]
fn a_device_that_was_asked_for_another_machine_is_refused() {
    let asked = |nonce: [u8; 32]| {
        let mut device = Device::new();
        device.report.nonce = nonce;
        device
    };
    let judge = |device: &Device| Machine::new(device).judge();
    assert_eq!(judge(&asked(*nonce_for(&REPORT_DATA).as_bytes())), [""; 0]);
    for (whose, nonce) in [
        ("another machine's", *nonce_for(&[0x78; 64]).as_bytes()),
        ("of half the report data", *nonce_for(&[0x77; 32]).as_bytes()),
        ("the report data itself", [0x77; 32]),
        ("its digest, without the prefix", *sha256(&REPORT_DATA).as_bytes()),
        ("nobody's", [0; 32]),
    ] {
        assert_eq!(judge(&asked(nonce)), ["policy.nvidia.nonce"], "{whose}");
    }
    // The device stays, and the machine is another one.
    let mut tee = Tee::new(Product::Genoa);
    tee.report.report_data = [0x78; 64].into();
    let items = Machine::new(&Device::new()).beside(&tee);
    let found = failures(&verdict(&policy(), items));
    assert_eq!(found, ["policy.nvidia.nonce", "policy.freshness.report_data"]);
    // One that is bound does not speak for one that is not.
    let mut second = other_chip();
    second.report.nonce = [9; 32];
    let mut two = Machine::new(&Device::new());
    two.devices.push(second.item());
    assert_eq!(two.judge(), ["policy.nvidia.nonce"]);
}

#[test]
fn no_byte_of_a_report_can_be_changed_after_it_was_signed() {
    let good = Machine::new(&Device::new());
    let report = good.devices[0].report.to_vec();
    for at in (0..report.len()).step_by(29) {
        let mut changed = good.clone();
        let mut bytes = report.clone();
        bytes[at] ^= 1;
        changed.devices[0].report = bytes.into();
        let found = failures(&verdict(&alone(), changed.alone()));
        assert!(matches!(found[..], ["nvidia.report_format" | "nvidia.report_signature"]), "{at}: {found:?}");
    }
}

#[test]
fn devices_that_should_be_there_and_are_not_are_refused() {
    let machine = Machine::new(&Device::new());
    let without = |items: Vec<Item>| -> Vec<Item> {
        items.into_iter().filter(|item| !matches!(item, Item::NvidiaDevices(_))).collect()
    };
    assert_eq!(failures(&verdict(&policy(), without(machine.items()))), ["policy.nvidia.minimum_gpus"]);
    // Evidence that is handed over without a bundle has no devices either.
    let tee = Tee::new(Product::Genoa);
    let policy = Policy::parse(&policy()).expect("a policy");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: casemate_crypto::provider(),
    };
    let expectations = Expectations {
        freshness: Freshness::Challenge { report_data: [0x77; 64].into(), made_ms: NOW_MS },
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let report = tee.sign_report();
    let found = verifier.verify_report(report.as_bytes(), &tee.endorsements(), &expectations, NOW_MS);
    assert_eq!(failures(found.verdict()), ["policy.nvidia.minimum_gpus"]);
}

#[test]
fn devices_without_rules_are_not_judged_and_the_verdict_says_so() {
    let mut text = Policy::example(&[Tee::new(Product::Genoa).root_digest()]);
    set_rule(&mut text, "image.measurements", "\"any\"");
    set_rule(&mut text, "workload.digests", "\"any\"");
    let mut machine = Machine::new(&Device::new());
    machine.devices[0].report = vec![1, 2, 3].into();
    let found = verdict(&text, machine.items());
    assert_eq!(found.outcome(), Outcome::Verified, "{:?}", failures(&found));
    assert!(found.not_established().contains(&NotEstablished::Devices));
    assert!(found.claims().expect("claims").devices.is_none());
    // Alone they are what the question is about.
    assert_eq!(failures(&verdict(&text, machine.alone())), ["policy.nvidia"]);
}

#[test]
fn devices_alone_answer_a_challenge_and_show_no_machine() {
    let mut machine = Machine::new(&Device::new());
    let found = verdict(&alone(), machine.alone());
    assert_eq!(found.outcome(), Outcome::Verified, "{:?}", failures(&found));
    let claims = found.claims().expect("claims");
    assert_eq!(claims.platform, Platform::Nvidia);
    let json = serde_json::to_value(claims).expect("JSON");
    assert_eq!(json["signer"]["key"], "device key");
    assert_eq!(json["freshness_slot"]["value"], nonce().to_string());
    assert_eq!(json["nvidia"]["measurements"]["2"], "02".repeat(48));
    assert!(found.not_established().contains(&NotEstablished::Machine));
    // docs/reference/nvidia.md
    assert_eq!(json["measurement"], MEASUREMENT);

    let mut late = Device::new();
    late.report.nonce = [9; 32];
    let found = failures(&verdict(&alone(), Machine::new(&late).alone()));
    assert_eq!(found, ["policy.freshness.report_data"]);
    let mut other = other_chip();
    machine.devices.push(other.item());
    assert_eq!(failures(&verdict(&alone(), machine.alone())), [""; 0]);
    other.report.nonce = [9; 32];
    machine.devices[1] = other.item();
    assert_eq!(failures(&verdict(&alone(), machine.alone())), ["policy.nvidia.nonce"]);
    machine.devices.clear();
    assert_eq!(failures(&verdict(&alone(), machine.alone())), ["bundle.evidence"]);
}

const MEASUREMENT: &str =
    "d213fb88234ca8978999b4635513dc7b6c8370178b4e748bf9d16c2e9cf9058b6219374b13cf8281b4938753f7845616";

#[test]
fn recorded_devices_are_genuine_by_nvidia_s_root_alone() {
    let folder = recorded::root().join("nvidia-report").join("hopper-coco-a");
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no vectors; CI needs them");
        return;
    }
    let vector = recorded::Vector::open(&folder);
    let chain = vector.certificates("cert_chain.pem");
    let device = NvidiaDevice {
        report: vector.file("report.bin").into(),
        certificates: chain.iter().map(|one| one.as_der().to_vec().into()).collect(),
    };
    let mut text = Policy::with_section(&cloud::policy("\n[roots]", &[]), Section::Nvidia);
    set_rule(&mut text, "nvidia.alone", "\"accepted\"");
    set_rule(&mut text, "nvidia.manifests", "\"any\"");
    set_rule(&mut text, "freshness.report_data", "\"any\"");
    let judge = |text: &str| {
        let items = vec![Item::NvidiaDevices(vec![device.clone()])];
        verdict_unasked(text, items, AcceptSimulated::No, 1_780_272_000_000)
    };
    let found = judge(&text);
    assert_eq!(found.outcome(), Outcome::Verified, "{:?}", failures(&found));
    assert_eq!(found.trust_class(), Some(TrustClass::Real));
    let claims = serde_json::to_value(found.claims().expect("claims")).expect("JSON");
    assert_eq!(claims["devices"][0]["architecture"], "hopper");
    assert_eq!(claims["devices"][0]["driver_version"], "550.90.07");
    assert_eq!(claims["root_name"], "NVIDIA Device Identity CA");
    let none = text.replace("nvidia = \"builtin\"", "nvidia = \"none\"");
    let none = none.replace("spki_sha256 = \"none\"", &format!("spki_sha256 = [\"{}\"]", "09".repeat(32)));
    assert_eq!(failures(&judge(&none)), ["chain.root"]);
}

#[test]
fn sections_that_could_accept_nothing_or_anything_are_refused() {
    let with = |key: &str, value: &str| {
        let mut text = policy();
        set_rule(&mut text, key, value);
        Policy::parse(&text).expect_err(key).to_string()
    };
    assert!(with("nvidia.minimum_gpus", "0").contains("at least 1"));
    assert!(with("nvidia.minimum_gpus", "17").contains("0 to 16"));
    assert!(with("nvidia.modes", "[]").contains("empty list"));
    assert!(with("nvidia.modes", "[\"debug\"]").contains("\"multi\""));
    assert!(with("nvidia.nonce", "\"optional\"").contains("`nvidia.nonce`"));
    assert!(with("nvidia.manifests", "\"no\"").contains("`nvidia.manifests`"));
    assert!(with("nvidia.uncompared_measurements", "[\"256\"]").contains("0 to 254"));
    assert!(with("nvidia.hopper.minimum_driver", "\"new\"").contains("a version"));
    assert!(with("roots.nvidia", "\"any\"").contains("`roots.nvidia`"));
    for key in keys() {
        let mut file: toml::Table = policy().parse().expect("TOML");
        let (tables, name) = key
            .rsplit_once('.')
            .map_or(("nvidia".to_owned(), &*key), |(table, name)| (format!("nvidia.{table}"), name));
        let table = tables.split('.').fold(&mut file, |table, part| {
            table.get_mut(part).and_then(toml::Value::as_table_mut).expect("a table")
        });
        table.remove(name).expect("the key is there");
        let text = toml::to_string(&file).expect("TOML");
        let found = Policy::parse(&text).expect_err(&key).to_string();
        assert!(found.contains(&format!("missing field `{name}`")), "{key}: {found}");
    }
    let text = policy();
    let (before, after) = text.split_once("\n[nvidia.hopper]").expect("a table");
    assert!(after.contains("ls10"));
    let found = Policy::parse(before).expect_err("no architecture");
    assert!(matches!(found, PolicyError::Incomplete { missing: "nvidia.hopper", .. }), "{found}");
    let without_root = text.replace("nvidia = \"builtin\"", "");
    let found = Policy::parse(&without_root).expect_err("no roots");
    assert!(matches!(found, PolicyError::Incomplete { missing: "roots.nvidia", .. }), "{found}");
}

/// A caller may trust more roots than the policy.
#[test]
fn recorded_manifests_count_only_under_a_policy_that_names_nvidia() {
    let folder = recorded::root().join("nvidia-rim").join("neg-vbios-mismatch");
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no vectors; CI needs them");
        return;
    }
    let mut machine = Machine::new(&Device::new());
    machine.manifests.push(recorded::Vector::open(&folder).file("rim.xml"));
    let roots = Policy::parse(&policy()).expect("a policy").roots();
    let judge = |text: &str| {
        let policy = Policy::parse(text).expect("a policy");
        let provider = casemate_crypto::provider();
        let verifier =
            Verifier { policy: &policy, roots: &roots, accept_simulated: AcceptSimulated::Yes, provider };
        // 2025-12-01: a day on which the recorded signer's certificate holds.
        let now_ms = NOW_MS - 31 * DAY_MS;
        let expectations = Expectations {
            freshness: Freshness::Challenge { report_data: REPORT_DATA.into(), made_ms: now_ms },
            workload: Workload::Unchecked,
            images: Vec::new(),
            channel: Channel::Unchecked,
        };
        let bundle = casemate_evidence::bundle::Bundle::new(machine.items());
        failures(verifier.verify_bundle(&bundle, None, &expectations, now_ms).verdict())
    };
    assert_eq!(judge(&policy()), [""; 0]);
    let mut none = policy();
    set_rule(&mut none, "roots.nvidia", "\"none\"");
    assert_eq!(judge(&none), ["policy.roots.nvidia"]);
}
