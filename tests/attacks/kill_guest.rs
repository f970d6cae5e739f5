//! Seat or QEMU killed between any two steps of a boot.
//!
//! Attack (issue: any process killed between any two steps; peers C2: 30): SIGKILL at the calls of a real guest
//! (challenge, release, prepare, commit), before the seat hears one or after it has decided. Expected: the guest
//! ends with the one name of what it lost, and whatever happened, the next boot finds the volume.

use std::time::Duration;

use casemate_api::progress::{FailureCode, Phase};
use casemate_tests::{
    boot::{Deployment, Host, Kill, Victim, When, image},
    findings::Findings,
};

use crate::{
    kill_seat::one_boot_one_stamp,
    volumes::{reached, refused},
};

const LIMIT: Duration = Duration::from_secs(150);

/// How a guest ends, and the seat's word in it.
type Said = (FailureCode, &'static str);

/// What a guest says whose seat was killed at a call, before or after its decision. Each of the other points, and
/// moments within them: `kill_seat.rs`.
const SEAT: &[(usize, When, Option<Said>)] = &[
    // The answer was lost with the process: the guest asks again, and boots.
    (1, When::After, None),
    // The challenge died with its process.
    (2, When::Before, Some((FailureCode::KeysDenied, "challenge.foreign"))),
    // Prepared and written down, and nobody knows the session any more.
    (3, When::After, Some((FailureCode::CommitFailed, "session.unknown"))),
    // Committed, and the guest does not know.
    (4, When::After, Some((FailureCode::CommitFailed, "session.unknown"))),
];

pub(crate) fn attack() {
    let Some(image) = image() else { return };
    let mut deployment = Deployment::new(&image);
    let mut findings = Findings::new();
    let disk = deployment.blank_disk("data", 64 << 20);
    let opened = Phase::VolumeOpened { volume: "data".into() };
    let formatted = Phase::VolumeFormatted { volume: "data".into() };

    // Before the first commit nothing is there to be lost: the next boot formats.
    let kill = Kill { victim: Victim::Guest, call: 3, when: When::After };
    let boot = deployment.boot(&disk, Host { kill: Some(kill), ..Host::default() }, LIMIT);
    let ended = boot.powered_off && boot.failure().is_none() && !boot.phases().contains(&&formatted);
    findings.holds("QEMU killed after its first prepare", ended, "no word", &format!("{:?}", boot.phases()));
    reached(&mut findings, "then", &deployment.boot(&disk, Host::default(), LIMIT), &formatted);

    for (call, when, expected) in SEAT {
        let kill = Kill { victim: Victim::Seat, call: *call, when: *when };
        let boot = deployment.boot(&disk, Host { kill: Some(kill), ..Host::default() }, LIMIT);
        let attack = format!("the seat killed {when:?} call {call}");
        match expected {
            None => reached(&mut findings, &attack, &boot, &opened),
            Some((code, because)) => refused(&mut findings, &attack, &boot, *code, because),
        }
    }
    for (call, when) in [(4, When::Before), (4, When::After)] {
        let kill = Kill { victim: Victim::Guest, call, when };
        let boot = deployment.boot(&disk, Host { kill: Some(kill), ..Host::default() }, LIMIT);
        let ended = boot.powered_off && boot.failure().is_none();
        let attack = format!("QEMU killed {when:?} call {call}");
        findings.holds(&attack, ended, "no word", &format!("{:?}", boot.phases()));
    }
    // Each of these boots opened what the one before it had left; so does the last, which nobody disturbs.
    reached(&mut findings, "then", &deployment.boot(&disk, Host::default(), LIMIT), &opened);
    one_boot_one_stamp(&deployment.seat().logged(), &mut findings);
    findings.finish();
}
