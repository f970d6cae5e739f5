//! Does a guest get its volume back, and no other?
//!
//! Real image, real seat, simulated chip, under QEMU. `CASEMATE_IMAGE` names the built image.

use std::{fs, time::Duration};

use casemate_api::progress::{FailureCode, Phase};
use casemate_tests::boot::{Boot, Deployment, Host, flip_byte, image};

const LIMIT: Duration = Duration::from_secs(150);
const DISK_BYTES: u64 = 256 << 20;
/// Where the partition begins (sector 2048), and in it the LUKS2 header (`casemate_volume::frame`).
const PARTITION: u64 = 1 << 20;
const HEADER: u64 = PARTITION + (1 << 20);

/// The whole life of one volume, boot after boot; each boot takes some seconds, so one test.
#[test]
fn a_volume_is_formatted_once_and_opened_ever_after() {
    let Some(image) = image() else { return };
    let mut deployment = Deployment::new(&image);
    let disk = deployment.blank_disk("data", DISK_BYTES);

    // A host that cuts the seat off after challenge, release and prepare: never committed, never live.
    let boot = deployment.boot(&disk, Host { calls_passed: Some(3) }, LIMIT);
    expect_failure(&boot, FailureCode::CommitFailed);

    let first = deployment.boot(&disk, Host::default(), LIMIT);
    assert!(reached(&first, &Phase::VolumeFormatted { volume: "data".into() }), "{first:#?}");
    let granted = first.reached_ms(|phase| matches!(phase, Phase::KeysGranted { .. }));
    eprintln!("first boot: keys {granted:?} ms after QEMU's start, {:?}", times(&first));
    let after_first = deployment.path("after-first");
    fs::copy(&disk, &after_first).unwrap();

    let second = deployment.boot(&disk, Host::default(), LIMIT);
    assert!(reached(&second, &Phase::VolumeOpened { volume: "data".into() }), "{second:#?}");
    assert!(!reached(&second, &Phase::VolumeFormatted { volume: "data".into() }));
    eprintln!("second boot: {:?}", times(&second));

    // The disk as it was before the second boot.
    expect_failure(&deployment.boot(&after_first, Host::default(), LIMIT), FailureCode::VolumeStale);

    // A blank disk in place of a live volume is not formatted.
    let blank = deployment.blank_disk("blank", DISK_BYTES);
    let before = fs::read(&blank).unwrap();
    expect_failure(&deployment.boot(&blank, Host::default(), LIMIT), FailureCode::VolumeStale);
    assert!(fs::read(&blank).unwrap() == before, "the blank disk was written to");

    // One bit of the header, in the key slots.
    let changed = deployment.path("changed");
    fs::copy(&disk, &changed).unwrap();
    flip_byte(&changed, HEADER + 40_000);
    expect_failure(&deployment.boot(&changed, Host::default(), LIMIT), FailureCode::VolumeRefused);

    // After all that the volume itself still opens.
    let last = deployment.boot(&disk, Host::default(), LIMIT);
    assert!(reached(&last, &Phase::VolumeOpened { volume: "data".into() }), "{last:#?}");
}

#[test]
fn a_seat_that_cannot_be_reached_ends_the_boot() {
    let Some(image) = image() else { return };
    let mut deployment = Deployment::new(&image);
    let disk = deployment.blank_disk("data", DISK_BYTES);
    let boot = deployment.boot(&disk, Host { calls_passed: Some(0) }, LIMIT);
    expect_failure(&boot, FailureCode::SeatsSilent);
}

#[test]
fn a_measurement_that_the_policy_does_not_list_gets_no_keys() {
    let Some(image) = image() else { return };
    let mut deployment = Deployment::new(&image);
    let disk = deployment.blank_disk("data", DISK_BYTES);
    deployment.measure_vcpus(3);
    let before = fs::read(&disk).unwrap();
    expect_failure(&deployment.boot(&disk, Host::default(), LIMIT), FailureCode::KeysDenied);
    assert!(fs::read(&disk).unwrap() == before, "the disk was written to");
}

#[test]
fn a_launch_disk_of_another_workload_is_refused() {
    let Some(image) = image() else { return };
    let mut deployment = Deployment::new(&image);
    let disk = deployment.blank_disk("data", DISK_BYTES);
    let other = Deployment::new(&image);
    fs::copy(other.path("launch"), deployment.path("launch")).unwrap();
    let boot = deployment.boot(&disk, Host::default(), LIMIT);
    expect_failure(&boot, FailureCode::WorkloadMismatch);
    assert!(!boot.phases().iter().any(|phase| matches!(phase, Phase::Attesting { .. })), "{boot:#?}");
}

fn reached(boot: &Boot, wanted: &Phase) -> bool {
    boot.phases().contains(&wanted)
}

fn expect_failure(boot: &Boot, expected: FailureCode) {
    let found = boot.failure();
    assert_eq!(found.map(|(code, _)| code), Some(expected), "{boot:#?}");
    assert!(boot.powered_off, "the guest did not switch itself off: {boot:#?}");
    eprintln!("refused: {}", found.map_or("", |(_, message)| message));
}

fn times(boot: &Boot) -> Vec<(u64, String)> {
    boot.notices.iter().map(|(at, notice)| (*at, notice.phase.to_string())).collect()
}
