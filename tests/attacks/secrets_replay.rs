//! Secrets that were delivered before, delivered again by the host.
//!
//! Attack (issue: replayed secrets; peers C2: 5): the host recorded the sealed call that delivered the secrets'
//! first version, the owner has delivered a second one since, and the host sends the first again: to the same
//! boot, and to the next. An owner's older order is sealed anew as well, by somebody who has it. Expected: the
//! stored version does not change; to a later boot the seal does not open (`not_sealed_to_this_boot`), and what
//! opens is denied as `older_version`.

use std::time::Duration;

use casemate_api::agent::{AgentResponse, Denial, OwnerReply, Refusal};
use casemate_canon::from_cbor;
use casemate_tests::{
    findings::Findings,
    machine::{NAME, PASSWORD, limited},
};

use crate::{agent_messages::sealed_calls, owner::Owner, running::Running};

/// What the owner delivers the second time.
const SECOND: &str = "second-horse-5d1702c4ef-battery";

/// A recorded delivery, and a version that is older than what the guest has.
pub(crate) struct First {
    call: Vec<u8>,
    version: u64,
}

/// Has the owner deliver again; then replays the first delivery to the same boot.
pub(crate) fn before_a_restart(running: &Running, findings: &mut Findings) -> First {
    let target = &running.target;
    // The first sealed call of all is `up`'s.
    let call = sealed_calls(&running.services.host_tap).into_iter().next().expect("`up` delivered secrets");
    let owner = Owner::of(target);
    let version = owner.last_order(target) - 1;

    let folder = target.folder.display().to_string();
    let mut up = target.machine.command(&["--json", "up", &folder, "--name", NAME, "--publish", "web=0"]);
    up.env("ATTACK_SECRET", SECOND);
    let outcome = limited(up, Duration::from_secs(300));
    findings.holds("the owner delivers again", outcome.status == 0, "done", &outcome.stderr);

    // The host cannot read the answer; that nothing changed is seen after the restart.
    let answer = from_cbor(&target.host.agent(&target.vm, &call), 1 << 20);
    let sealed = matches!(answer, Ok(AgentResponse::Sealed { .. }));
    findings.holds("a replay to the same boot", sealed, "a sealed denial", &format!("{answer:?}"));
    // Whoever holds the owner's older order, or its key, is denied by version.
    findings.same("an older version under a fresh seal", owner.delivers(target, version, PASSWORD), &older());
    First { call, version }
}

/// The app was started again.
pub(crate) fn after_a_restart(running: &Running, first: &First, findings: &mut Findings) {
    let target = &running.target;
    let (_, secret) = target.shell("echo $SECRET");
    findings.same("the secret after a restart", secret.trim(), SECOND);
    let answer: AgentResponse =
        from_cbor(&target.host.agent(&target.vm, &first.call), 1 << 20).expect("an answer");
    let expected = AgentResponse::Refused { refusal: Refusal::NotSealedToThisBoot };
    findings.same("a replay to the next boot", format!("{answer:?}"), &format!("{expected:?}"));
    let denied = Owner::of(target).delivers(target, first.version, PASSWORD);
    findings.same("an older version at the next boot", denied, &older());
}

fn older() -> String {
    format!("{:?}", OwnerReply::Denied { denial: Denial::OlderVersion })
}
