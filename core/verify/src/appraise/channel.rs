//! Is this the session that the evidence speaks of, and may its boot still go on?

use super::rule::not_checked;
use crate::expectations::{Channel, LEASE_ALLOWANCE_MS, SessionStanding};
use crate::verdict::{Code, Comparison, Node, Source, Status, Value};

/// Report data that matched commits to the session: its key, roster, key epoch and lease. Report data that
/// did not says nothing of any of them.
pub(super) fn channel(expected: &Channel, freshness: Status, now_ms: u64) -> Node {
    let checks = match expected {
        Channel::Unchecked => vec![not_checked(Code::SessionKey, Value::Nothing)],
        Channel::Session { key_digest, .. } if freshness != Status::Ok => vec![Node::check(
            Code::SessionKey,
            false,
            Value::Word("not committed to"),
            Comparison::Equal,
            key_digest.as_ref(),
            Source::Caller,
        )],
        Channel::Session { key_digest, standing } => {
            let key = key_digest.as_ref();
            let mut checks =
                vec![Node::check(Code::SessionKey, true, key, Comparison::Equal, key, Source::Caller)];
            checks.extend(standing_checks(standing, now_ms));
            checks
        }
    };
    Node::group(Code::Channel, checks)
}

/// The roster is the newest that the caller knows, and a quorum of its seats leases the instance to this
/// boot now. The lease is judged only under that roster.
fn standing_checks(standing: &SessionStanding, now_ms: u64) -> Vec<Node> {
    let SessionStanding { roster_digest, key_epoch, newest, lease } = standing;
    let is_newest = *roster_digest == newest.digest;
    let roster = Node::check(
        Code::SessionRoster,
        is_newest,
        roster_digest.as_ref(),
        Comparison::Equal,
        newest.digest.as_ref(),
        Source::Caller,
    );
    if !is_newest {
        return vec![roster];
    }
    let epoch = Node::check(
        Code::SessionKeyEpoch,
        *key_epoch == newest.key_epoch,
        u64::from(*key_epoch),
        Comparison::Equal,
        u64::from(newest.key_epoch),
        Source::Caller,
    );
    let term = match lease {
        Ok(term) => term,
        Err(fault) => {
            let unsigned = Node::check(
                Code::SessionLease,
                false,
                Value::Lease(*fault),
                Comparison::Equal,
                Value::Nothing,
                Source::Caller,
            );
            return vec![roster, epoch, unsigned];
        }
    };
    let signed = Node::check(
        Code::SessionLease,
        true,
        Value::Word("signed by a quorum"),
        Comparison::Equal,
        Value::Nothing,
        Source::Caller,
    );
    let within_allowance = |code, distance_ms: u64| {
        Node::check(
            code,
            distance_ms <= LEASE_ALLOWANCE_MS,
            distance_ms.div_ceil(1000),
            Comparison::AtMost,
            LEASE_ALLOWANCE_MS / 1000,
            Source::Caller,
        )
    };
    let begin = within_allowance(Code::SessionLeaseBegin, term.begins_ms.saturating_sub(now_ms));
    let end = within_allowance(Code::SessionLeaseEnd, now_ms.saturating_sub(term.ends_ms));
    vec![roster, epoch, signed, begin, end]
}
