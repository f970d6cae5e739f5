//! Do the digests agree with those of other tools and of real hardware?
//!
//! Reads every vector that it finds, by what the vector says of itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use casemate_measure::dstack;
use casemate_measure::id_block::IdAuth;
use casemate_measure::kernel_hashes::KernelHashes;
use casemate_measure::ovmf::Firmware;
use casemate_measure::sev::{sev_digest, sev_es_digest};
use casemate_measure::shape::{VcpuSignature, VcpuType};
use casemate_measure::snp::{Kernel, SnpLaunch};
use casemate_measure::vmsa::Vmm;
use serde_json::Value;

#[test]
fn vector_digests_are_reproduced() {
    let Some(folder) = vectors() else { return };
    let mut checked = BTreeSet::new();
    let mut others = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("the vector folder can be listed") {
        let vector = Vector::read(&entry.expect("a folder entry").path());
        let platform = vector.text("/platform").to_owned();
        if platform.starts_with("AMD SEV") {
            vector.check();
            checked.insert(vector.text("/name").to_owned());
        } else {
            others.insert(platform);
        }
    }
    // TDX, vTPM registers and whatever is added for them have calculators of their own.
    assert!(
        others.iter().all(|platform| platform.contains("TDX") || platform.contains("UKI")),
        "vectors of unknown platforms: {others:?}"
    );
    assert!(!checked.is_empty(), "{} holds no vector of an AMD platform", folder.display());
    println!("{} vectors reproduced: {checked:?}", checked.len());
}

/// `None`, said aloud, where the vectors are not at hand; a failure under `CI=true`.
fn vectors() -> Option<PathBuf> {
    let root = std::env::var_os("CASEMATE_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    let folder = root.join("launch-measurement");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no vectors at {}", folder.display());
    eprintln!("NOT TESTED: no vectors at {}; set CASEMATE_VECTORS", folder.display());
    None
}

struct Vector {
    folder: PathBuf,
    json: Value,
}

impl Vector {
    fn read(folder: &Path) -> Self {
        let text = std::fs::read(folder.join("vector.json")).expect("each vector has a vector.json");
        Vector { folder: folder.into(), json: serde_json::from_slice(&text).expect("vector.json is JSON") }
    }

    fn check(&self) {
        match self.json.pointer("/fields/mode").and_then(Value::as_str) {
            Some("SEV") => self.expect(&sev_digest(&self.file("ovmf.bin"), self.kernel()).unwrap()),
            Some("SEV_ES") => self.expect(
                &sev_es_digest(
                    &self.file("ovmf.bin"),
                    self.kernel(),
                    self.vcpus(),
                    self.signature(),
                    self.vmm(),
                )
                .unwrap(),
            ),
            Some("SEV_SNP") => self.check_snp(),
            Some(mode) => panic!("{}: unknown mode {mode}", self.text("/name")),
            None if self.has("measurement-document.json") => self.check_document(),
            None if self.has("test_auth_block.bin") => self.check_id_block(),
            None => panic!("{}: an AMD vector that no check covers", self.text("/name")),
        }
    }

    fn check_snp(&self) {
        let firmware = Firmware::parse(&self.file("ovmf.bin")).unwrap();
        let launch = SnpLaunch {
            firmware: &firmware,
            kernel: self.kernel(),
            vcpus: self.vcpus(),
            vcpu_signature: self.signature(),
            guest_features: self.text("/fields/guest_features").parse().unwrap(),
            vmm: self.vmm(),
        };
        self.expect(&launch.digest().unwrap());
        // The description alone gives the same.
        let described: Firmware = serde_json::from_str(&serde_json::to_string(&firmware).unwrap()).unwrap();
        self.expect(&SnpLaunch { firmware: &described, ..launch }.digest().unwrap());
    }

    /// No file at all, only digests: a document of dstack and the report of hardware that measured it.
    fn check_document(&self) {
        let launch = dstack::Launch::parse(&self.file("measurement-document.json")).unwrap();
        let dstack::Launch::Snp(digest) = launch else { panic!("a launch of SEV-SNP") };
        self.expect(&digest);
        assert_eq!(digest.as_ref(), &self.file("report.bin")[0x90..0xc0], "the hardware's own MEASUREMENT");
    }

    fn check_id_block(&self) {
        let auth = IdAuth::parse(&self.file("test_auth_block.bin")).unwrap();
        let (author_signature, author_key) = auth.author.expect("the vector has an author key");
        assert_eq!(auth.id_key.digest().to_string(), self.text("/expected/id_key_digest"));
        assert_eq!(author_key.digest().to_string(), self.text("/expected/author_key_digest"));
        assert_eq!(auth.id_key, pem_key(&self.file("id_public.pem")));
        assert_eq!(author_key, pem_key(&self.file("author_public.pem")));
        // The signature files are the same structures, alone.
        for (file, signature) in
            [("test_id_sig.bin", auth.id_signature), ("test_auth_sig.bin", author_signature)]
        {
            let bytes = self.file(file);
            let little_endian =
                |offset: usize| bytes[offset..offset + 48].iter().rev().copied().collect::<Vec<_>>();
            assert_eq!(little_endian(0), signature.r, "{file}");
            assert_eq!(little_endian(72), signature.s, "{file}");
        }
        use p384::ecdsa::signature::Verifier;
        let mut point = vec![4];
        point.extend(author_key.x);
        point.extend(author_key.y);
        let signature = p384::ecdsa::Signature::from_scalars(author_signature.r, author_signature.s).unwrap();
        p384::ecdsa::VerifyingKey::from_sec1_bytes(&point)
            .unwrap()
            .verify(&auth.id_key.to_bytes(), &signature)
            .expect("the author key signed the ID key");
    }

    fn kernel(&self) -> Kernel {
        if !self.json["fields"]["kernel_hashes"].as_bool().unwrap() {
            return Kernel::NotMeasured;
        }
        let cmdline = self.text("/fields/append");
        Kernel::Measured(KernelHashes::of(&self.file("kernel.bin"), &self.file("initrd.bin"), cmdline))
    }

    fn vcpus(&self) -> u32 {
        self.json["fields"]["vcpus"].as_u64().unwrap() as u32
    }

    fn signature(&self) -> VcpuSignature {
        let signature = self.text("/fields/vcpu_type").parse::<VcpuType>().unwrap().signature();
        assert_eq!(format!("{:#x}", signature.0), self.text("/fields/vcpu_sig"));
        signature
    }

    fn vmm(&self) -> Vmm {
        match self.text("/fields/vmm") {
            "qemu" => Vmm::Qemu,
            "ec2" => Vmm::Ec2,
            "gce" => Vmm::Gce,
            other => panic!("{}: unknown VMM {other}", self.text("/name")),
        }
    }

    fn expect(&self, digest: &impl std::fmt::Display) {
        assert_eq!(digest.to_string(), self.text("/expected/launch_digest"), "{}", self.text("/name"));
    }

    fn has(&self, file: &str) -> bool {
        self.folder.join(file).is_file()
    }

    fn file(&self, name: &str) -> Vec<u8> {
        let path = self.folder.join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn text(&self, pointer: &str) -> &str {
        let found = self.json.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("{}: no {pointer}", self.folder.display()))
    }
}

fn pem_key(pem: &[u8]) -> casemate_measure::id_block::IdKey {
    use p384::pkcs8::DecodePublicKey;
    let key = p384::PublicKey::from_public_key_pem(std::str::from_utf8(pem).unwrap()).unwrap();
    let point = key.to_sec1_bytes();
    let half = |range: std::ops::Range<usize>| point[range].try_into().unwrap();
    casemate_measure::id_block::IdKey { x: half(1..49), y: half(49..97) }
}
