//! Firmware, kernels and signed launches, as somebody else built them.

use casemate_crypto::hash::HashAlgorithm;
use casemate_measure::id_block::IdAuth;
use casemate_measure::kernel_hashes::qemu_patched_kernel;
use casemate_measure::ovmf::Firmware;
use casemate_measure::pe::PeFile;
use casemate_measure::shape::{GuestFeatures, VcpuType};
use casemate_measure::snp::{Kernel, SnpLaunch};
use casemate_measure::tdx::firmware::{PageOrder, TdxFirmware};
use casemate_measure::tdx::hob;
use casemate_measure::uki::pcr_11;
use casemate_measure::vmsa::Vmm;

use crate::{Target, Vectors};

pub const OVMF: Target = Target { name: "ovmf", maximum_len: 8192, check: ovmf, seeds: firmwares };
pub const TDVF: Target = Target { name: "tdvf", maximum_len: 8192, check: tdvf, seeds: tdvfs };
pub const PE: Target = Target { name: "pe", maximum_len: 16 << 10, check: pe, seeds: programs };
pub const KERNEL: Target = Target { name: "kernel", maximum_len: 8 << 10, check: kernel, seeds: kernels };
pub const ID_AUTH: Target = Target {
    name: "id-auth",
    maximum_len: 4096,
    check: |bytes| drop(IdAuth::parse(bytes).map(|auth| auth.id_key.digest())),
    seeds: |vectors: &Vectors| vectors.files("launch-measurement", &["auth_block.bin"]),
};

/// Fills a page, or the next whole number of pages, from the end: the tables lie there.
fn pages(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0; bytes.len().next_multiple_of(4096).max(4096) - bytes.len()];
    file.extend_from_slice(bytes);
    file
}

fn ovmf(bytes: &[u8]) {
    let Ok(firmware) = Firmware::parse(&pages(bytes)) else { return };
    firmware.check().expect("what was parsed was checked");
    let launch = SnpLaunch {
        firmware: &firmware,
        kernel: Kernel::NotMeasured,
        vcpus: 2,
        vcpu_signature: VcpuType::EPYC_V4.signature(),
        guest_features: GuestFeatures::SNP,
        vmm: Vmm::Qemu,
    };
    // Sections of 256 MiB are allowed, and take a second.
    if firmware.sections.iter().map(|section| u64::from(section.size)).sum::<u64>() < 1 << 20 {
        let _ = launch.digest();
    }
}

fn tdvf(bytes: &[u8]) {
    let file = pages(bytes);
    let Ok(firmware) = TdxFirmware::parse(&file) else { return };
    let _ = (firmware.configuration_volume_digest(), firmware.hand_off_address());
    for memory_mib in [1, 2048, 4096, u32::MAX] {
        let _ = hob::digest(&firmware, memory_mib);
    }
    if firmware.sections().iter().map(|section| section.size).sum::<u64>() < 1 << 20 {
        let _ = (firmware.mrtd(PageOrder::PageByPage), firmware.mrtd(PageOrder::SectionBySection));
    }
}

fn pe(bytes: &[u8]) {
    let Ok(file) = PeFile::parse(bytes) else { return };
    let _ = (file.authenticode(), pcr_11(&file, HashAlgorithm::Sha256, &["enter-initrd"]));
}

fn kernel(bytes: &[u8]) {
    for (initrd_bytes, memory_mib) in [(0, 512), (1 << 20, 2048), (u32::MAX, u32::MAX)] {
        if let Ok(patched) = qemu_patched_kernel(bytes, initrd_bytes, memory_mib) {
            assert_eq!(patched.len(), bytes.len());
        }
    }
}

fn firmwares(vectors: &Vectors) -> Vec<Vec<u8>> {
    vectors.files("launch-measurement", &["ovmf.bin"])
}

/// The smallest TDVF: one page, a table of one entry, and a descriptor with a section of each kind.
fn tdvfs(_: &Vectors) -> Vec<Vec<u8>> {
    const FOOTER: u128 = 0x96b582de_1fb2_45f7_baea_a366c55a082d;
    const METADATA: u128 = 0xe47a6535_984a_4798_865e_4685a7bf8ec2;
    let guid = |guid: u128| {
        let mut bytes = guid.to_be_bytes();
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    };
    let rows: [(u32, u32, u64, u64, u32, u32); 4] = [
        (0, 4096, 0xFFFF_F000, 4096, 0, 1),
        (0, 4096, 0xFFFF_D000, 4096, 1, 0),
        (0, 0, 0x80_9000, 0x2000, 2, 0),
        (0, 0, 0x81_0000, 0x1000, 3, 0),
    ];
    let mut file = vec![0; 4096 - 1024];
    file.extend(b"TDVF");
    file.extend([16 + 32 * rows.len() as u32, 1, rows.len() as u32].map(u32::to_le_bytes).concat());
    for (offset, length, address, size, kind, attributes) in rows {
        file.extend([offset.to_le_bytes(), length.to_le_bytes()].concat());
        file.extend([address.to_le_bytes(), size.to_le_bytes()].concat());
        file.extend([kind.to_le_bytes(), attributes.to_le_bytes()].concat());
    }
    let table = [
        &1024_u32.to_le_bytes()[..],
        &22_u16.to_le_bytes(),
        &guid(METADATA),
        &40_u16.to_le_bytes(),
        &guid(FOOTER),
    ]
    .concat();
    file.resize(4096 - 32 - table.len(), 0);
    file.extend(table);
    file.resize(4096, 0);
    vec![file]
}

/// A program of one section; recorded ones are larger than a fuzzer can change well.
fn programs(vectors: &Vectors) -> Vec<Vec<u8>> {
    let mut seeds = vectors.files("launch-measurement", &[".efi"]);
    seeds.retain(|seed| seed.len() < 1 << 20);
    let mut file = vec![0; 0x40];
    file[..2].copy_from_slice(b"MZ");
    file[0x3C] = 0x40;
    file.extend(b"PE\0\0");
    file.extend([0x64, 0x86, 1, 0]);
    file.extend([0; 12]);
    file.extend([240, 0, 0x22, 0]);
    let optional = file.len();
    file.resize(optional + 240, 0);
    file[optional..optional + 2].copy_from_slice(&[0x0B, 0x02]);
    file[optional + 60..optional + 64].copy_from_slice(&0x200_u32.to_le_bytes());
    file[optional + 108] = 16;
    let section = file.len();
    file.extend(b".linux\0\0");
    file.extend([0x10_u32, 0x1000, 0x10, 0x200].map(u32::to_le_bytes).concat());
    file.resize(section + 40, 0);
    file.resize(0x200, 0);
    file.extend([7; 0x10]);
    seeds.push(file);
    seeds
}

/// The first pages of a bzImage of boot protocol 2.15.
fn kernels(_: &Vectors) -> Vec<Vec<u8>> {
    let mut kernel = vec![0; 0x400];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&[0x0F, 0x02]);
    kernel[0x211] = 1;
    kernel[0x22C..0x230].copy_from_slice(&0x7FFF_FFFF_u32.to_le_bytes());
    vec![kernel]
}
