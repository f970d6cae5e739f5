//! TDX registers: rules against computations by hand, and what is refused.

mod support;

use casemate_crypto::hash::{Sha256, sha256, sha384};
use casemate_measure::pe::{PeError, PeFile};
use casemate_measure::tdx::boot::{self, InitrdOption, register};
use casemate_measure::tdx::firmware::{PageOrder, TdxFirmware, TdxFirmwareError, TdxSectionKind};
use casemate_measure::{dstack, secretvm};
use proptest::prelude::*;
use support::{put, table_bytes, words};

const SIZE: usize = 3 * 4096;
const DESCRIPTOR: usize = SIZE - 1024;
const FOOTER: u128 = 0x96b582de_1fb2_45f7_baea_a366c55a082d;
const METADATA: u128 = 0xe47a6535_984a_4798_865e_4685a7bf8ec2;

/// File offset, file size, address, size, kind, attributes.
type Row = (u32, u32, u64, u64, u32, u32);

const ROWS: [Row; 4] = [
    (4096, 8192, 0xFFFF_E000, 8192, 0, 1),
    (0, 4096, 0xFFFF_D000, 4096, 1, 0),
    (0, 0, 0x80_9000, 0x2000, 2, 0),
    (0, 0, 0x81_0000, 0x1000, 3, 0),
];

fn firmware(rows: &[Row]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..SIZE).map(|index| (index % 251) as u8).collect();
    let mut descriptor = b"TDVF".to_vec();
    descriptor.extend(words(&[16 + 32 * rows.len() as u32, 1, rows.len() as u32]));
    for (offset, length, address, size, kind, attributes) in rows {
        descriptor.extend(words(&[*offset, *length]));
        descriptor.extend(address.to_le_bytes());
        descriptor.extend(size.to_le_bytes());
        descriptor.extend(words(&[*kind, *attributes]));
    }
    put(&mut bytes, DESCRIPTOR, &descriptor);
    let from_end = ((SIZE - DESCRIPTOR) as u32).to_le_bytes();
    let table = table_bytes(&[(FOOTER, None), (METADATA, Some(&from_end))]);
    put(&mut bytes, SIZE - 32 - table.len(), &table);
    bytes
}

/// The bytes that MRTD is a digest of, written down without the code under test.
fn records(file: &[u8], order: PageOrder) -> Vec<u8> {
    fn record(operation: &str, address: u64) -> Vec<u8> {
        let mut bytes = operation.as_bytes().to_vec();
        bytes.resize(16, 0);
        bytes.extend(address.to_le_bytes());
        bytes.resize(128, 0);
        bytes
    }
    let mut bytes = Vec::new();
    for (offset, _, address, size, _, attributes) in ROWS {
        let (mut added, mut measured) = (Vec::new(), Vec::new());
        for page in 0..size / 4096 {
            let at = address + page * 4096;
            let mut content = Vec::new();
            if attributes & 1 != 0 {
                for chunk in 0..16 {
                    let from = offset as usize + (page * 4096 + chunk * 256) as usize;
                    content.extend(record("MR.EXTEND", at + chunk * 256));
                    content.extend(&file[from..from + 256]);
                }
            }
            match order {
                PageOrder::PageByPage => {
                    added.extend(record("MEM.PAGE.ADD", at));
                    added.extend(content);
                }
                PageOrder::SectionBySection => {
                    added.extend(record("MEM.PAGE.ADD", at));
                    measured.extend(content);
                }
            }
        }
        bytes.extend(added);
        bytes.extend(measured);
    }
    bytes
}

#[test]
fn mrtd_is_a_digest_over_pages_added_and_measured() {
    let file = firmware(&ROWS);
    let read = TdxFirmware::parse(&file).unwrap();
    assert_eq!(read.sections().len(), 4);
    let mut seen = Vec::new();
    for order in [PageOrder::PageByPage, PageOrder::SectionBySection] {
        let expected = sha384(&records(&file, order));
        assert_eq!(read.mrtd(order).as_bytes(), expected.as_bytes());
        seen.push(expected);
    }
    assert_ne!(seen[0], seen[1], "the order of pages matters");
    assert_eq!(read.configuration_volume_digest().unwrap(), sha384(&file[..4096]));
    assert_eq!(read.hand_off_address(), Some(0x80_9000));
    assert_eq!(read.ready_memory(), [(0x80_9000, 0x2000), (0x81_0000, 0x1000)]);
}

/// Found by the property below: a measured section may be larger in memory than in the file.
#[test]
fn pages_beyond_the_bytes_in_the_file_are_measured_as_zeros() {
    let mut longer = ROWS;
    (longer[0].1, longer[0].3) = (4096, 5 * 4096);
    let file = firmware(&longer);
    let mrtd = |file: &[u8]| TdxFirmware::parse(file).unwrap().mrtd(PageOrder::PageByPage);
    let mut beyond = file.clone();
    beyond[2 * 4096] ^= 1;
    assert_eq!(mrtd(&beyond), mrtd(&file), "what follows the section in the file is not its content");
    longer[0].3 = 4 * 4096;
    assert_ne!(mrtd(&firmware(&longer)), mrtd(&file), "each page counts");
}

#[test]
fn only_measured_bytes_of_measured_sections_count() {
    let mrtd = |file: &[u8]| TdxFirmware::parse(file).unwrap().mrtd(PageOrder::PageByPage);
    let plain = firmware(&ROWS);
    for (at, counts) in [(100, false), (4096, true), (4096 + 4095, true), (8192 + 17, true)] {
        let mut changed = plain.clone();
        changed[at] ^= 1;
        assert_eq!(mrtd(&changed) != mrtd(&plain), counts, "byte {at}");
    }
    // Pages that the guest accepts when it runs are not added.
    let mut later = ROWS;
    later[3].5 = 2;
    let without: Vec<Row> = ROWS[..3].to_vec();
    let of = |rows: &[Row]| {
        let mut file = firmware(rows);
        file[4096..8192].fill(7);
        let read = TdxFirmware::parse(&file).unwrap();
        read.sections().iter().map(|section| section.accepted_later).collect::<Vec<_>>()
    };
    assert_eq!(of(&later), [false, false, false, true]);
    assert_eq!(of(&without).len(), 3);
}

#[test]
fn each_rule_of_the_descriptor_refuses_its_breach() {
    let parse = |rows: &[Row]| TdxFirmware::parse(&firmware(rows)).map(|_| ()).unwrap_err();
    let one = |change: fn(&mut Row)| {
        let mut rows = ROWS;
        change(&mut rows[0]);
        parse(&rows)
    };
    type E = TdxFirmwareError;
    assert_eq!(one(|row| row.4 = 9), E::Kind { found: 9 });
    assert_eq!(one(|row| row.5 = 4), E::Attributes { found: 4 });
    for change in [
        (|row: &mut Row| row.2 += 1) as fn(&mut Row),
        |row| row.3 += 1,
        |row| row.0 = 8192,
        |row| row.1 = u32::MAX,
        |row| row.3 = 4096,
        |row| row.2 = u64::MAX - 4095,
        |row| row.3 = 1 << 40,
    ] {
        assert!(matches!(one(change), E::Range { .. }));
    }
    assert_eq!(parse(&[]), E::Sections { found: 0, maximum: 64 });
    let mut wrong = firmware(&ROWS);
    wrong[DESCRIPTOR] = b'X';
    assert_eq!(TdxFirmware::parse(&wrong), Err(E::Descriptor));
    let mut count = firmware(&ROWS);
    put(&mut count, DESCRIPTOR + 12, &words(&[65]));
    assert_eq!(TdxFirmware::parse(&count), Err(E::Sections { found: 65, maximum: 64 }));
    let mut beyond = firmware(&ROWS);
    put(&mut beyond, DESCRIPTOR + 12, &words(&[60]));
    assert!(matches!(TdxFirmware::parse(&beyond), Err(E::Outside { .. })));
    let no_volume = firmware(&ROWS[2..]);
    let read = TdxFirmware::parse(&no_volume).unwrap();
    assert!(read.sections().iter().all(|section| section.kind != TdxSectionKind::ConfigurationVolume));
    assert_eq!(read.configuration_volume_digest(), Err(E::NoConfigurationVolume));
    assert!(matches!(TdxFirmware::parse(&[0; 4095]), Err(E::Firmware(_))));
}

/// A PE32+ file of two sections that lie in the file in another order than in the table.
fn program(with_signature: bool) -> Vec<u8> {
    let mut bytes = vec![0; 0x600];
    put(&mut bytes, 0x3C, &words(&[0x80]));
    put(&mut bytes, 0x80, b"PE\0\0");
    put(&mut bytes, 0x84, &[0x64, 0x86, 2, 0]);
    put(&mut bytes, 0x84 + 16, &[0xF0, 0]);
    let optional = 0x98;
    put(&mut bytes, optional, &[0x0B, 0x02]);
    put(&mut bytes, optional + 60, &words(&[0x200, 0xC4EC]));
    put(&mut bytes, optional + 108, &words(&[16]));
    let table = optional + 0xF0;
    for (index, (name, size, start)) in
        [(b".second\0", 0x200, 0x400), (b".first\0\0", 0x200, 0x200)].iter().enumerate()
    {
        put(&mut bytes, table + 40 * index, *name);
        put(&mut bytes, table + 40 * index + 8, &words(&[0x1F0, 0x1000, *size, *start]));
    }
    bytes[0x200..0x600].iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8);
    if with_signature {
        put(&mut bytes, optional + 112 + 32, &words(&[0x600, 16]));
        bytes.extend([0xAB; 16]);
    }
    bytes
}

#[test]
fn an_authenticode_digest_leaves_out_checksum_and_signatures() {
    let plain = program(false);
    let optional = 0x98;
    let (checksum, entry) = (optional + 64, optional + 112 + 32);
    let expected =
        [&plain[..checksum], &plain[checksum + 4..entry], &plain[entry + 8..0x200], &plain[0x200..0x600]]
            .concat();
    let digest = |bytes: &[u8]| boot::kernel(bytes).unwrap();
    assert_eq!(digest(&plain), sha384(&expected));
    assert_eq!(digest(&program(true)), digest(&plain), "a signature changes nothing");
    let mut other_checksum = plain.clone();
    other_checksum[checksum] ^= 1;
    assert_eq!(digest(&other_checksum), digest(&plain));
    let mut changed = plain.clone();
    changed[0x5FF] ^= 1;
    assert_ne!(digest(&changed), digest(&plain));
    let mut longer = plain.clone();
    longer.extend([1, 2, 3]);
    assert_eq!(digest(&longer), sha384(&[&expected[..], &[1, 2, 3]].concat()), "what follows counts");
    let file = PeFile::parse(&plain).unwrap();
    assert_eq!(file.sections()[0].name(), b".second");
    assert_eq!(file.sections()[0].content().len(), 0x1F0);
}

#[test]
fn damaged_programs_are_refused() {
    let plain = program(true);
    assert_eq!(
        PeFile::parse(&plain[..0x100]).unwrap_err(),
        PeError::Truncated { structure: "the optional header" }
    );
    let mut overlapping = plain.clone();
    put(&mut overlapping, 0x98 + 0xF0 + 20, &words(&[0x300]));
    assert_eq!(boot::kernel(&overlapping), Err(PeError::Overlap { start: 0x300 }));
    let mut signatures = plain.clone();
    put(&mut signatures, 0x98 + 112 + 36, &words(&[8]));
    assert_eq!(boot::kernel(&signatures), Err(PeError::Signatures));
    let mut kind = plain.clone();
    kind[0x98] = 7;
    assert_eq!(PeFile::parse(&kind).unwrap_err(), PeError::Kind { found: 0x207 });
    let mut count = plain.clone();
    count[0x86] = 200;
    assert_eq!(PeFile::parse(&count).unwrap_err(), PeError::Sections { found: 200, maximum: 96 });
    assert_eq!(PeFile::parse(&[0; 0x200]).unwrap_err(), PeError::Signature);
}

#[test]
fn command_lines_are_measured_as_the_stub_gets_them() {
    let utf16 = |text: &str| sha384(&text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    assert_eq!(boot::load_options("quiet", InitrdOption::None), utf16("quiet\0"));
    assert_eq!(boot::load_options("quiet", InitrdOption::Behind), utf16("quiet initrd=initrd\0"));
    assert_eq!(boot::load_options("quiet", InitrdOption::InFront), utf16("initrd=initrd quiet\0"));
}

#[test]
fn registers_of_peers_follow_their_rules() {
    // SecretVM: each digest, then 16 zeros.
    let (compose, root, files) = (sha256(b"compose"), sha256(b"root"), sha256(b"files"));
    let extend = |register: [u8; 48], digest: &[u8]| -> [u8; 48] {
        let mut bytes = [0; 96];
        bytes[..48].copy_from_slice(&register);
        bytes[48..48 + digest.len()].copy_from_slice(digest);
        *sha384(&bytes).as_bytes()
    };
    let two = extend(extend([0; 48], compose.as_ref()), root.as_ref());
    assert_eq!(secretvm::rtmr3(&compose, &root, None).as_bytes(), &two);
    let three = extend(two, files.as_ref());
    assert_eq!(secretvm::rtmr3(&compose, &root, Some(&files)).as_bytes(), &three);
    // dstack: type, colon, name, colon, payload.
    let event = sha384(b"\x01\0\0\x08:app-id:\xAA\xBB");
    assert_eq!(dstack::event_digest("app-id", &[0xAA, 0xBB]), event);
    let one = dstack::DstackEvents { events: vec![("app-id", vec![0xAA, 0xBB])] };
    assert_eq!(one.rtmr3(), register([&event]));
    let with_keys = secretvm::rtmr3_with_dstack_keys(&[1; 20], &compose, &root, None);
    let events = [
        ("app-id", vec![1; 20]),
        ("compose-hash", compose.as_ref().to_vec()),
        ("os-image-hash", root.as_ref().to_vec()),
    ];
    let by_hand = events.iter().fold([0; 48], |register, (name, payload)| {
        extend(register, dstack::event_digest(name, payload).as_ref())
    });
    assert_eq!(with_keys.as_bytes(), &by_hand);
    assert_eq!(dstack::app_id(&compose), compose.as_bytes()[..20]);
}

#[test]
fn dstack_names_an_app_in_three_forms() {
    let (compose, hex) =
        (Sha256::from([0x22; 32]), |bytes: &[u8]| Sha256::try_from(bytes).unwrap().to_string());
    let first = dstack::mr_config_id_1(&compose);
    assert_eq!((first[0], &first[1..33], &first[33..]), (1, &compose.as_bytes()[..], &[0; 15][..]));
    // Keccak-256 by another implementation.
    let provider = dstack::KeyProvider { kind: dstack::KeyProviderKind::Kms, id: &[0x33; 4] };
    let second = dstack::mr_config_id_2(&compose, &[0x11; 20], &provider);
    assert_eq!((second[0], &second[33..]), (2, &[0; 15][..]));
    assert_eq!(hex(&second[1..33]), "601e9f4dea8fe92d753e35548ccd27619896966cc50410eb2769e7203bcfa28c");
    let text = format!(
        r#"{{"app_id":"{}","compose_hash":"{compose}","instance_id":"","key_provider":"none","key_provider_id":"","version":3}}"#,
        "11".repeat(20)
    );
    let document = dstack::ConfigDocument::parse(text.as_bytes()).unwrap();
    assert_eq!(document.compose(), compose);
    assert_eq!(
        hex(&document.host_data()),
        "12fa41cc3389b742a9d22e77bd23a3e2cff3235bd3e6bce092a9772483123616"
    );
    let third = document.mr_config_id();
    assert_eq!((third[0], &third[1..33], &third[33..]), (3, &document.host_data()[..], &[0; 15][..]));
    // Its bytes count, not what they mean.
    let spaced = dstack::ConfigDocument::parse(text.replace(',', ", ").as_bytes()).unwrap();
    assert_ne!(spaced.host_data(), document.host_data());
    let error = dstack::ConfigDocument::parse(b"{}");
    assert!(matches!(error, Err(dstack::DocumentError::Json(_))));
    let error = dstack::ConfigDocument::parse(&[b' '; (1 << 20) + 1]);
    assert!(matches!(error, Err(dstack::DocumentError::TooLong { .. })));
}

#[test]
fn a_launch_of_dstack_is_read_by_its_members() {
    let registers = |digit: &str| format!("\"{}\"", digit.repeat(96));
    let text = format!(
        r#"{{"mrtd":{},"rtmr0":{},"rtmr1":{},"rtmr2":{}}}"#,
        registers("1"),
        registers("2"),
        registers("3"),
        registers("4")
    );
    let dstack::Launch::Tdx(read) = dstack::Launch::parse(text.as_bytes()).unwrap() else { panic!("of TDX") };
    assert_eq!((read.mrtd.as_bytes()[0], read.rtmr2.as_bytes()[0]), (0x11, 0x44));
    let error = dstack::Launch::parse(text.replace("rtmr1", "rtmr9").as_bytes());
    assert!(matches!(error, Err(dstack::DocumentError::Json(_))));
}

/// Build `prod` v0.0.25 of SecretVM's published list, and what its verifier's tests expect of a compose file with one
/// vCPU (secretvm-verify, `amd_cpu_docker_check`).
#[test]
fn a_secretvm_on_sev_snp_has_its_compose_file_in_the_measurement() {
    let build = r#"[{"vm_type":"prod","artifacts_ver":"v0.0.25","vcpu_type":"EPYC",
        "rootfs_hash":"c642e722d7e138e53144149588e899c56f2ceb57fbaffe46cd7699ebab64d1e9",
        "kernel_hash":"98c41a86a1ba6a9a9d772ae0b028835091b4930f79ea509b595d2080d7df90c2",
        "initrd_hash":"b30910955a1aa138a855f115deb5fbd0a4d3edbb43dc1729fed0d373c477e0a9",
        "ovmf_hash":"c581d3eaebf2941beb1f757de97497279b953a6999921cab05f9ed5268f9c0505d741f4021b5a3995c9893851cde190e",
        "sev_hashes_table_gpa":8457216,"sev_es_reset_eip":8433668,"ovmf_sections":[
        {"gpa":8388608,"size":36864,"section_type":1},{"gpa":8429568,"size":12288,"section_type":1},
        {"gpa":8441856,"size":4096,"section_type":2},{"gpa":8445952,"size":4096,"section_type":3},
        {"gpa":8450048,"size":4096,"section_type":4},{"gpa":8458240,"size":61440,"section_type":1},
        {"gpa":8454144,"size":4096,"section_type":16}]}]"#;
    let read = |text: &str| secretvm::SnpBuild::parse_list(text);
    let list = read(build).unwrap();
    let measurement = |compose: &[u8], vcpus| list[0].measurement(&sha256(compose), None, vcpus).unwrap();
    assert!(measurement(b"dfghdfghdf", 1).to_string().starts_with("4f2f8168a6e12c41"));
    assert_ne!(measurement(b"dfghdfghdf", 2), measurement(b"dfghdfghdf", 1));
    assert_ne!(measurement(b"dfghdfghdg", 1), measurement(b"dfghdfghdf", 1));
    let with_files = list[0].measurement(&sha256(b"dfghdfghdf"), Some(&sha256(b"files")), 1).unwrap();
    assert_ne!(with_files, measurement(b"dfghdfghdf", 1));
    for (part, other) in [("\"section_type\":16", "\"section_type\":9"), ("rootfs_hash", "root"), ("[", "{")]
    {
        assert!(
            matches!(read(&build.replacen(part, other, 1)), Err(secretvm::ListError::Json(_))),
            "{other}"
        );
    }
    assert!(matches!(read(&" ".repeat(5 << 20)), Err(secretvm::ListError::TooLong { .. })));
}

#[test]
fn a_list_of_builds_is_read_whole_or_refused() {
    let header = "template_name,vm_type,artifacts_ver,mrtd,rtmr0,rtmr1,rtmr2,rootfs_data,host_id";
    let digests: Vec<String> = ["1", "2", "3", "4"].iter().map(|digit| digit.repeat(96)).collect();
    let row = format!("small, prod ,v0.0.25,{},{},", digests.join(","), "ab".repeat(32));
    let list = secretvm::Build::parse_list(&format!("{header}\n{row}\n\n")).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].template.as_str(), list[0].kind.as_str()), ("small", "prod"));
    assert_eq!(list[0].registers.rtmr2.to_string(), digests[3]);
    assert_eq!(list[0].root_image, Sha256::from([0xAB; 32]));
    use secretvm::ListError as E;
    assert!(matches!(secretvm::Build::parse_list(&row), Err(E::Header { .. })));
    let error = secretvm::Build::parse_list(&format!("{header}\nsmall,prod\n"));
    assert!(matches!(error, Err(E::Cells { line: 2, found: 2 })));
    let broken = row.replace(&digests[1], "22");
    let error = secretvm::Build::parse_list(&format!("{header}\n{broken}\n"));
    assert!(matches!(error, Err(E::Digest { line: 2, column: "rtmr0", .. })));
    assert!(matches!(secretvm::Build::parse_list(&" ".repeat(5 << 20)), Err(E::TooLong { .. })));
}

proptest! {
    #[test]
    fn no_change_of_firmware_or_program_causes_a_panic(
        at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut file = firmware(&ROWS);
        let index = DESCRIPTOR + at.index(SIZE - DESCRIPTOR);
        file[index] = value;
        if let Ok(read) = TdxFirmware::parse(&file) {
            let _ = (read.mrtd(PageOrder::PageByPage), read.configuration_volume_digest());
        }
        let mut program = program(true);
        let index = at.index(0x200);
        program[index] = value;
        if let Ok(file) = PeFile::parse(&program) {
            let _ = file.authenticode();
        }
        program.truncate(cut.index(program.len()));
        let _ = PeFile::parse(&program).map(|file| file.authenticode().is_ok());
    }

    #[test]
    fn extending_is_order_sensitive(first in any::<[u8; 8]>(), second in any::<[u8; 8]>()) {
        let (first, second) = (sha384(&first), sha384(&second));
        prop_assume!(first != second);
        prop_assert_ne!(register([&first, &second]), register([&second, &first]));
    }
}
