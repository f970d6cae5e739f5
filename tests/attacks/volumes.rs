//! Disks that are not the one the guest wrote last.
//!
//! Attacks (issue: null-cipher, extra-keyslot, re-encrypting and swapped LUKS2 headers; a blank disk for a live
//! volume, an old disk; forged app id; peers C2: 1, 2, 4): the host owns the disks and shows a real guest whatever
//! it likes. Expected: `volume_refused` where a stamp is right and what it names is not, `volume_stale` where no
//! stamp is; no disk is ever written to. The key service's side of it: `relay_messages.rs`, `kill_seat.rs`.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    time::Duration,
};

use casemate_api::{
    launch::LaunchBundle,
    progress::{FailureCode, Phase},
};
use casemate_canon::to_cbor;
use casemate_crypto::sign::SigningKey;
use casemate_record::{
    Authority, BootId, Genesis, InstanceRecord, Salt, Signed, Submission, UpgradeRule, VolumeAction,
    VolumeRecord,
};
use casemate_tests::{
    boot::{Boot, Deployment, Host, image},
    findings::Findings,
    hostile::HEADER_AT,
    keys::{VolumeSecrets, read_header},
    seat::data,
};
use casemate_volume::frame::{header_digest, slot_bytes};

use crate::luks_headers::HEADERS;

/// Where the partition begins, in bytes.
const PARTITION: u64 = 1 << 20;
const DISK_BYTES: u64 = 64 << 20;
const LIMIT: Duration = Duration::from_secs(150);

const STALE: (FailureCode, &str) = (FailureCode::VolumeStale, "no stamp on the disk");
const CHANGED: (FailureCode, &str) = (FailureCode::VolumeRefused, "the header was changed or swapped");

pub(crate) fn attack() {
    let Some(image) = image() else { return };
    let mut deployment = Deployment::new(&image);
    let mut findings = Findings::new();
    let disk = deployment.blank_disk("data", DISK_BYTES);

    // A first boot that was cut off before its commit leaves another header of the same volume.
    let cut_off = Host { calls_passed: Some(3), ..Host::default() };
    let boot = deployment.boot(&disk, cut_off, LIMIT);
    let attack = "a first boot cut off before its commit";
    refused(&mut findings, attack, &boot, FailureCode::CommitFailed, "to commit");
    let abandoned_header = read_header(&disk);
    let first = deployment.boot(&disk, Host::default(), LIMIT);
    reached(&mut findings, "the first boot", &first, &Phase::VolumeFormatted { volume: "data".into() });
    let old = deployment.path("old");
    fs::copy(&disk, &old).expect("room in scratch");
    let second = deployment.boot(&disk, Host::default(), LIMIT);
    reached(&mut findings, "the second boot", &second, &Phase::VolumeOpened { volume: "data".into() });

    let header = read_header(&disk);
    let mut disks = vec![
        ("the disk of before the last boot", old, STALE),
        ("a blank disk", deployment.blank_disk("blank", DISK_BYTES), STALE),
    ];
    let hostile = HEADERS[..3].iter().map(|hostile| (hostile.name, hostile.of(&header)));
    for (name, header) in hostile.chain([("the header of another format", abandoned_header)]) {
        let shown = deployment.path(name);
        fs::copy(&disk, &shown).expect("room in scratch");
        write_at(&shown, HEADER_AT, &header);
        disks.push((name, shown, CHANGED));
    }
    for (attack, shown, (code, because)) in disks {
        let before = fs::read(&shown).expect("it is our copy");
        let boot = deployment.boot(&shown, Host::default(), LIMIT);
        refused(&mut findings, attack, &boot, code, because);
        let unchanged = fs::read(&shown).expect("it is our copy") == before;
        findings.holds(&format!("{attack}: the disk"), unchanged, "not written to", "written to");
    }

    another_owners_genesis(&mut deployment, &disk, &mut findings);
    let boot = deployment.boot(&disk, Host::default(), LIMIT);
    reached(&mut findings, "the volume itself", &boot, &Phase::VolumeOpened { volume: "data".into() });
    a_header_by_a_holder_of_the_key(&mut deployment, &disk, &mut findings);
    findings.finish();
}

/// The same manifest, launched under the attacker's genesis: the app id does not hash.
fn another_owners_genesis(deployment: &mut Deployment, disk: &Path, findings: &mut Findings) {
    let launch = deployment.path("launch");
    let good = fs::read(&launch).expect("the launch disk");
    let mut bundle = LaunchBundle::from_disk(&good).expect("it is well formed");
    let attacker = SigningKey::from_bytes(&[8; 32]).expect("a key");
    let genesis = Genesis {
        owner: attacker.public(),
        authority: Authority::Local,
        upgrade_rule: UpgradeRule::Owner,
        salt: Salt::from([7; 32]),
    };
    let owner = deployment.volume();
    bundle.genesis = to_cbor(&genesis);
    let record = InstanceRecord { app_id: owner.app_id, instance: owner.instance, number: 2 };
    bundle.instance_record = Signed::sign(&attacker, &record).to_bytes();
    fs::write(&launch, bundle.to_disk()).expect("scratch is writable");
    let boot = deployment.boot(disk, Host::default(), LIMIT);
    let because = "was the genesis changed?";
    refused(findings, "another owner's genesis", &boot, FailureCode::LaunchRefused, because);
    fs::write(&launch, good).expect("scratch is writable");
}

/// Whoever has the volume's key (a leak, an older version of the app) writes a null-cipher header with a good
/// MAC, and gets the owner to restore its stamp. The allow-list is what is left.
fn a_header_by_a_holder_of_the_key(deployment: &mut Deployment, disk: &Path, findings: &mut Findings) {
    let owner = deployment.volume();
    let secrets = VolumeSecrets::checked(&deployment.seat().state, &owner);
    let header = HEADERS[0].of(&read_header(disk));
    let (counter, boot_id) = (secrets.stamp.counter + 1, BootId::from([0xee; 16]));
    let stamp = secrets.keys.stamp(counter, header_digest(&header), boot_id);
    write_at(disk, PARTITION, &slot_bytes(&secrets.keys, &stamp, &header));
    write_at(disk, HEADER_AT, &header);
    let record = VolumeRecord {
        app_id: owner.app_id,
        instance: owner.instance,
        volume: data(),
        number: 1,
        action: VolumeAction::Restore(stamp),
    };
    deployment.submit(Submission::Volume(Signed::sign(&deployment.owner, &record)));
    let boot = deployment.boot(disk, Host::default(), LIMIT);
    let attack = "a null cipher under a good MAC";
    refused(findings, attack, &boot, FailureCode::VolumeRefused, "uses the null cipher");
}

fn write_at(disk: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(disk).expect("it is our disk");
    file.write_all_at(bytes, at).expect("it is our disk");
}

/// The boot failed by itself, with this code and this in its message.
pub(crate) fn refused(findings: &mut Findings, attack: &str, boot: &Boot, code: FailureCode, because: &str) {
    let found = boot.failure();
    let holds =
        boot.powered_off && found.is_some_and(|(found, said)| found == code && said.contains(because));
    findings.holds(attack, holds, &format!("{code} ({because})"), &ended(boot));
}

/// The boot came as far as this.
pub(crate) fn reached(findings: &mut Findings, what: &str, boot: &Boot, wanted: &Phase) {
    findings.holds(what, boot.phases().contains(&wanted), &wanted.to_string(), &ended(boot));
}

fn ended(boot: &Boot) -> String {
    boot.failure().map_or_else(
        || format!("{:?}, powered off: {}, console: {}", boot.phases(), boot.powered_off, boot.console),
        |(code, said)| format!("{code}: {said}"),
    )
}
