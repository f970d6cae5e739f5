//! Is every malformed firmware, image and launch refused, each for its own reason?
//!
//! One valid input, one change, one variant.

mod support;

use casemate_crypto::hash::sha256;
use casemate_measure::id_block::{IdAuth, IdAuthError};
use casemate_measure::image::{ImageDescription, ImageError, ImageFile, ImageFiles, Variant};
use casemate_measure::kernel_hashes::KernelHashes;
use casemate_measure::ovmf::{Firmware, FirmwareError};
use casemate_measure::shape::{GuestFeatures, Machine, Shape, ShapeError, VcpuType};
use casemate_measure::snp::{Kernel, LaunchError, SnpLaunch};
use casemate_measure::vmsa::Vmm;
use proptest::prelude::*;
use support::{
    FOOTER, HASHES_END, METADATA, METADATA_END, METADATA_FROM_END, METADATA_START, RESET, RESET_END, SIZE,
    firmware, put, table_bytes, words,
};

#[test]
fn the_base_is_accepted() {
    let parsed = Firmware::parse(&firmware()).unwrap();
    assert_eq!((parsed.size, parsed.reset_address, parsed.sections.len()), (SIZE as u32, 0x80b004, 4));
    assert_eq!(parsed.require_hash_table().unwrap().address, 0x810c00);
}

#[test]
fn firmware_changed_in_one_place_is_refused_for_that() {
    let section = |index: usize, field: usize| METADATA_START + 16 + 12 * index + 4 * field;
    let range = |address, size| FirmwareError::SectionRange { address, size, maximum_pages: 1 << 16 };
    let outside = |address, size| FirmwareError::HashTableOutsidePage { address, size };
    let length = |length, sections| FirmwareError::MetadataLength { length, sections, maximum: 64 };
    // offset, new bytes, refusal
    let table: &[(usize, &[u8], FirmwareError)] = &[
        (SIZE - 50, &[0xff, 0xff], FirmwareError::TableEntry { found: 0xffff, available: SIZE - 32 }),
        (SIZE - 50, &[17, 0], FirmwareError::TableEntry { found: 17, available: SIZE - 32 }),
        (RESET_END - 18, &[0, 0], FirmwareError::TableEntry { found: 0, available: 70 }),
        (METADATA_START, b"BSEV", FirmwareError::MetadataSignature { found: *b"BSEV" }),
        (METADATA_START + 4, &[65], length(65, 4)),
        (METADATA_START + 8, &[2], FirmwareError::MetadataVersion { found: 2 }),
        (METADATA_START + 12, &[5], length(64, 5)),
        (METADATA_START + 12, &[0xff; 4], length(64, u32::MAX)),
        (section(0, 0), &[1], range(0x800001, 0x9000)),
        (section(0, 1), &[1], range(0x800000, 0x9001)),
        (section(0, 1), &[0; 4], range(0x800000, 0)),
        (section(0, 1), &words(&[0x2000_0000]), range(0x800000, 0x2000_0000)),
        (section(0, 0), &words(&[0xffff_f000]), range(0xffff_f000, 0x9000)),
        (section(0, 2), &[9], FirmwareError::SectionKind { found: 9 }),
        (section(3, 1), &words(&[0x2000]), range(0x810000, 0x2000)),
        (HASHES_END - 26, &words(&[0x811c00]), outside(0x811c00, 0x400)),
        (HASHES_END - 22, &words(&[0x401]), outside(0x810c00, 0x401)),
        (HASHES_END - 22, &words(&[175]), outside(0x810c00, 175)),
    ];
    for (offset, bytes, expected) in table {
        let mut firmware = firmware();
        put(&mut firmware, *offset, bytes);
        assert_eq!(Firmware::parse(&firmware).as_ref(), Err(expected), "change at {offset:#x}");
    }
}

#[test]
fn firmware_without_a_needed_entry_is_refused_by_its_name() {
    for (end, expected) in [(RESET_END, "SEV-ES reset block"), (METADATA_END, "SEV metadata")] {
        let mut firmware = firmware();
        firmware[end - 1] ^= 1; // another GUID
        let error = Firmware::parse(&firmware).unwrap_err();
        assert!(matches!(error, FirmwareError::Missing { name, .. } if name == expected), "{error}");
    }
    let mut firmware = firmware();
    firmware[SIZE - 33] ^= 1;
    assert!(matches!(Firmware::parse(&firmware), Err(FirmwareError::NoTable { .. })));
}

#[test]
fn an_entry_of_another_length_or_twice_is_refused() {
    let entry = |entries: &[(u128, Option<&[u8]>)]| {
        let mut bytes = firmware();
        let table = table_bytes(entries);
        put(&mut bytes, SIZE - 32 - table.len(), &table);
        Firmware::parse(&bytes)
    };
    let reset = 0x80b004_u32.to_le_bytes();
    let metadata = (METADATA_FROM_END as u32).to_le_bytes();
    assert!(matches!(
        entry(&[(FOOTER, None), (RESET, Some(&words(&[1, 2]))), (METADATA, Some(&metadata))]),
        Err(FirmwareError::EntryLength { name: "SEV-ES reset block", found: 8, expected: 4 })
    ));
    assert!(matches!(
        entry(&[(FOOTER, None), (RESET, Some(&reset)), (RESET, Some(&reset)), (METADATA, Some(&metadata))]),
        Err(FirmwareError::DuplicateEntry { .. })
    ));
    assert_eq!(
        entry(&[(FOOTER, None), (RESET, Some(&reset)), (METADATA, Some(&words(&[SIZE as u32 + 1])))]),
        Err(FirmwareError::MetadataOutside { offset: SIZE as u32 + 1, size: SIZE })
    );
    assert_eq!(
        entry(&[(FOOTER, None), (RESET, Some(&reset)), (METADATA, Some(&words(&[15])))]),
        Err(FirmwareError::MetadataOutside { offset: 15, size: SIZE })
    );
}

#[test]
fn sizes_that_no_firmware_has_are_refused() {
    for found in [0, 1, SIZE - 1, Firmware::MAXIMUM_SIZE + 4096] {
        let expected = FirmwareError::Size { found, maximum: Firmware::MAXIMUM_SIZE };
        assert_eq!(Firmware::parse(&vec![0; found]), Err(expected));
    }
}

#[test]
fn a_kernel_needs_firmware_that_checks_it() {
    let kernel = Kernel::Measured(KernelHashes::of(b"kernel", b"initrd", "cmdline"));
    let parsed = Firmware::parse(&firmware()).unwrap();
    let launch = |firmware: &Firmware| {
        SnpLaunch {
            firmware,
            kernel,
            vcpus: 1,
            vcpu_signature: VcpuType::EPYC_V4.signature(),
            guest_features: GuestFeatures::SNP,
            vmm: Vmm::Qemu,
        }
        .digest()
    };
    assert!(launch(&parsed).is_ok());
    let mut no_slot = parsed.clone();
    no_slot.hash_table = None;
    assert_eq!(launch(&no_slot), Err(LaunchError::Firmware(FirmwareError::NoKernelHashTable)));
    let mut no_page = parsed;
    no_page.sections.truncate(3);
    assert_eq!(launch(&no_page), Err(LaunchError::Firmware(FirmwareError::NoKernelHashTable)));
}

#[test]
fn each_measured_input_moves_the_digest_and_nothing_else_does() {
    let description = description();
    let digest = |image: &ImageDescription, shape: &Shape| {
        image.expected_measurement(Variant::Hardware, shape).unwrap()
    };
    let base = digest(&description, &SHAPE);
    let changes: [fn(&mut ImageDescription, &mut Shape); 8] = [
        |image, _| image.files.kernel.sha256 = sha256(b"another"),
        |image, _| image.files.initrd.sha256 = sha256(b"another"),
        |image, _| image.cmdline.push(' '),
        |image, _| image.firmware.pages_digest = [1; 48].into(),
        |image, _| image.firmware.reset_address += 1,
        |_, shape| shape.vcpus += 1,
        |_, shape| shape.vcpu_type = "EPYC-Milan".parse().unwrap(),
        |_, shape| shape.guest_features = GuestFeatures::for_snp(0x21).unwrap(),
    ];
    for (index, change) in changes.iter().enumerate() {
        let (mut image, mut shape) = (description.clone(), SHAPE);
        change(&mut image, &mut shape);
        assert_ne!(digest(&image, &shape), base, "change {index}");
    }
    let (mut image, mut shape) = (description.clone(), SHAPE);
    image.files.root.sha256 = sha256(b"another"); // covered by the root hash on the command line
    image.name = "other".into();
    shape.memory_mib = 4096;
    assert_eq!(digest(&image, &shape), base);
    assert_ne!(description.expected_measurement(Variant::Simulated, &SHAPE).unwrap(), base);
}

#[test]
fn shapes_without_a_launch_are_refused() {
    for vcpus in [0, Shape::MAXIMUM_VCPUS + 1, u32::MAX] {
        let error =
            description().expected_measurement(Variant::Hardware, &Shape { vcpus, ..SHAPE }).unwrap_err();
        let expected = ShapeError::VcpuCount { found: vcpus, maximum: Shape::MAXIMUM_VCPUS };
        assert!(matches!(error, ImageError::Launch(LaunchError::Shape(found)) if found == expected));
    }
}

#[test]
fn an_image_description_reads_back_as_written() {
    let description = description();
    assert_eq!(ImageDescription::parse(&description.to_toml()).unwrap(), description);
}

#[test]
fn image_descriptions_changed_in_one_field_are_refused_for_that() {
    type Change = fn(&mut ImageDescription);
    let table: &[(&str, Change)] = &[
        ("Format", |image| image.format = 2),
        ("FileName", |image| image.files.kernel.name = "../vmlinuz".into()),
        ("FileName", |image| image.files.root.name = String::new()),
        ("FileName", |image| image.files.initrd.name = ".hidden".into()),
        ("FileName", |image| image.files.simulated_initrd.as_mut().unwrap().name = "a/b".into()),
        ("RootNotPinned", |image| image.cmdline = "console=ttyS0".into()),
        ("RootNotPinned", |image| image.cmdline.push_str(" casemate.root=00")),
        ("RootNotPinned", |image| image.root_hash = sha256(b"another")),
        ("RootNotPinned", |image| image.root_blocks += 1),
        ("RootSize", |image| image.files.root.size = 8 * 4096),
        ("FirmwareSize", |image| image.files.firmware.size += 1),
        ("Firmware(NoKernelHashTable)", |image| image.firmware.hash_table = None),
        ("Firmware(SectionRange", |image| image.firmware.sections[0].size = u32::MAX),
        ("Firmware(MetadataLength", |image| image.firmware.sections.clear()),
    ];
    for (expected, change) in table {
        let mut image = description();
        change(&mut image);
        let error = format!("{:?}", ImageDescription::parse(&image.to_toml()).unwrap_err());
        assert!(error.starts_with(expected), "expected {expected}, found {error}");
    }
    let text = description().to_toml();
    assert!(matches!(ImageDescription::parse(&format!("extra = 1\n{text}")), Err(ImageError::Malformed(_))));
    assert!(matches!(ImageDescription::parse(&" ".repeat(70_000)), Err(ImageError::TooLong { .. })));
    let mut image = description();
    image.files.simulated_initrd = None;
    let image = ImageDescription::parse(&image.to_toml()).unwrap();
    assert!(matches!(image.expected_measurement(Variant::Simulated, &SHAPE), Err(ImageError::NotSimulated)));
}

#[test]
fn id_blocks_changed_in_one_field_are_refused_for_that() {
    let mut base = vec![0; IdAuth::LEN];
    base[0] = 1;
    base[0x240] = 2;
    let parsed = IdAuth::parse(&base).unwrap();
    assert_eq!(parsed.author, None);
    let table: &[(usize, u8, IdAuthError)] = &[
        (0, 2, IdAuthError::Algorithm { found: 2 }),
        (4, 2, IdAuthError::Algorithm { found: 2 }),
        (4, 1, IdAuthError::Curve { found: 0 }), // an author key is announced and missing
        (0x240, 1, IdAuthError::Curve { found: 1 }),
        (0x40 + 48, 1, IdAuthError::Oversized),
        (0x244 + 72 + 71, 1, IdAuthError::Oversized),
        (0x3f, 1, IdAuthError::Reserved { offset: 0x3f }),
        (0x23f, 1, IdAuthError::Reserved { offset: 0x23f }),
        (0x643, 1, IdAuthError::Reserved { offset: 0x643 }),
        (0x644, 1, IdAuthError::Reserved { offset: 0x644 }),
        (0x680, 1, IdAuthError::Reserved { offset: 0x680 }),
        (0xfff, 1, IdAuthError::Reserved { offset: 0xfff }),
    ];
    for (offset, value, expected) in table {
        let mut bytes = base.clone();
        bytes[*offset] = *value;
        assert_eq!(IdAuth::parse(&bytes).as_ref(), Err(expected), "change at {offset:#x}");
    }
    assert_eq!(IdAuth::parse(&base[1..]), Err(IdAuthError::Length { found: 4095 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let mut page = bytes.clone();
        page.resize(4096, 0);
        let _ = Firmware::parse(&page);
        let _ = IdAuth::parse(&page);
        let _ = ImageDescription::parse(&String::from_utf8_lossy(&bytes));
        let _ = casemate_measure::kernel_hashes::qemu_patched_kernel(&bytes, 1, 512);
    }

    /// Damage near the tables, where the parser looks.
    #[test]
    fn damaged_firmware_never_panics(changes in proptest::collection::vec((0..256usize, any::<u8>()), 1..8)) {
        let mut bytes = firmware();
        for (offset, value) in changes {
            bytes[SIZE - 1 - offset] = value;
        }
        if let Ok(parsed) = Firmware::parse(&bytes) {
            parsed.check().unwrap();
        }
    }
}

fn description() -> ImageDescription {
    let firmware = Firmware::parse(&firmware()).unwrap();
    let file = |name: &str, size| ImageFile { name: name.into(), size, sha256: sha256(name.as_bytes()) };
    let root_hash = sha256(b"root hash");
    ImageDescription {
        format: 1,
        name: "casemate-lite".into(),
        version: "2026.11".into(),
        cmdline: format!("console=ttyS0 quiet casemate.root={root_hash} casemate.root_blocks=8"),
        root_hash,
        root_blocks: 8,
        package_lock: sha256(b"lock"),
        files: ImageFiles {
            firmware: file("firmware.fd", SIZE as u64),
            kernel: file("vmlinuz", 1000),
            initrd: file("initrd.cpio.zst", 2000),
            simulated_initrd: Some(file("initrd-sim.cpio.zst", 3000)),
            root: file("root.img", 9 * 4096),
        },
        firmware,
    }
}

const SHAPE: Shape = Shape {
    vcpus: 2,
    vcpu_type: VcpuType::EPYC_V4,
    memory_mib: 2048,
    machine: Machine::Q35,
    guest_features: GuestFeatures::SNP,
};
