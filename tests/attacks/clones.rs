//! Two guests of one instance.
//!
//! Attack (issue: two clones at once; peers C2: 4): the host copies the disk of a guest and boots the copy, while
//! the guest runs, and both at the same time. Expected: exactly one goes on. A clone of a running guest takes
//! over, and the other ends with `superseded` at its next renewal; of two that start together, the one that was
//! granted later commits, and the other ends with `commit_failed`, `boot.superseded`.

use std::fs;

use casemate_tests::{findings::Findings, processes::wait_until};

use crate::running::Running;

/// The app runs, with leases of ten seconds. Returns the VM that goes on.
pub(crate) fn attack(running: &Running, findings: &mut Findings) -> String {
    let target = &running.target;
    let host = &target.host;

    // A copy of the disk of a guest that runs is the newest state there is.
    let copy = target.machine.scratch().join("copy.img");
    fs::copy(target.disk(), &copy).expect("room in scratch");
    target.define("clone", &copy);
    findings.ending("a clone of a running guest", &host.restart("clone"), "ready", "volume_opened");
    findings.ending("the guest that was cloned", &host.end(&target.vm), "superseded", "only one may run");
    // Its own disk is an old one now.
    let again = host.restart(&target.vm);
    findings.ending("the guest that was cloned, again", &again, "volume_stale", "no stamp on the disk");

    // Two at once, from the newest disk.
    let _ = host.try_call("POST", "/v1/vms/clone/stop", None);
    fs::copy(host.data_disk("clone"), &copy).expect("room in scratch");
    host.discard("clone");
    let roster = fs::read(target.machine.local().join("kms/roster.cbor")).expect("the seat's roster");
    running.turnstile.close(&roster);
    let ids = ["left", "right"];
    for id in ids {
        target.define(id, &copy);
        host.call("POST", &format!("/v1/vms/{id}/start"), None);
    }
    running.turnstile.wait_for(2);
    running.turnstile.allow_last();
    let notices = |id: &str| host.call("GET", &format!("/v1/vms/{id}"), None)["notices"].to_string();
    wait_until("one of two clones", 150, || ids.iter().any(|id| notices(id).contains("volume_opened")));
    running.turnstile.open();
    let mut endings = ids.map(|id| (host.ending(id), id));
    endings.sort_by_key(|(ending, _)| ending.code != "ready");
    let [(winner, goes_on), (loser, other)] = &endings;
    findings.ending("one of two clones at once", winner, "ready", "volume_opened");
    findings.ending("the other", loser, "commit_failed", "boot.superseded");
    host.discard(other);
    (*goes_on).to_owned()
}
