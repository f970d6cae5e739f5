//! Are simulated TDX quotes what a platform of Intel's would make of the launch, and are they accepted only
//! where somebody lists their root?

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use casemate_crypto::hash::{Sha256, sha384};
use casemate_evidence::bundle::{Bundle, IntelCollateral, Item};
use casemate_evidence::intel::{Body, Quote, QuoteVersion};
use casemate_evidence::tdx::LaunchRegisters;
use casemate_measure::kernel_hashes::qemu_patched_kernel;
use casemate_measure::tdx::boot::{self, BootSeparator, DirectBoot, InitrdOption, SETUP_OPTION};
use casemate_measure::tdx::firmware::{PageOrder, TdxFirmware};
use casemate_measure::tdx::hob;
use casemate_verify::intel::Collateral;
use casemate_verify::{
    AcceptSimulated, Channel, Code, Expectations, Freshness, Outcome, Policy, ReferenceValue, TrustClass,
    Verdict, Verifier, Workload,
};
use serde_json::Value;
use support::{entry, now_ms, request, simtee, text, words};

const WORKLOAD: &str = "9c00000000000000000000000000000000000000000000000000000000000099";
const CMDLINE: &str = "console=ttyS0";
const REPORT_DATA: [u8; 64] = [0x77; 64];

#[test]
fn a_quote_says_what_was_launched_and_verifies_under_the_simulated_root() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::start(folder.path(), &[]);
    let quote = signer.quote(REPORT_DATA);
    let parsed = Quote::parse(&quote).unwrap();
    assert_eq!(parsed.version(), QuoteVersion::V4);
    let Body::Tdx(report) = parsed.body() else { panic!("of an enclave") };
    assert_eq!(report.launch_registers(), registers());
    assert_eq!(report.workload_slot().map(Sha256::from).unwrap().to_string(), WORKLOAD);
    assert_eq!(report.rtmr(3).as_bytes(), &[0; 48]);
    for (member, found) in [("mrtd", report.mr_td()), ("rtmr0", report.rtmr(0)), ("rtmr2", report.rtmr(2))] {
        assert_eq!(signer.ready[member], found.to_string(), "{member}");
    }
    assert_eq!(signer.ready["measurement"], registers().launch_measurement().to_string());

    let verdict = signer.verdict(&listing(), AcceptSimulated::Yes);
    assert_eq!(verdict.outcome(), Outcome::Verified, "{:?}", failures(&verdict));
    assert_eq!(verdict.trust_class(), Some(TrustClass::Simulated));
}

#[test]
fn no_policy_of_production_accepts_a_simulated_quote() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::start(folder.path(), &[]);
    for (policy, name) in [
        (Policy::example(&[]), "Intel's root only"),
        (Policy::example(&[key("key_digest")]), "the root in place of AMD's is not the one of Intel's"),
        (Policy::hardware_only(), "any image, any workload"),
    ] {
        let verdict = signer.verdict(&policy, AcceptSimulated::Yes);
        assert_eq!(verdict.outcome(), Outcome::NotGenuine, "{name}");
        assert_eq!(failures(&verdict), [Code::IntelRootKey], "{name}");
    }
    let verdict = signer.verdict(&listing(), AcceptSimulated::No);
    assert_eq!(verdict.outcome(), Outcome::Refused);
    assert_eq!(failures(&verdict), [Code::SimulationAccepted]);
}

/// Header, report and signature data of a quote of version 4 (Quoting Library API, A.3), then collateral.
#[test]
fn each_field_is_covered_by_a_signature() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::start(folder.path(), &[]);
    let (quote, collateral) = (signer.quote(REPORT_DATA), signer.collateral());
    use Code as C;
    let fields: [(&str, usize, Code); 38] = [
        ("version", 0, C::QuoteFormat),
        ("attestation key type", 2, C::QuoteFormat),
        ("TEE type", 4, C::QuoteFormat),
        ("reserved", 8, C::QuoteFormat),
        ("QE vendor", 12, C::QuoteFormat),
        ("user data", 28, C::QuoteSignature),
        ("TEE_TCB_SVN", 48, C::QuoteSignature),
        ("MRSEAM", 48 + 16, C::QuoteSignature),
        ("MRSIGNERSEAM", 48 + 64, C::QuoteSignature),
        ("SEAMATTRIBUTES", 48 + 112, C::QuoteSignature),
        ("TDATTRIBUTES", 48 + 120, C::QuoteSignature),
        ("XFAM", 48 + 128, C::QuoteSignature),
        ("MRTD", 48 + 136, C::QuoteSignature),
        ("MRCONFIGID", 48 + 184, C::QuoteSignature),
        ("MROWNER", 48 + 232, C::QuoteSignature),
        ("MROWNERCONFIG", 48 + 280, C::QuoteSignature),
        ("RTMR 0", 48 + 328, C::QuoteSignature),
        ("RTMR 1", 48 + 376, C::QuoteSignature),
        ("RTMR 2", 48 + 424, C::QuoteSignature),
        ("RTMR 3", 48 + 472, C::QuoteSignature),
        ("REPORTDATA", 48 + 520, C::QuoteSignature),
        ("length of signature data", 632, C::QuoteFormat),
        ("signature", 636, C::QuoteSignature),
        ("attestation key", 700, C::AttestationKey),
        ("kind of certification data", 764, C::QuoteFormat),
        ("its length", 766, C::QuoteFormat),
        ("QE CPUSVN", 770, C::QeReportSignature),
        ("QE ATTRIBUTES", 770 + 48, C::QeReportSignature),
        ("QE MRENCLAVE", 770 + 64, C::QeReportSignature),
        ("QE MRSIGNER", 770 + 128, C::QeReportSignature),
        ("QE ISVPRODID", 770 + 256, C::QeReportSignature),
        ("QE ISVSVN", 770 + 258, C::QeReportSignature),
        ("QE REPORTDATA", 770 + 320, C::QeReportSignature),
        ("QE report's signature", 1154, C::QeReportSignature),
        ("length of authentication data", 1218, C::QuoteFormat),
        ("authentication data", 1220, C::AttestationKey),
        ("length of certificates", 1254, C::QuoteFormat),
        ("certificates", 1258, C::PckChainPresent),
    ];
    for (name, offset, expected) in fields {
        let mut changed = quote.clone();
        changed[offset] ^= 1;
        let verdict = verdict(changed, collateral.clone(), &listing(), AcceptSimulated::Yes);
        assert_eq!((verdict.outcome(), failures(&verdict)), (Outcome::NotGenuine, vec![expected]), "{name}");
    }
    for (name, change, expected) in collateral_fields() {
        let mut changed = collateral.clone();
        change(&mut changed);
        let verdict = verdict(quote.clone(), changed, &listing(), AcceptSimulated::Yes);
        assert_eq!((verdict.outcome(), failures(&verdict)), (Outcome::NotGenuine, vec![expected]), "{name}");
    }
}

type Change = fn(&mut IntelCollateral);

/// Each member of the collateral but `pck_chain`, which a quote with certificates does not need.
fn collateral_fields() -> Vec<(&'static str, Change, Code)> {
    fn last(bytes: &mut [u8]) {
        *bytes.last_mut().unwrap() ^= 1;
    }
    fn better(document: &[u8]) -> Vec<u8> {
        let text = String::from_utf8(document.to_vec()).unwrap();
        assert!(text.contains("OutOfDate"));
        text.replace("OutOfDate", "UpToDate").into_bytes()
    }
    fn flipped(signature: casemate_crypto::sign::Signature) -> casemate_crypto::sign::Signature {
        let mut bytes = *signature.as_bytes();
        bytes[40] ^= 1;
        bytes.into()
    }
    use Code as C;
    vec![
        ("TCB info", |it| it.tcb_info = better(&it.tcb_info).into(), C::TcbInfoSignature),
        ("its signature", |it| it.tcb_info_signature = flipped(it.tcb_info_signature), C::TcbInfoSignature),
        ("its signer", |it| last(&mut it.tcb_info_signer), C::IntelCertificateSignature),
        ("QE identity", |it| it.qe_identity = better(&it.qe_identity).into(), C::QeIdentitySignature),
        (
            "its signature",
            |it| it.qe_identity_signature = flipped(it.qe_identity_signature),
            C::QeIdentitySignature,
        ),
        ("its signer", |it| last(&mut it.qe_identity_signer), C::IntelCertificateSignature),
        ("root", |it| last(&mut it.root), C::IntelCertificateSignature),
        ("root's list", |it| last(&mut it.root_revocation_list), C::IntelCertificateSignature),
        ("authority's list", |it| last(&mut it.pck_revocation_list), C::IntelCertificateSignature),
    ]
}

#[test]
fn another_launch_is_another_quote() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    std::fs::write(&other, b"another").unwrap();
    let mut firmware = firmware();
    firmware[5000] ^= 1;
    let other_firmware = folder.path().join("other-firmware");
    std::fs::write(&other_firmware, firmware).unwrap();
    let mut kernel = kernel();
    kernel[0x700] ^= 1;
    let other_kernel = folder.path().join("other-kernel");
    std::fs::write(&other_kernel, kernel).unwrap();
    let zeros = "0".repeat(64);
    for (option, value, expected) in [
        ("--firmware", text(&other_firmware), Code::Measurement),
        ("--kernel", text(&other_kernel), Code::Measurement),
        ("--initrd", text(&other), Code::Measurement),
        ("--cmdline", "console=ttyS1", Code::Measurement),
        ("--memory-mib", "2048", Code::Measurement),
        ("--acpi-loader", text(&other), Code::Measurement),
        ("--acpi-rsdp", text(&other), Code::Measurement),
        ("--acpi-tables", text(&other), Code::Measurement),
        ("--workload-digest", &zeros, Code::ExpectedWorkload),
        ("--td-attributes", "0x10000001", Code::TdDebug),
        ("--td-attributes", "0", Code::TdSeptVeDisable),
    ] {
        let place = tempfile::tempdir().unwrap();
        let signer = Signer::start(place.path(), &[option, value]);
        let verdict = signer.verdict(&listing(), AcceptSimulated::Yes);
        assert_eq!((verdict.outcome(), failures(&verdict)), (Outcome::Refused, vec![expected]), "{option}");
    }
}

#[test]
fn what_cannot_be_launched_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, support::firmware()).unwrap();
    let files = Files::write(folder.path());
    for (option, value, expected) in [
        ("--firmware", text(&plain), "TDX metadata offset"),
        ("--firmware", "/nowhere", "cannot open /nowhere"),
        ("--kernel", text(&plain), "expected a Linux bzImage"),
        ("--td-attributes", "0x2", "reserved bits 0x2"),
        ("--workload-digest", "00", "expected 64 hexadecimal digits"),
        ("--acpi-tables", "/nowhere", "cannot open /nowhere"),
        ("--state", "/nowhere", "cannot read /nowhere"),
    ] {
        let output = simtee(
            &arguments(&folder.path().join("socket"), &files, &[option, value])
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        );
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(expected), "{option} {value}: {error}");
    }
}

#[test]
fn what_hardware_refuses_has_no_quote() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::start(folder.path(), &[]);
    for vmpl in [1, 3, u32::MAX] {
        assert_eq!(signer.ask(&request([1; 64], vmpl)), Vec::<u8>::new(), "VMPL {vmpl}");
    }
    for offset in 68..96 {
        let mut reserved = request([1; 64], 0);
        reserved[offset] = 1;
        assert_eq!(signer.ask(&reserved), Vec::<u8>::new(), "reserved byte {offset}");
    }
}

#[test]
fn names_of_a_simulated_platform_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::start(folder.path(), &[]);
    let collateral = signer.collateral();
    let quote = Quote::parse(&signer.quote(REPORT_DATA)).unwrap();
    let mut named: Vec<Vec<u8>> =
        [&collateral.tcb_info_signer, &collateral.root, &collateral.root_revocation_list]
            .iter()
            .map(|der| der.to_vec())
            .collect();
    named.push(collateral.pck_revocation_list.to_vec());
    let chain = quote.signature().certification.certificates().unwrap();
    assert_eq!(chain.len(), 3);
    named.extend(chain.iter().map(|certificate| certificate.as_der().to_vec()));
    for der in named {
        let label = b"SIMULATED TEE WITHOUT CONFIDENTIALITY";
        assert!(der.windows(label.len()).any(|part| part == label));
    }
    let root = Collateral::from_bundle_item(&collateral).unwrap().root;
    assert!(root.subject_common_name().starts_with("SIMULATED Intel SGX Root CA casemate-sim "));
    assert_eq!(root.public_key_digest(), key("intel_key_digest"));
}

/// What is verified: a bundle with quote and collateral, over the wire and back.
fn verdict(quote: Vec<u8>, collateral: IntelCollateral, policy: &str, accept: AcceptSimulated) -> Verdict {
    let policy = Policy::parse(policy).unwrap();
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: accept,
        provider: casemate_crypto::provider(),
    };
    let expectations = Expectations {
        freshness: Freshness::Challenge { report_data: REPORT_DATA.into(), made_ms: now_ms() },
        workload: Workload::Digest { digest: WORKLOAD.parse().unwrap(), source: "a test".to_owned() },
        images: vec![ReferenceValue {
            image: "image 1".to_owned(),
            measurement: registers().launch_measurement().into(),
            source: "a test".to_owned(),
        }],
        channel: Channel::Unchecked,
    };
    let bundle = Bundle::new([Item::TdxQuote(quote.into()), Item::IntelCollateral(collateral)]);
    let bundle = Bundle::parse(&bundle.to_bytes()).unwrap();
    verifier.verify_bundle(&bundle, None, &expectations, now_ms()).verdict().clone()
}

fn failures(verdict: &Verdict) -> Vec<Code> {
    verdict.failures().map(|check| check.code).collect()
}

/// A policy that lists the root in place of Intel's.
fn listing() -> String {
    Policy::example(&[key("intel_key_digest")])
}

/// A digest that `root show` names.
fn key(member: &str) -> Sha256 {
    let shown = simtee(&["root", "show", "--json", "--state", text(&support::root())]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    shown[member].as_str().unwrap().parse().unwrap()
}

/// A process that signs quotes.
struct Signer {
    process: Child,
    socket: PathBuf,
    ready: Value,
}

impl Signer {
    fn start(folder: &Path, extra: &[&str]) -> Self {
        let socket = folder.join("socket");
        let mut process = Command::new(env!("CARGO_BIN_EXE_casemate-simtee"))
            .args(arguments(&socket, &Files::write(folder), extra))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(ready["ready"], true);
        Signer { process, socket, ready }
    }

    /// The bytes behind the length.
    fn ask(&self, request: &[u8; 96]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn quote(&self, report_data: [u8; 64]) -> Vec<u8> {
        self.ask(&request(report_data, 0))
    }

    fn collateral(&self) -> IntelCollateral {
        let bundle = Bundle::parse(&self.ask(&request([0; 64], u32::MAX))).unwrap();
        assert_eq!(bundle.items().len(), 1);
        bundle.intel_collateral().unwrap().clone()
    }

    fn verdict(&self, policy: &str, accept: AcceptSimulated) -> Verdict {
        verdict(self.quote(REPORT_DATA), self.collateral(), policy, accept)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Arguments of `serve-tdx`; those in `extra` replace others of the same name.
fn arguments(socket: &Path, files: &Files, extra: &[&str]) -> Vec<String> {
    let mut pairs = vec![
        ("--state", support::root().to_str().unwrap().to_owned()),
        ("--socket", text(socket).to_owned()),
        ("--firmware", text(&files.firmware).to_owned()),
        ("--kernel", text(&files.kernel).to_owned()),
        ("--initrd", text(&files.initrd).to_owned()),
        ("--cmdline", CMDLINE.to_owned()),
        ("--memory-mib", "1024".to_owned()),
        ("--workload-digest", WORKLOAD.to_owned()),
    ];
    for pair in extra.chunks(2) {
        pairs.retain(|(name, _)| *name != pair[0]);
        pairs.push((pair[0], pair[1].to_owned()));
    }
    let pairs = pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    std::iter::once("serve-tdx".to_owned()).chain(pairs).collect()
}

/// The files of a launch.
struct Files {
    firmware: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Files {
    fn write(folder: &Path) -> Self {
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        Files {
            firmware: file("firmware", &firmware()),
            kernel: file("kernel", &kernel()),
            initrd: file("initrd", INITRD),
        }
    }
}

const INITRD: &[u8] = b"initrd";

/// The registers of the launch of these files, computed here.
fn registers() -> LaunchRegisters {
    let bytes = firmware();
    let firmware = TdxFirmware::parse(&bytes).unwrap();
    let nothing = sha384(&[]);
    DirectBoot {
        mrtd: firmware.mrtd(PageOrder::PageByPage),
        hand_off: hob::digest(&firmware, 1024).unwrap(),
        configuration_volume: firmware.configuration_volume_digest().unwrap(),
        secure_boot: Default::default(),
        acpi: [nothing; 3],
        boot_options: vec![SETUP_OPTION],
        separator: BootSeparator::Rtmr1,
        kernel: boot::kernel(&qemu_patched_kernel(&kernel(), INITRD.len() as u32, 1024).unwrap()).unwrap(),
        load_options: Some(boot::load_options(CMDLINE, InitrdOption::InFront)),
        initrd: Some(sha384(INITRD)),
    }
    .registers()
}

/// Three pages of firmware with a TDVF descriptor, as edk2 lays it out.
fn firmware() -> Vec<u8> {
    const SIZE: usize = 3 * 4096;
    const FROM_END: u32 = 1024;
    let mut bytes = vec![0x90; SIZE];
    let mut descriptor = b"TDVF".to_vec();
    descriptor.extend(words(&[16 + 32 * 4, 1, 4]));
    // Offset, length, address, size, kind, attributes: code, variables, hand-off block, temporary.
    for (offset, length, address, size, kind, attributes) in [
        (4096, 8192, 0xFFFF_E000_u64, 8192_u64, 0, 1),
        (0, 4096, 0xFFFF_D000, 4096, 1, 0),
        (0, 0, 0x80_9000, 0x2000, 2, 0),
        (0, 0, 0x81_0000, 0x1000, 3, 0),
    ] {
        descriptor.extend(words(&[offset, length]));
        descriptor.extend(address.to_le_bytes());
        descriptor.extend(size.to_le_bytes());
        descriptor.extend(words(&[kind, attributes]));
    }
    let table = entry(&[FROM_END], 0xe47a6535_984a_4798_865e_4685a7bf8ec2, None);
    let footer = entry(&[], 0x96b582de_1fb2_45f7_baea_a366c55a082d, Some(table.len() + 18));
    let table = [table, footer].concat();
    bytes[SIZE - 32 - table.len()..SIZE - 32].copy_from_slice(&table);
    bytes[SIZE - FROM_END as usize..][..descriptor.len()].copy_from_slice(&descriptor);
    bytes
}

/// A bzImage that is a program of UEFI as well, with two sections.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![0; 0xA00];
    let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
    put(0, b"MZ");
    put(0x3C, &words(&[0x300]));
    put(0x202, b"HdrS");
    put(0x206, &[0x0F, 0x02]); // boot protocol
    put(0x211, &[1]); // loaded high
    put(0x22C, &words(&[0x7FFF_FFFF])); // highest address of the initrd
    put(0x300, b"PE\0\0");
    put(0x304, &[0x64, 0x86, 2, 0]);
    put(0x314, &[0xF0, 0]);
    put(0x318, &[0x0B, 0x02]);
    put(0x318 + 60, &words(&[0x600])); // headers
    put(0x318 + 108, &words(&[16]));
    for (index, (name, start)) in [(b".text\0\0\0", 0x600), (b".data\0\0\0", 0x800)].iter().enumerate() {
        put(0x408 + 40 * index, *name);
        put(0x408 + 40 * index + 8, &words(&[0x1F0, 0x1000, 0x200, *start]));
    }
    bytes
}
