//! Do the documents show the bytes that the code makes? `CASEMATE_BLESS=1` writes them anew.

use std::{fs, path::PathBuf};

use casemate_canon::to_cbor;
use casemate_crypto::{
    hash::{Sha256, sha256},
    kdf::hkdf_sha512,
    seal::{Sealed, SealingKey},
    secret::Secret,
    sign::SigningKey,
};
use casemate_evidence::bundle::Session;
use casemate_record::{
    AppId, Authority, AuthorityRecord, BootId, Genesis, InstanceId, InstanceRecord, KmsGenesis, Lease, Order,
    OrderAction, PolicyDigest, Roster, Seat, Signed, Submission, SubmissionReceipt, SubmissionRequest,
    Subset, Taken, UpgradeRule, VolumeAction, VolumeName, VolumeRecord, WorkloadDigest,
};
use casemate_release::{
    derive::{KeyInput, KeyPurpose, SubsetSecrets},
    message::{Denial, SeatRequest, Step, transcript},
    report_data::{self, Purpose},
    session::volume_step,
};
use casemate_verify::TrustClass;
use casemate_volume::{VolumeKeys, frame};

fn owner() -> SigningKey {
    SigningKey::from_bytes(&[7; 32]).unwrap()
}

fn genesis() -> Genesis {
    Genesis {
        owner: owner().public(),
        authority: Authority::Local,
        upgrade_rule: UpgradeRule::Owner,
        salt: [1; 32].into(),
    }
}

fn app() -> AppId {
    genesis().app_id()
}

fn instance() -> InstanceId {
    [3; 16].into()
}

fn boot() -> BootId {
    [4; 16].into()
}

fn workload() -> WorkloadDigest {
    [5; 32].into()
}

fn data() -> VolumeName {
    VolumeName::new("data").unwrap()
}

fn kms() -> KmsGenesis {
    KmsGenesis { operators: SigningKey::from_bytes(&[8; 32]).unwrap().public(), salt: [2; 32].into() }
}

fn seat() -> SigningKey {
    SigningKey::from_bytes(&[9; 32]).unwrap()
}

fn roster() -> Roster {
    let sealing = SealingKey::from_seed(Secret::from_slice(&[10; 32]).unwrap()).public();
    Roster {
        kms_id: kms().kms_id(),
        key_epoch: 1,
        number: 1,
        previous: None,
        seats: vec![Seat { index: 1, signing: seat().public(), sealing }],
        threshold: 1,
        quorum: 1,
        faulty: 0,
    }
}

fn input(purpose: KeyPurpose) -> KeyInput {
    let salt = Secret::from_slice(&[11; 32]).unwrap();
    KeyInput {
        trust_class: TrustClass::Simulated,
        kms_id: kms().kms_id(),
        key_epoch: 1,
        app_id: app(),
        instance: instance(),
        purpose,
        volume: (purpose == KeyPurpose::Disk).then(|| (data(), 1, salt)),
        workload_digest: workload(),
    }
}

/// Ten minutes for the boot `04`.
fn lease() -> Lease {
    Lease {
        kms_id: kms().kms_id(),
        roster_digest: roster().digest(),
        key_epoch: 1,
        seat: 1,
        app_id: app(),
        workload_digest: workload(),
        instance: instance(),
        boot_id: boot(),
        begins_ms: 1_767_225_600_000,
        ends_ms: 1_767_226_200_000,
    }
}

fn keys() -> VolumeKeys {
    VolumeKeys::derive(&hkdf_sha512(b"worked", &[12; 32], b"bytes"))
}

fn holds(document: &str, worked: &[(&str, Vec<u8>)]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(document);
    let mut text = fs::read_to_string(&path).unwrap();
    for (name, bytes) in worked {
        let marker = format!("<!-- worked: {name} -->\n```hex\n");
        let start = text.find(&marker).unwrap_or_else(|| panic!("{document} shows no {name}")) + marker.len();
        let end = start + text[start..].find("```").unwrap();
        let lines: Vec<String> =
            bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        let expected = lines.join("\n") + "\n";
        if std::env::var_os("CASEMATE_BLESS").is_some() {
            text.replace_range(start..end, &expected);
        } else {
            assert_eq!(text[start..end], expected, "{name} in {document}");
        }
    }
    if std::env::var_os("CASEMATE_BLESS").is_some() {
        fs::write(path, text).unwrap();
    }
}

#[test]
fn report_data_as_documented() {
    let session = Session {
        key: vec![7; 1216].into(),
        instance: *instance().as_bytes(),
        boot_id: *boot().as_bytes(),
        roster_digest: *roster().digest().as_bytes(),
        key_epoch: 1,
        lease_ends_ms: lease().ends_ms,
        leases: vec![Signed::sign(&seat(), &lease()).to_bytes().into()],
    };
    let data = report_data::session(&[6; 32], &workload(), &session);
    holds(
        "report-data.md",
        &[
            ("application", report_data::application(b"hello").unwrap().as_bytes().to_vec()),
            ("session", data.as_bytes().to_vec()),
            ("two fields", report_data::report_data(Purpose::Probe, &[b"a", b"bc"]).as_bytes().to_vec()),
        ],
    );
}

#[test]
fn records_as_documented() {
    let authority = AuthorityRecord {
        app_id: app(),
        number: 1,
        workload_digest: workload(),
        policy_digest: PolicyDigest::from([6; 32]),
    };
    let stamp = keys().stamp(3, sha256(b"header"), boot());
    let volume =
        |action| VolumeRecord { app_id: app(), instance: instance(), volume: data(), number: 2, action };
    let order = Order {
        app_id: app(),
        instance: instance(),
        boot_id: None,
        workload_digest: workload(),
        number: 1,
        action: OrderAction::DeliverSecrets,
        payload_digest: sha256(b"payload"),
    };
    let instance_record =
        Signed::sign(&owner(), &InstanceRecord { app_id: app(), instance: instance(), number: 1 });
    let request =
        SubmissionRequest { nonce: [16; 32].into(), submission: Submission::Instance(instance_record) };
    let receipt = SubmissionReceipt {
        kms_id: kms().kms_id(),
        roster_digest: roster().digest(),
        seat: 1,
        nonce: request.nonce,
        submission_digest: request.submission.digest(),
        taken: Taken::Instance { number: 1 },
        time_ms: 1_767_225_600_000,
    };
    holds(
        "records.md",
        &[
            ("submission request", request.to_bytes()),
            ("submission digest", request.submission.digest().as_bytes().to_vec()),
            ("signed submission receipt", Signed::sign(&seat(), &receipt).to_bytes()),
            ("taken authority", to_cbor(&Taken::Authority { number: 1 })),
            ("taken erased", to_cbor(&volume(VolumeAction::Erase).outcome())),
            ("taken restored", to_cbor(&volume(VolumeAction::Restore(stamp)).outcome())),
            ("genesis", to_cbor(&genesis())),
            ("app id", app().as_bytes().to_vec()),
            ("authority record", to_cbor(&authority)),
            ("signed authority record", Signed::sign(&owner(), &authority).to_bytes()),
            ("instance record", to_cbor(&InstanceRecord { app_id: app(), instance: instance(), number: 1 })),
            ("erase", to_cbor(&volume(VolumeAction::Erase))),
            ("restore", to_cbor(&volume(VolumeAction::Restore(stamp)))),
            ("order", to_cbor(&order)),
            ("kms id", kms().kms_id().as_bytes().to_vec()),
            ("roster digest", roster().digest().as_bytes().to_vec()),
        ],
    );
}

#[test]
fn release_as_documented() {
    let secrets = SubsetSecrets::new([(Subset::from(1), Secret::from_slice(&[13; 32]).unwrap())]);
    let disk = input(KeyPurpose::Disk);
    let part = &secrets.share(&disk)[0];
    let session = Secret::from_slice(&[14; 32]).unwrap();
    let stamp = keys().stamp(3, sha256(b"header"), boot());
    let step = volume_step(&session, Sha256::from([15; 32]), Step::Prepare, &data(), &stamp);
    let challenge = SeatRequest::Challenge.to_bytes();
    let denial = Denial {
        transcript: transcript(&seat().public(), &challenge),
        time_ms: 1_767_225_600_000,
        check: "boot.superseded".to_owned(),
        found: boot().to_string(),
    };
    let sealed = Sealed { encapsulated: vec![1, 2], ciphertext: vec![3] };
    holds(
        "release.md",
        &[
            ("challenge request", challenge.clone()),
            ("transcript", transcript(&seat().public(), &challenge).as_bytes().to_vec()),
            ("disk input", disk.to_bytes().to_vec()),
            ("identity input", input(KeyPurpose::Identity).to_bytes().to_vec()),
            ("input digest", disk.digest().as_bytes().to_vec()),
            ("sub-output", part.value.expose().to_vec()),
            ("commitment", part.commitment(&disk.digest()).as_bytes().to_vec()),
            ("prepare", SeatRequest::Prepare(step).to_bytes()),
            ("denial", to_cbor(&denial)),
            ("signed lease", Signed::sign(&seat(), &lease()).to_bytes()),
            ("sealed", to_cbor(&sealed)),
        ],
    );
}

#[test]
fn volumes_as_documented() {
    let header = vec![16; frame::HEADER_BYTES];
    let stamp = keys().stamp(3, frame::header_digest(&header), boot());
    let slot = frame::slot_bytes(&keys(), &stamp, &header);
    let content = slot[8..8 + usize::from(slot[7])].to_vec();
    holds(
        "volumes.md",
        &[
            ("combined output", hkdf_sha512::<64>(b"worked", &[12; 32], b"bytes").expose().to_vec()),
            ("disk key", keys().disk().expose().to_vec()),
            ("stamp", to_cbor(&stamp)),
            ("slot content", content),
        ],
    );
}
