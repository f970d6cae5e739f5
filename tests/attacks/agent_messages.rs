//! Calls to a real guest's agent, flipped, cut, repeated, reordered and delayed on their way.
//!
//! Attack (issue: every relay message flipped, truncated, repeated, reordered, delayed): the host, which carries
//! the calls of the owner and of everyone else. Expected: bytes that are no request are `malformed`, a seal that
//! was touched is `not_sealed_to_this_boot`, an order that was carried out is `replayed`, and so is one that comes
//! behind a later one. Delayed over a boot: `secrets_replay.rs`. Each field of an order: `casemate-agent`, test
//! `session`.

use std::collections::BTreeSet;

use casemate_api::agent::{AgentRequest, AgentResponse, Command, Denial, OwnerReply, Refusal};
use casemate_canon::{from_cbor, to_cbor};
use casemate_tests::{findings::Findings, tap::Tap};

use crate::{
    owner::{Owner, open},
    running::Running,
    target::Target,
};

/// The app runs.
pub(crate) fn attack(running: &Running, findings: &mut Findings) {
    let target = &running.target;
    let owner = Owner::of(target);
    let mut number = owner.last_order(target);
    let mut order = || {
        number += 1;
        let arguments = vec!["/bin/busybox".into(), "true".into()];
        owner.seal(target, number, &Command::Exec { service: "web".into(), arguments })
    };
    let malformed = format!("{:?}", Refusal::Malformed);
    let not_sealed = format!("{:?}", Refusal::NotSealedToThisBoot);

    // The encapsulated key begins near the beginning, the ciphertext ends at the end; the rest is encoding.
    let (call, _) = order();
    let places = [20, 500, 1000, call.len() - 60, call.len() - 1];
    let flipped: BTreeSet<_> = places.iter().map(|at| refusal(target, &flip(&call, *at))).collect();
    findings.same("a flipped seal", flipped.into_iter().collect::<Vec<_>>().join(" "), &not_sealed);
    findings.same("a flipped request", refusal(target, &flip(&call, 0)), &malformed);
    findings.same("a truncated call", refusal(target, &call[..call.len() - 1]), &malformed);
    let question = to_cbor(&AgentRequest::Evidence { nonce: [1; 32].into() });
    findings.same("a truncated question", refusal(target, &question[..20]), &malformed);

    // Repeated: carried out once. Reordered: not behind a later one.
    let (early, early_session) = order();
    let (later, later_session) = order();
    let reply = |call: &[u8], session| match from_cbor(&target.host.agent(&target.vm, call), 1 << 20) {
        Ok(AgentResponse::Sealed { ciphertext }) => format!("{:?}", open(session, &ciphertext)),
        other => format!("{other:?}"),
    };
    let done = format!("{:?}", OwnerReply::Executed { exit_code: 0, output: Vec::new() });
    let replayed = format!("{:?}", OwnerReply::Denied { denial: Denial::Replayed });
    findings.same("an order", reply(&later, &later_session), &done);
    findings.same("the same order again", reply(&later, &later_session), &replayed);
    findings.same("an earlier order behind it", reply(&early, &early_session), &replayed);

    // An answer that was changed on its way back opens for nobody.
    let answer = from_cbor(&target.host.agent(&target.vm, &early), 1 << 20);
    let Ok(AgentResponse::Sealed { ciphertext }) = answer else { panic!("{answer:?}") };
    let opened = early_session.open_response(b"", &flip(&ciphertext, 0)).is_ok();
    findings.holds("a flipped answer", !opened, "does not open", "opens");
}

fn flip(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] ^= 0x10;
    changed
}

/// The refusal that anyone may read.
fn refusal(target: &Target, request: &[u8]) -> String {
    match from_cbor(&target.host.agent(&target.vm, request), 1 << 20) {
        Ok(AgentResponse::Refused { refusal }) => format!("{refusal:?}"),
        other => format!("{other:?}"),
    }
}

/// The sealed calls that passed between validator and host daemon, in order.
pub(crate) fn sealed_calls(tap: &Tap) -> Vec<Vec<u8>> {
    let mut calls = Vec::new();
    for stream in tap.recorded() {
        let mut rest = &stream[..];
        while let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&rest[..at]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            let end = rest.len().min(at + 4 + length);
            let body = &rest[at + 4..end];
            let to_agent = head.starts_with("post") && head.contains("/agent ");
            if to_agent && matches!(from_cbor(body, 1 << 20), Ok(AgentRequest::Sealed { .. })) {
                calls.push(body.to_vec());
            }
            rest = &rest[end..];
        }
    }
    calls
}
