//! Does a guest get its volume back?
//!
//! Real image, real seat, simulated chip, under QEMU. `CASEMATE_IMAGE` names the built image. What becomes of
//! another disk than its own: `tests/attacks/volumes.rs`.

use std::{fs, time::Duration};

use casemate_api::progress::{FailureCode, Phase};
use casemate_tests::boot::{Boot, Deployment, Host, image};

const LIMIT: Duration = Duration::from_secs(150);
const DISK_BYTES: u64 = 256 << 20;

/// The whole life of one volume, boot after boot; each boot takes some seconds, so one test.
#[test]
fn a_volume_is_formatted_once_and_opened_ever_after() {
    let Some(image) = image() else { return };
    let mut deployment = Deployment::new(&image);
    let disk = deployment.blank_disk("data", DISK_BYTES);

    let first = deployment.boot(&disk, Host::default(), LIMIT);
    assert!(reached(&first, &Phase::VolumeFormatted { volume: "data".into() }), "{first:#?}");
    let granted = first.reached_ms(|phase| matches!(phase, Phase::KeysGranted { .. }));
    eprintln!("first boot: keys {granted:?} ms after QEMU's start, {:?}", times(&first));
    let second = deployment.boot(&disk, Host::default(), LIMIT);
    assert!(reached(&second, &Phase::VolumeOpened { volume: "data".into() }), "{second:#?}");
    assert!(!reached(&second, &Phase::VolumeFormatted { volume: "data".into() }));
    eprintln!("second boot: {:?}", times(&second));
}

#[test]
fn a_seat_that_cannot_be_reached_ends_the_boot() {
    let Some(image) = image() else { return };
    let mut deployment = Deployment::new(&image);
    let disk = deployment.blank_disk("data", DISK_BYTES);
    let boot = deployment.boot(&disk, Host { calls_passed: Some(0), ..Host::default() }, LIMIT);
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
