//! Does another implementation agree, for launches that nobody wrote down?
//!
//! The `sev` crate computes the digest of each random launch from files, `casemate_measure` from memory.

mod support;

use std::path::Path;

use casemate_measure::kernel_hashes::KernelHashes;
use casemate_measure::ovmf::Firmware;
use casemate_measure::shape::{GuestFeatures, VcpuType};
use casemate_measure::snp::{Kernel, SnpLaunch};
use casemate_measure::vmsa::Vmm;
use proptest::prelude::*;
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures as OtherFeatures, VMMType};

/// A launch as both sides take it.
#[derive(Debug)]
struct Case {
    firmware: Vec<u8>,
    kernel: Option<(Vec<u8>, Vec<u8>, String)>,
    vcpus: u32,
    vcpu_type: VcpuType,
    features: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_launches_have_the_digest_of_the_sev_crate(case in case()) {
        let folder = tempfile::tempdir().unwrap();
        prop_assert_eq!(ours(&case), theirs(&case, folder.path()));
    }
}

fn case() -> impl Strategy<Value = Case> {
    // Kinds that every implementation knows, at distinct pages below the page of the hash table.
    let section = (0u32..0x100, 1u32..4, 1u32..5).prop_map(|(page, pages, kind)| {
        [0x80_0000 + page * 0x1000, if kind == 1 { pages * 0x1000 } else { 0x1000 }, kind]
    });
    let sections = proptest::collection::vec(section, 0..6).prop_map(|mut sections| {
        sections.push([0x81_0000, 0x1000, 0x10]);
        sections
    });
    let bytes = || proptest::collection::vec(any::<u8>(), 0..2048);
    // The other side trims the command line, which QEMU does not.
    let kernel = proptest::option::of((bytes(), bytes(), "[!-~]([ -~]{0,60}[!-~])?"));
    let models: Vec<VcpuType> = VcpuType::all().collect();
    (sections, any::<u8>(), kernel, 1u32..40, proptest::sample::select(models), 0u64..0x8000).prop_map(
        |(sections, filler, kernel, vcpus, vcpu_type, features)| {
            let mut firmware = support::firmware_with(&sections);
            firmware[..4096].fill(filler);
            Case { firmware, kernel, vcpus, vcpu_type, features: features & !(1 << 11 | 1 << 13) | 1 }
        },
    )
}

fn ours(case: &Case) -> String {
    let launch = SnpLaunch {
        firmware: &Firmware::parse(&case.firmware).unwrap(),
        kernel: case.kernel.as_ref().map_or(Kernel::NotMeasured, |(kernel, initrd, cmdline)| {
            Kernel::Measured(KernelHashes::of(kernel, initrd, cmdline))
        }),
        vcpus: case.vcpus,
        vcpu_signature: case.vcpu_type.signature(),
        guest_features: GuestFeatures::for_snp(case.features).unwrap(),
        vmm: Vmm::Qemu,
    };
    launch.digest().unwrap().to_string()
}

fn theirs(case: &Case, folder: &Path) -> String {
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let digest = snp_calc_launch_digest(SnpMeasurementArgs {
        vcpus: case.vcpus,
        vcpu_type: CpuType::try_from(case.vcpu_type.name()).unwrap(),
        ovmf_file: file("firmware", &case.firmware),
        guest_features: OtherFeatures(case.features),
        kernel_file: case.kernel.as_ref().map(|kernel| file("kernel", &kernel.0)),
        initrd_file: case.kernel.as_ref().map(|kernel| file("initrd", &kernel.1)),
        append: case.kernel.as_ref().map(|kernel| kernel.2.as_str()),
        ovmf_hash_str: None,
        vmm_type: Some(VMMType::QEMU),
    });
    digest.unwrap().get_hex_ld()
}
