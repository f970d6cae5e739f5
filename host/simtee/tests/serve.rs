//! Does the simulator sign what hardware would sign, and nothing else?

mod support;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use casemate_evidence::Measurement;
use casemate_evidence::snp::{Product, Version, Vmpl};
use casemate_measure::kernel_hashes::KernelHashes;
use casemate_measure::ovmf::Firmware;
use casemate_measure::shape::{GuestFeatures, VcpuType};
use casemate_measure::snp::{Kernel, SnpLaunch};
use casemate_measure::vmsa::Vmm;
use casemate_verify::TrustClass;
use support::{Files, HOST_DATA, Signer, request, simtee, text};

#[test]
fn reports_of_every_kind_verify_under_the_simulated_root() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::small(folder.path());
    for (product, name, number, version) in [
        (Product::Milan, "milan", "2", Version::V2),
        (Product::Milan, "milan", "3", Version::V3),
        (Product::Genoa, "genoa", "2", Version::V2),
        (Product::Genoa, "genoa", "5", Version::V5),
        (Product::Turin, "turin", "3", Version::V3),
        (Product::Turin, "turin", "5", Version::V5),
    ] {
        let socket = folder.path().join(format!("{name}-{number}"));
        let signer =
            Signer::start(&socket, &files, "console=ttyS0", &["--product", name, "--report-version", number]);
        let report = signer.ask(&mut signer.connect(), &request([7; 64], 0));
        let genuine = signer.authenticate(&report);
        assert_eq!((genuine.product(), genuine.trust_class()), (product, TrustClass::Simulated));
        let report = genuine.report();
        assert_eq!(report.version(), version);
        assert_eq!(report.report_data().as_bytes(), &[7; 64]);
        assert_eq!(report.host_data().to_string(), HOST_DATA);
        assert_eq!(report.measurement(), measurement(2));
        assert_eq!(report.measurement().to_string(), signer.ready["measurement"].as_str().unwrap());
        assert_eq!(report.chip_id().to_string(), signer.ready["chip_id"].as_str().unwrap());
        assert_eq!((report.policy().debug(), report.vmpl()), (false, Vmpl::Guest(0)));
    }
}

#[test]
fn a_chosen_tcb_has_a_key_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::small(folder.path());
    let tcb = |text| ["--tcb", text];
    let old =
        Signer::start(&folder.path().join("old"), &files, "", &tcb("bootloader=3,tee=0,snp=8,microcode=71"));
    let usual = Signer::start(&folder.path().join("usual"), &files, "", &[]);
    let genuine = old.authenticate(&old.ask(&mut old.connect(), &request([1; 64], 0)));
    assert_eq!((genuine.reported_tcb().bootloader, genuine.reported_tcb().microcode), (3, 71));
    assert_ne!(old.ready["certificates"]["leaf"], usual.ready["certificates"]["leaf"]);
}

#[test]
fn processes_that_start_together_agree_on_the_chips_key() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::small(folder.path());
    let extra = ["--tcb", "bootloader=1,tee=0,snp=1,microcode=1"];
    let signers: Vec<_> = std::thread::scope(|scope| {
        let start = |index: usize| {
            let (socket, files) = (folder.path().join(index.to_string()), &files);
            scope.spawn(move || Signer::start(&socket, files, "", &extra))
        };
        let started: Vec<_> = (0..4).map(start).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for signer in &signers {
        signer.authenticate(&signer.ask(&mut signer.connect(), &request([1; 64], 0)));
    }
}

#[test]
fn what_hardware_refuses_is_answered_with_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::small(folder.path());
    let signer = Signer::start(&folder.path().join("socket"), &files, "", &["--vmpl", "1"]);
    let mut stream = signer.connect();
    let refused = |answer: [u8; 1184]| answer.iter().all(|byte| *byte == 0);
    for vmpl in [0, 4, 256, u32::MAX] {
        assert!(refused(signer.ask(&mut stream, &request([1; 64], vmpl))), "VMPL {vmpl}");
    }
    for offset in 68..96 {
        let mut reserved = request([1; 64], 1);
        reserved[offset] = 1;
        assert!(refused(signer.ask(&mut stream, &reserved)), "reserved byte {offset}");
    }
    for vmpl in 1..=3 {
        let genuine = signer.authenticate(&signer.ask(&mut stream, &request([1; 64], vmpl)));
        assert_eq!(genuine.report().vmpl(), Vmpl::Guest(vmpl as u8));
    }
}

#[test]
fn the_host_stores_the_chips_certificates_for_its_guest() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::small(folder.path());
    let signer = Signer::start(&folder.path().join("socket"), &files, "", &["--product", "turin"]);
    let mut stream = signer.connect();
    stream.write_all(&request([0; 64], u32::MAX)).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut table = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut table).unwrap();
    let found = casemate_attester::parse_table(&table).unwrap();
    for (certificate, name) in found.iter().zip(["leaf", "intermediate", "root"]) {
        let file = std::fs::read(signer.ready["certificates"][name].as_str().unwrap()).unwrap();
        assert_eq!(certificate.bytes, file, "{name}");
    }
    assert_eq!(found.len(), 3);
    signer.authenticate(&signer.ask(&mut stream, &request([1; 64], 0)));
}

#[test]
fn broken_and_slow_requests_do_not_stop_the_signer() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::small(folder.path());
    let signer = Signer::start(&folder.path().join("socket"), &files, "", &[]);

    // Cut off in the middle: closed, and the next connection is served.
    let mut cut = signer.connect();
    cut.write_all(&[1; 50]).unwrap();
    drop(cut);

    // In pieces: one request.
    let mut stream = signer.connect();
    let whole = request([2; 64], 0);
    for piece in whole.chunks(7) {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut answer = [0; 1184];
    stream.read_exact(&mut answer).unwrap();
    signer.authenticate(&answer);

    // Left unfinished for long: dropped, and what follows is understood.
    stream.write_all(&[3; 95]).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    signer.authenticate(&signer.ask(&mut stream, &whole));

    // Several at once are answered in order; garbage is refused whole.
    stream.write_all(&[[0xff; 96], whole].concat()).unwrap();
    let mut answers = [0; 2 * 1184];
    stream.read_exact(&mut answers).unwrap();
    assert!(answers[..1184].iter().all(|byte| *byte == 0));
    signer.authenticate(&answers[1184..]);
}

#[test]
fn the_socket_is_for_one_user_and_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::small(folder.path());
    let socket = folder.path().join("socket");
    let signer = Signer::start(&socket, &files, "", &[]);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let second = Signer::command(&socket, &files, "", &[]).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("served by another process"));
    drop(signer);
    Signer::start(&socket, &files, "", &[]); // what a killed process left behind is replaced
}

#[test]
fn launches_that_hardware_would_not_start_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::small(folder.path());
    let bad = folder.path().join("bad");
    let mut no_metadata = support::firmware();
    no_metadata[4096 - 0x600] ^= 1;
    std::fs::write(&bad, no_metadata).unwrap();
    for (extra, expected) in [
        (&["--firmware", text(&bad)][..], "expected `ASEV`"),
        (&["--firmware", "/nowhere"], "cannot open /nowhere"),
        (&["--kernel", "/nowhere"], "cannot open /nowhere"),
        (&["--vcpus", "0"], "0 vCPUs"),
        (&["--vcpu-type", "max"], "unknown"),
        (&["--guest-features", "0x0"], "SNPActive"),
        (&["--host-data", "00"], "expected 64 hexadecimal digits"),
        (&["--policy", "0x0"], "bit 17"),
        (&["--vmpl", "4"], "0..=3"),
        (&["--report-version", "4"], "version 2, 3 or 5"),
        (&["--tcb", "bootloader=1"], "component tee"),
        (&["--tcb", "bootloader=1,tee=1,snp=1,microcode=1,fmc=1"], "no component `fmc`"),
        (&["--product", "turin", "--tcb", "bootloader=1,tee=1,snp=1,microcode=1"], "have a component `fmc`"),
        (&["--product", "turin", "--report-version", "2"], "do not name the processor"),
        (&["--state", "/nowhere"], "cannot read /nowhere"),
    ] {
        let output = overriding(&folder.path().join("socket"), &files, extra);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(expected), "{extra:?}: {error}");
    }
}

#[test]
fn a_root_is_made_once() {
    let again = simtee(&["root", "create", "--state", text(&support::root())]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists; choose another folder"));
    let keys = std::fs::metadata(support::root().join("ark.key")).unwrap().permissions().mode();
    assert_eq!(keys & 0o777, 0o600);
    let shown = simtee(&["root", "show", "--state", text(&support::root())]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("SIMULATED: no confidentiality"));
}

/// Runs `serve` with arguments that replace those of the same name.
fn overriding(socket: &std::path::Path, files: &Files, extra: &[&str]) -> std::process::Output {
    let base = Signer::command(socket, files, "", &[]);
    let mut arguments: Vec<&str> = base.get_args().map(|argument| argument.to_str().unwrap()).collect();
    for pair in extra.chunks(2) {
        if let Some(at) = arguments.iter().position(|argument| *argument == pair[0]) {
            arguments.drain(at..at + 2);
        }
        arguments.extend(pair);
    }
    simtee(&arguments)
}

/// The measurement of the small files, computed here.
fn measurement(vcpus: u32) -> Measurement {
    let launch = SnpLaunch {
        firmware: &Firmware::parse(&support::firmware()).unwrap(),
        kernel: Kernel::Measured(KernelHashes::of(b"kernel", b"initrd", "console=ttyS0")),
        vcpus,
        vcpu_signature: VcpuType::EPYC_V4.signature(),
        guest_features: GuestFeatures::SNP,
        vmm: Vmm::Qemu,
    };
    launch.digest().unwrap()
}
