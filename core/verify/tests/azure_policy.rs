//! Confidential VMs of Azure before a policy: recorded reports of TEE and paravisor with the quote of their
//! vTPM, and each way in which the parts are not of one machine.

#[path = "support/cloud.rs"]
mod cloud;
mod recorded;
mod support;

use casemate_evidence::azure::HclReport;
use casemate_evidence::bundle::{Item, TpmKey, TpmQuote};
use casemate_evidence::x509::Certificate;
use casemate_verify::snp::Endorsements;
use casemate_verify::{AcceptSimulated, NotEstablished, Outcome, Policy, Verdict};
use cloud::{Rule, each_rule_is_broken_by_its_row, failures, p256_key, p256_spki, verdict_unasked};
use recorded::{Vector, root};
use support::NOW_MS;
use support::intel::Machine;

const RULES: &str = r#"
[azure]
paravisors = "any"
secure_boot = "required"
console = "any"
vms = "any"
quote = "required"

[tpm]
roots = "none"
keys = "none"
bank = "sha256"
safe_clock = "required"
firmware_versions = "any"

[tpm.pcrs]
others = "any"
"#;

/// Hardware of any age, and a paravisor that asked at any level.
fn lenient() -> String {
    let text: Vec<String> = Policy::hardware_only()
        .lines()
        .map(|line| match line.split(" = ").next().unwrap_or_default() {
            name @ ("fmc" | "bootloader" | "tee" | "snp") => format!("{name} = 0"),
            "microcode" if line.contains("Milan-X") => "microcode = { Milan = 0, Milan-X = 0 }".to_owned(),
            "microcode" if line.contains("Genoa-X") => {
                "microcode = { Genoa = 0, Genoa-X = 0, Bergamo = 0 }".to_owned()
            }
            "microcode" => "microcode = { Turin = 0, Turin-Dense = 0 }".to_owned(),
            "alias_check" => "alias_check = \"any\"".to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    text.join("\n") + RULES
}

fn vector(kind: &str, name: &str) -> Option<Vector> {
    let folder = root().join(kind).join(name);
    if folder.is_dir() {
        return Some(Vector::open(&folder));
    }
    assert!(std::env::var_os("CI").is_none(), "no vectors; CI needs them");
    None
}

/// What one machine handed over.
#[derive(Clone)]
struct Machines {
    hcl: Vec<u8>,
    certificates: Item,
    quote: TpmQuote,
    key: Option<TpmKey>,
    now_ms: u64,
}

/// The recorded VM on Genoa: report, VCEK, quote.
fn genoa() -> Option<Machines> {
    let (hcl, snp) = (vector("azure-hcl", "azure-snp-coco-genoa")?, vector("snp", "genoa-v3-azure")?);
    let chain = Endorsements::parse_with_pem_chain(&snp.file("vcek.der"), &snp.text("cert_chain.pem"));
    Some(Machines {
        hcl: hcl.file("hcl-report.bin"),
        certificates: Item::SnpCertificates(chain.expect("a chain").to_bundle_item()),
        quote: quote_of("azure-snp-coco-genoa")?,
        key: None,
        now_ms: snp.window().middle(),
    })
}

fn quote_of(name: &str) -> Option<TpmQuote> {
    let vector = vector("tpm-quote", name)?;
    let pcrs = casemate_evidence::tpm::read_pcr_json(&vector.file("pcrs.json")).expect("PCR values");
    Some(TpmQuote {
        statement: vector.file("quote.msg").into(),
        signature: vector.file("quote.sig").into(),
        pcrs: pcrs.to_items(),
    })
}

fn judge(policy: &str, items: Vec<Item>, now_ms: u64) -> Verdict {
    verdict_unasked(policy, items, AcceptSimulated::Yes, now_ms)
}

impl Machines {
    fn items(&self) -> Vec<Item> {
        let mut items = vec![
            Item::AzureReport(self.hcl.clone().into()),
            self.certificates.clone(),
            Item::TpmQuote(self.quote.clone()),
        ];
        items.extend(self.key.clone().map(Item::TpmKey));
        items
    }

    fn judge(&self) -> Vec<&'static str> {
        failures(&judge(&lenient(), self.items(), self.now_ms))
    }
}

#[test]
fn recorded_vm_is_one_verdict_with_all_its_layers() {
    let Some(vm) = genoa() else { return };
    let verdict = judge(&lenient(), vm.items(), vm.now_ms);
    assert_eq!(verdict.outcome(), Outcome::Verified, "{:?}", failures(&verdict));
    let claims = serde_json::to_value(verdict.claims().expect("claims")).expect("JSON");
    assert_eq!(claims["platform"], "azure");
    assert_eq!(claims["azure"]["tee_platform"], "snp");
    assert_eq!(claims["azure"]["tee"]["snp"]["product"], "Genoa");
    assert_eq!(claims["azure"]["vm_configuration"]["vmUniqueId"], "390CBCF5-6C67-4D9B-98EF-C3F1699CC8FC");
    assert_eq!(claims["azure"]["tpm"]["voucher"], "tee");
    assert_eq!(claims["signer"]["key"], "VCEK");
    let missing = verdict.not_established();
    assert!(missing.contains(&NotEstablished::Workload));
    assert!(!missing.contains(&NotEstablished::GuestSoftware), "the quote says which");
    let text = verdict.render("vm", casemate_verify::Style::plain());
    for part in ["Azure confidential VM", "Genoa", "paravisor", "24 PCRs of sha256"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn parts_of_two_machines_are_refused_each_by_its_own_code() {
    let Some(vm) = genoa() else { return };
    let with = |change: &dyn Fn(&mut Machines)| {
        let mut changed = vm.clone();
        change(&mut changed);
        changed.judge()
    };
    assert_eq!(with(&|_| {}), [""; 0]);
    // A quote of another vTPM, alone and with its key.
    let other = quote_of("azure-snp-coco-v2").expect("vectors are there");
    assert_eq!(with(&|vm| vm.quote = other.clone()), ["tpm.signature"]);
    let key = TpmKey { public_key: p256_spki(&p256_key(9)).into(), ..TpmKey::empty() };
    assert_eq!(with(&|vm| vm.key = Some(key.clone())), ["azure.other_key"]);
    let own = vector("tpm-quote", "azure-snp-coco-genoa").expect("vectors are there").pem("ak.pub.pem");
    let own = TpmKey { public_key: own[0].clone().into(), ..TpmKey::empty() };
    assert_eq!(with(&|vm| vm.key = Some(own.clone())), [""; 0]);
    // A value that the TPM did not quote.
    let changed = quote_of("neg-azure-pcr7").expect("vectors are there");
    assert_eq!(with(&|vm| vm.quote = changed.clone()), ["tpm.pcr_digest"]);
    // Runtime data of another VM below this VM's report.
    let report = HclReport::parse(&vm.hcl).expect("a report");
    let at = vm.hcl.windows(9).position(|part| part == b"vmUniqueI").expect("runtime data") + 14;
    assert_eq!(with(&|vm| vm.hcl[at] ^= 1), ["azure.binding"]);
    assert_eq!(report.tee_report.len(), 1184);
    // The report of another chip.
    assert_eq!(with(&|vm| vm.hcl[32 + 0x90] ^= 1), ["snp.report_signature"]);
}

/// Header, report and what is around them: a row per field, in their order and without a gap, so that no byte of it is
/// without a row.
#[test]
fn each_field_of_azures_report_has_its_own_refusal() {
    let Some(vm) = genoa() else { return };
    let used = HclReport::parse(&vm.hcl).expect("a report").report_size as usize;
    // Name, length, which byte is changed by what, and what is refused.
    let rows: [(&str, usize, usize, u8, &str); 14] = [
        ("signature", 4, 0, 0x40, "azure.report_format"),
        ("version", 4, 0, 0x40, "azure.report_format"),
        ("report_size", 4, 0, 0x40, "azure.report_format"),
        ("request_type", 4, 0, 0x40, "azure.report_format"),
        ("status", 4, 0, 0x40, "azure.report_format"),
        ("reserved", 12, 11, 0x40, "azure.report_format"),
        ("tee_report", 1184, 0x2A0, 0x40, "snp.report_signature"),
        ("data_size", 4, 0, 0x40, "azure.report_format"),
        ("data_version", 4, 0, 0x40, "azure.report_format"),
        ("report_type", 4, 0, 0x40, "azure.report_format"),
        // 1 is SHA-256; 3, SHA-512, is defined as well.
        ("hash_type", 4, 0, 2, "azure.binding"),
        ("variable_data_size", 4, 0, 0x40, "azure.report_format"),
        ("runtime_data", used - 1236, 0, 0x40, "azure.binding"),
        ("padding", vm.hcl.len() - used, 0, 0x40, "azure.report_format"),
    ];
    let mut start = 0;
    for (field, len, at, change, expected) in rows {
        let mut changed = vm.clone();
        changed.hcl[start + at] ^= change;
        assert_eq!(changed.judge(), [expected], "{field}");
        start += len;
    }
    assert_eq!(start, vm.hcl.len(), "bytes without a row");
}

#[test]
fn each_rule_refuses_what_it_speaks_of() {
    let Some(vm) = genoa() else { return };
    let other = format!("[\"{}\"]", "09".repeat(48));
    let rows: [Rule<'_>; 5] = [
        ("azure.paravisors", other.clone(), &["policy.azure.paravisors"]),
        ("azure.secure_boot", "\"forbidden\"".to_owned(), &["policy.azure.secure_boot"]),
        ("azure.console", "\"forbidden\"".to_owned(), &["policy.azure.console"]),
        ("azure.vms", "[\"other\"]".to_owned(), &["policy.azure.vms"]),
        ("azure.quote", "\"required\"".to_owned(), &["policy.azure.quote"]),
    ];
    let without_quote = || vec![Item::AzureReport(vm.hcl.clone().into()), vm.certificates.clone()];
    each_rule_is_broken_by_its_row(&lenient(), &["azure"], &rows, |rule, policy| {
        let items = if rule == Some("azure.quote") { without_quote() } else { vm.items() };
        failures(&judge(policy, items, vm.now_ms))
    });
    // Rules of the TPM and of images hold for what is in an Azure VM as well.
    let with = |from: &str, to: &str| {
        let text = lenient();
        assert!(text.contains(from), "{from}");
        failures(&judge(&text.replace(from, to), vm.items(), vm.now_ms))
    };
    let pcr = format!("[tpm.pcrs]\n7 = [\"{}\"]", "09".repeat(32));
    assert_eq!(with("[tpm.pcrs]", &pcr), ["policy.tpm.pcrs"]);
    assert_eq!(
        with("measurements = \"any\"", &format!("measurements = {other}")),
        ["policy.image.measurements"]
    );
}

#[test]
fn what_no_rule_speaks_of_is_refused_or_said_to_be_open() {
    let Some(vm) = genoa() else { return };
    let without_quote = vec![Item::AzureReport(vm.hcl.clone().into()), vm.certificates.clone()];
    let text = lenient().replace("quote = \"required\"", "quote = \"any\"");
    let found = judge(&text, without_quote, vm.now_ms);
    assert_eq!(found.outcome(), Outcome::Verified);
    assert!(found.not_established().contains(&NotEstablished::GuestSoftware));

    // No rules of Azure, or none of its TEE: by name.
    let (_, rest) = RULES.split_once("[tpm]").expect("a table");
    let text = lenient().replace(RULES, &format!("\n[tpm]{rest}"));
    assert_eq!(failures(&judge(&text, vm.items(), vm.now_ms)), ["policy.azure"]);
    let text = format!("version = 1\n[roots]\n{RULES}{}", common());
    assert_eq!(failures(&judge(&text, vm.items(), vm.now_ms)), ["policy.snp"]);
}

fn common() -> String {
    let digest = "09".repeat(32);
    format!(
        "[simulated_roots]\nspki_sha256 = [\"{digest}\"]\n[image]\nmeasurements = \"any\"\n\
         [workload]\ndigests = \"any\"\napps = \"none\"\n\
         [collateral]\nrevocation_list = \"optional\"\nmaximum_age_days = \"any\"\n\
         [freshness]\nreport_data = \"any\"\nmaximum_age_seconds = 300\n"
    )
}

/// A recorded report of TDX with the recorded quote of its vTPM; the TDX quote, which is not recorded, is a
/// simulated machine's.
#[test]
fn a_vm_on_tdx_needs_the_quote_of_its_trust_domain() {
    let Some(hcl) = vector("azure-hcl", "azure-tdx-flashbots-a") else { return };
    let bytes = hcl.file("hcl-report.bin");
    let report = HclReport::parse(&bytes).expect("a report");
    let quote = quote_of("azure-tdx-flashbots-a").expect("vectors are there");
    let policy = |machine: &Machine| {
        lenient().replace("spki_sha256 = \"none\"", &format!("spki_sha256 = [\"{}\"]", machine.root_digest()))
    };
    let items = |machine: &Machine| {
        vec![
            Item::AzureReport(bytes.clone().into()),
            Item::TdxQuote(machine.quote().into()),
            Item::IntelCollateral(machine.collateral().to_bundle_item()),
            Item::TpmQuote(quote.clone()),
        ]
    };
    let mut machine = Machine::tdx();
    machine.td().report_data = report.binding();
    let found = judge(&policy(&machine), items(&machine), NOW_MS);
    assert_eq!(found.outcome(), Outcome::Verified, "{:?}", failures(&found));
    let claims = serde_json::to_value(found.claims().expect("claims")).expect("JSON");
    assert_eq!(claims["azure"]["tee_platform"], "tdx");

    let without = items(&machine).into_iter().filter(|item| !matches!(item, Item::TdxQuote(_))).collect();
    assert_eq!(failures(&judge(&policy(&machine), without, NOW_MS)), ["azure.tdx_quote"]);
    let mut other = machine.clone();
    other.td().report_data = [0x78; 64].into();
    assert_eq!(failures(&judge(&policy(&other), items(&other), NOW_MS)), ["azure.binding"]);
}

/// The recorded certificate of Azure's vTPM counts where the policy lists Microsoft's root, and says that no
/// TEE is shown.
#[test]
fn a_recorded_certificate_of_azure_vouches_for_a_quote_by_itself() {
    let Some(vector) = vector("tpm-quote", "azure-tdx-flashbots-a") else { return };
    let der = |name: &str| -> Vec<Certificate> { vector.certificates(name) };
    let certificates: Vec<Certificate> =
        ["ak.cert.pem", "ak.intermediates.pem", "roots.pem"].into_iter().flat_map(der).collect();
    let now_ms = certificates[0].not_before_ms() + 1000;
    let key = TpmKey {
        certificates: certificates.iter().map(|one| one.as_der().to_vec().into()).collect(),
        ..TpmKey::empty()
    };
    let text = lenient().replace(
        "roots = \"none\"\nkeys",
        &format!("roots = [\"{}\"]\nkeys", casemate_verify::azure::ROOTS[0]),
    );
    let items = || {
        vec![Item::TpmQuote(quote_of("azure-tdx-flashbots-a").expect("a quote")), Item::TpmKey(key.clone())]
    };
    let found = judge(&text, items(), now_ms);
    assert_eq!(found.outcome(), Outcome::Verified, "{:?}", failures(&found));
    assert!(found.not_established().contains(&NotEstablished::Tee));
    assert_eq!(failures(&judge(&lenient(), items(), now_ms)), ["chain.root"]);
}
