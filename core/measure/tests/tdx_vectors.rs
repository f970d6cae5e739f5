//! Do hand-off blocks, boot events and register rules agree with logs and quotes of real hardware?
//!
//! Reads every event log below `$CASEMATE_VECTORS/ccel`, and of the launch measurements those that are not
//! of AMD platforms. The logs were recorded on machines whose files are not public: what cannot be computed
//! without them (the kernel's digest, ACPI tables) is taken from the log, everything else is computed.

use std::path::{Path, PathBuf};

use casemate_crypto::hash::{HashAlgorithm, Sha384};
use casemate_evidence::Measurement;
use casemate_evidence::eventlog::{Event, EventLog};
use casemate_evidence::intel::{Body, Quote};
use casemate_measure::pe::PeFile;
use casemate_measure::tdx::boot::{BootSeparator, DirectBoot, SETUP_OPTION};
use casemate_measure::tdx::hob;
use casemate_measure::uki;
use serde_json::Value;

#[test]
fn vector_hand_off_blocks_are_reproduced() {
    let mut found = Vec::new();
    each_log(|name, log, _| {
        let Some(first) = in_register(log, 1).first().map(|event| digest(event)) else { return };
        // The size of memory is not in the log: some size must give the digest, and only this one can.
        let memory = (1..=256).map(|step| step * 256);
        found.extend(memory.filter(|mib| hand_off(*mib) == first).map(|mib| (name.to_owned(), mib)));
    });
    found.sort();
    println!("{found:?}");
    if !found.is_empty() || vectors("ccel").is_some() {
        for expected in [("coco-grub", 10240), ("coco-ovmf", 2048), ("eventlog-unpadded", 8192)] {
            assert!(found.iter().any(|(name, mib)| (name.as_str(), *mib) == expected), "{expected:?}");
        }
    }
}

#[test]
fn vector_registers_of_direct_boots_are_reproduced() {
    let mut checked = Vec::new();
    each_log(|name, log, fields| {
        let Some(boot) = direct_boot(log) else { return };
        let registers = boot.registers();
        let replayed = &fields["replayed_registers"];
        for (register, found) in
            [("rtmr0", registers.rtmr0), ("rtmr1", registers.rtmr1), ("rtmr2", registers.rtmr2)]
        {
            if let Some(expected) = replayed[register].as_str() {
                assert_eq!(found.to_string(), expected, "{name}: {register}");
            }
        }
        checked.push(name.to_owned());
    });
    checked.sort();
    println!("{checked:?}");
    if vectors("ccel").is_some() {
        for expected in ["coco-ovmf", "dstack"] {
            assert!(checked.iter().any(|name| name == expected), "{expected} is a direct boot");
        }
    }
}

#[test]
fn vector_launch_measurements_of_other_platforms_are_reproduced() {
    let Some(root) = vectors("launch-measurement") else { return };
    let mut checked = 0;
    for folder in folders(&root) {
        let json = json(&folder);
        let platform = json["platform"].as_str().expect("a platform");
        let file = |name: &str| std::fs::read(folder.join(name)).expect("a file of the vector");
        if platform.starts_with("AMD SEV") {
            continue; // `vectors.rs`
        } else if platform.contains("UKI") {
            let image = file("uki.efi");
            let image = PeFile::parse(&image).expect("a PE file");
            let found = uki::pcr_11(&image, HashAlgorithm::Sha256, &[]);
            assert_eq!(found.to_string(), json["expected"]["pcr11_sha256"], "{}", folder.display());
            for (name, section) in json["fields"]["sections"].as_object().expect("sections") {
                let found = image.sections().iter().find(|found| found.name() == name.as_bytes());
                let content = found.unwrap_or_else(|| panic!("no section {name}")).content();
                assert_eq!(content.len() as u64, section["size"], "{name}");
                let digest = casemate_crypto::hash::sha256(content);
                assert_eq!(digest.to_string(), section["sha256"], "{name}");
            }
        } else if platform.contains("TDX") {
            // The firmware's file is not public; what its maker states of it must be what the hardware
            // measured.
            let quote = Quote::parse(&file("quote.bin")).expect("a quote");
            let Body::Tdx(report) = quote.body() else { panic!("a quote of TDX") };
            let stated = String::from_utf8(file("firmware.yaml")).expect("text");
            let mrtd = report.mr_td().to_string();
            assert_eq!(mrtd, json["expected"]["mrtd"], "{}", folder.display());
            assert_eq!(mrtd, json["fields"]["mrtd_in_quote"]);
            let after = stated.split("mrtd:").nth(1).expect("the file states MRTD");
            assert_eq!(after.split_whitespace().nth(1), Some(mrtd.as_str()));
        } else {
            panic!("{}: platform {platform:?} is unknown to this test", folder.display());
        }
        checked += 1;
    }
    assert!(checked > 0, "{} holds no vector of another platform", root.display());
}

/// What OVMF builds say of temporary memory (OvmfPkg/IntelTdx, the TDVF descriptor).
fn hand_off(memory_mib: u32) -> Sha384 {
    let ready = [(0x80_0000, 0x6000), (0x80_9000, 0x2000), (0x80_B000, 0x2000), (0x81_0000, 0x1_0000)];
    casemate_crypto::hash::sha384(&hob::list(0x80_9000, &ready, memory_mib))
}

/// The inputs of a direct boot, if the log is of one: three ACPI events, one program, known actions.
fn direct_boot(log: &EventLog) -> Option<DirectBoot> {
    const ACPI: u32 = 0x0A;
    const PROGRAM: u32 = 0x8000_0003;
    const STUB: u32 = 0x06;
    let of_kind = |register, kind| -> Vec<Sha384> {
        in_register(log, register).into_iter().filter(|event| event.kind.0 == kind).map(digest).collect()
    };
    let first = in_register(log, 1);
    let [hand_off, configuration_volume] = [first.first()?, first.get(1)?].map(|event| digest(event));
    let [kernel] = of_kind(2, PROGRAM)[..] else { return None };
    let acpi: [Sha384; 3] = of_kind(1, ACPI).try_into().ok()?;
    let in_stub = of_kind(3, STUB);
    // Boot options as they were found: this one starts the kernel that the VMM handed over.
    let boot_variables = in_register(log, 1).iter().filter(|event| event.kind.0 == 0x8000_0002).count();
    if boot_variables != 2 || in_stub.len() > 2 {
        return None;
    }
    Some(DirectBoot {
        mrtd: Measurement::from([0; 48]),
        hand_off,
        configuration_volume,
        secure_boot: secure_boot(log)?,
        acpi,
        boot_options: vec![SETUP_OPTION],
        separator: match of_kind(2, 0x04).len() {
            0 => BootSeparator::Rtmr0,
            _ => BootSeparator::Rtmr1,
        },
        kernel,
        load_options: in_stub.first().copied(),
        initrd: in_stub.get(1).copied(),
    })
}

/// Contents of the variables that say how secure boot is set up, as the machine's store had them.
fn secure_boot(log: &EventLog) -> Option<[Vec<u8>; 5]> {
    const VARIABLE: u32 = 0x8000_0001;
    let variables = in_register(log, 1).into_iter().filter(|event| event.kind.0 == VARIABLE);
    let contents: Vec<Vec<u8>> = variables
        .map(|event| {
            // UEFI_VARIABLE_DATA: GUID, number of characters, length of the content, name, content.
            let characters = u64::from_le_bytes(event.data[16..24].try_into().expect("eight bytes"));
            event.data[32 + 2 * characters as usize..].to_vec()
        })
        .collect();
    contents.try_into().ok()
}

fn in_register(log: &EventLog, register: u32) -> Vec<&Event> {
    log.events.iter().filter(|event| event.register == register && event.kind.0 != 0x03).collect()
}

fn digest(event: &Event) -> Sha384 {
    let bytes = event.digest(HashAlgorithm::Sha384).expect("a log of TDX has SHA-384 digests");
    Sha384::try_from(bytes).expect("48 bytes")
}

fn each_log(mut check: impl FnMut(&str, &EventLog, &Value)) {
    let Some(root) = vectors("ccel") else { return };
    for folder in folders(&root) {
        let json = json(&folder);
        let name = json["name"].as_str().expect("a name");
        if !json["platform"].as_str().expect("a platform").contains("TDX") {
            continue; // other guests log in the same form
        }
        let bytes = std::fs::read(folder.join("ccel.bin")).expect("a log");
        let log = EventLog::parse_ccel(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(name, &log, &json["fields"]);
    }
}

/// `None`, said aloud, where the vectors are not at hand; a failure in CI.
fn vectors(kind: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CASEMATE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let folder = root.join(kind);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no vectors at {}", folder.display());
    eprintln!("NOT TESTED: no vectors at {}; set CASEMATE_VECTORS", folder.display());
    None
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).expect("the vector folder can be listed");
    entries.map(|entry| entry.expect("a folder entry").path()).filter(|path| path.is_dir()).collect()
}

fn json(folder: &Path) -> Value {
    let text = std::fs::read(folder.join("vector.json")).expect("each vector has a vector.json");
    serde_json::from_slice(&text).expect("vector.json is JSON")
}
