//! Does a built image measure as its description says?
//!
//! The signer hashes the files, the description carries digests: both must arrive at one measurement, or
//! a policy made from `image.toml` would refuse the very guests it was made for.

mod support;

use std::path::{Path, PathBuf};

use casemate_measure::image::{ImageDescription, Variant};
use casemate_measure::ovmf::Firmware;
use casemate_measure::shape::{GuestFeatures, Machine, Shape, VcpuType};
use support::{Files, Signer};

#[test]
fn a_built_image_measures_as_it_is_described() {
    let Some(folder) = image() else { return };
    let description =
        ImageDescription::parse(&std::fs::read_to_string(folder.join("image.toml")).unwrap()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.join(name);
    let firmware = path(&description.files.firmware.name);
    assert_eq!(Firmware::parse(&std::fs::read(&firmware).unwrap()).unwrap(), description.firmware);
    let shape = Shape {
        vcpus: 2, // as the signers of these tests
        vcpu_type: VcpuType::EPYC_V4,
        memory_mib: 2048,
        machine: Machine::Q35,
        guest_features: GuestFeatures::SNP,
    };
    for variant in [Variant::Hardware, Variant::Simulated] {
        let files = Files {
            firmware: firmware.clone(),
            kernel: path(&description.files.kernel.name),
            initrd: path(&description.initrd(variant).unwrap().name),
        };
        let socket = scratch.path().join(format!("{variant:?}"));
        let signer = Signer::start(&socket, &files, &description.cmdline, &[]);
        let expected = description.expected_measurement(variant, &shape).unwrap();
        assert_eq!(signer.ready["measurement"], expected.to_string(), "{variant:?}");
    }
}

/// `None`, said aloud, where no image is built; a failure under `CI=true`.
fn image() -> Option<PathBuf> {
    let folder = std::env::var_os("CASEMATE_IMAGE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/image"), PathBuf::from);
    if folder.join("image.toml").is_file() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no image at {}", folder.display());
    eprintln!(
        "NOT TESTED: no image at {}; run casemate-image-build, or set CASEMATE_IMAGE",
        folder.display()
    );
    None
}
