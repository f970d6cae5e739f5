//! What may be asked of a running guest?
//!
//! Calls travel as CBOR through the host's relay, which can withhold them and nothing else. Two kinds
//! need no permission: evidence, which is public, and stopping, which the host could do anyway.
//! Everything else is an [`OwnerCall`]: signed by the app's owner, sealed to the session key that the
//! guest's evidence vouches for, and answered under the same seal. `docs/reference/agent.md`.

use casemate_crypto::seal::Sealed;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::progress::Progress;

/// Largest encoded request the agent reads, in bytes.
pub const MAXIMUM_REQUEST_BYTES: usize = 768 * 1024;

/// Largest encoded answer the agent gives, in bytes; longer logs and outputs are cut at their beginning.
pub const MAXIMUM_RESPONSE_BYTES: usize = 768 * 1024;

/// HPKE `info` under which an [`OwnerCall`] is sealed to the session key.
pub const OWNER_CALL_INFO: &[u8] = b"casemate owner call v1";

/// A question from outside the guest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum AgentRequest {
    /// "Show what you are, now": the answer's report data commits to `nonce`.
    #[n(0)]
    Evidence {
        /// Chosen by the Verifier for this one question.
        #[n(0)]
        nonce: Nonce,
    },
    /// An owner's call, CBOR of [`OwnerCall`] under HPKE to the session key, with [`OWNER_CALL_INFO`].
    #[n(1)]
    Sealed {
        /// The sealed call; no associated data.
        #[n(0)]
        call: Sealed,
    },
    /// Stop the workload in order, unmount and power off.
    #[n(2)]
    Shutdown {},
    /// How far has it come?
    #[n(3)]
    Phase {},
}

/// The guest's answer to an [`AgentRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum AgentResponse {
    /// An evidence bundle (`docs/reference/evidence-bundle.md`); proves nothing until appraised.
    #[n(0)]
    Evidence {
        /// CBOR of the bundle.
        #[cbor(n(0), with = "minicbor::bytes")]
        bundle: Vec<u8>,
    },
    /// CBOR of [`OwnerReply`], sealed for whoever sealed the call.
    #[n(1)]
    Sealed {
        /// The sealed reply.
        #[cbor(n(0), with = "minicbor::bytes")]
        ciphertext: Vec<u8>,
    },
    /// The workload is being stopped; power goes off when it has ended.
    #[n(2)]
    Stopping {},
    /// The last notice that was given; public, and not authenticated.
    #[n(3)]
    Phase {
        /// As the host sees it go by.
        #[n(0)]
        progress: Progress,
    },
    /// Not answered, for a reason that anyone may know.
    #[n(4)]
    Refused {
        /// Which.
        #[n(0)]
        refusal: Refusal,
    },
}

/// Why a call was refused before its caller was known, so it says nothing beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// The request is not the one CBOR encoding of an [`AgentRequest`].
    #[n(0)]
    Malformed,
    /// Too many calls of this kind; ask again in a second.
    #[n(1)]
    Busy,
    /// The seal does not open under this boot's session key: ask for evidence again.
    #[n(2)]
    NotSealedToThisBoot,
    /// The platform gave no report.
    #[n(3)]
    NoEvidence,
    /// The agent does not know this call.
    #[n(4)]
    Unknown,
    /// The lease has ended, or the guest's clock jumped since: the seats are asked for another. Ask again
    /// in a second.
    #[n(5)]
    NoLease,
}

/// What the owner's seal holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OwnerCall {
    /// CBOR of `casemate_record::Signed<Order>`, whose payload digest is SHA-256 of `command` and
    /// whose action names the same command.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub order: Vec<u8>,
    /// CBOR of [`Command`].
    #[cbor(n(1), with = "minicbor::bytes")]
    pub command: Vec<u8>,
}

/// What an owner may order.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum Command {
    /// Hand over the values that the manifest leaves open. The order's number is their version; a
    /// version lower than the stored one is refused, at any later boot as well.
    #[n(0)]
    DeliverSecrets {
        /// Sorted by name: each that the compose file gives no default, none that the manifest does not
        /// name.
        #[n(0)]
        values: Vec<SecretValue>,
    },
    /// How are the services?
    #[n(1)]
    Status {},
    /// The last lines that a service wrote. Only where the manifest grants logs.
    #[n(2)]
    Logs {
        /// Service name in the compose file.
        #[n(0)]
        service: String,
        /// At most this many lines, from the end.
        #[n(1)]
        tail: u32,
        /// Only lines written after this time: Unix milliseconds by the guest's clock.
        #[n(2)]
        since_ms: Option<u64>,
    },
    /// Run a program beside a service. Only where the manifest grants it.
    #[n(3)]
    Exec {
        /// Service name in the compose file.
        #[n(0)]
        service: String,
        /// Program and arguments.
        #[n(1)]
        arguments: Vec<String>,
    },
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Command::DeliverSecrets { .. } => "DeliverSecrets(..)",
            Command::Status {} => "Status",
            Command::Logs { .. } => "Logs",
            Command::Exec { .. } => "Exec",
        })
    }
}

/// A name that the manifest leaves open, and its value.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct SecretValue {
    /// As the manifest spells it.
    #[n(0)]
    pub name: String,
    /// Any bytes; where it goes into an environment, UTF-8 without NUL.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretValue({}, ..)", self.name)
    }
}

/// What the owner gets back, inside the seal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum OwnerReply {
    /// The values are on the encrypted disk.
    #[n(0)]
    SecretsStored {
        /// Their version.
        #[n(0)]
        version: u64,
    },
    /// How the services are.
    #[n(1)]
    Status {
        /// One per service, in the compose file's order.
        #[n(0)]
        services: Vec<ServiceStatus>,
    },
    /// Lines, oldest first.
    #[n(2)]
    Logs {
        /// At most as many as asked, fewer where they would not fit.
        #[n(0)]
        lines: Vec<LogLine>,
    },
    /// The program ended.
    #[n(3)]
    Executed {
        /// Its exit code; 128 + signal where a signal ended it.
        #[n(0)]
        exit_code: u8,
        /// Both of its outputs, in the order they were read.
        #[cbor(n(1), with = "minicbor::bytes")]
        output: Vec<u8>,
    },
    /// The order was understood and is refused.
    #[n(4)]
    Denied {
        /// Which rule refuses it.
        #[n(0)]
        denial: Denial,
    },
}

/// Why an owner's order was refused; only its sender can read this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Denial {
    /// The order or its command is not well formed.
    #[n(0)]
    Malformed,
    /// Not signed by the key in the app's genesis.
    #[n(1)]
    NotTheOwner,
    /// Signed for another app, instance or workload digest.
    #[n(2)]
    NotForThisWorkload,
    /// The signature covers another command than the one sent.
    #[n(3)]
    AnotherCommand,
    /// An order with this number or a later one has been carried out.
    #[n(4)]
    Replayed,
    /// Older than the version that is stored.
    #[n(5)]
    OlderVersion,
    /// A value that is needed is missing, one is unknown, or they are not sorted by name.
    #[n(6)]
    OtherNames,
    /// The manifest does not grant this to anyone.
    #[n(7)]
    NotGranted,
    /// The compose file has no such service.
    #[n(8)]
    NoSuchService,
    /// The service is not running.
    #[n(9)]
    NotRunning,
    /// The guest failed to do it; its status says more.
    #[n(10)]
    Failed,
    /// This workload leaves no value open.
    #[n(11)]
    NoSecretsWanted,
    /// The seats did not renew the lease since the order came: they cannot be reached, or a newer boot has
    /// taken over. The order was not carried out.
    #[n(12)]
    NotConfirmed,
}

/// One service as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceStatus {
    /// Name in the compose file.
    #[n(0)]
    pub service: String,
    /// What it is doing.
    #[n(1)]
    pub state: ServiceState,
    /// What its health check says, if it has one.
    #[n(2)]
    pub health: Option<Health>,
    /// Exit code of the last run that ended.
    #[n(3)]
    pub exit_code: Option<u8>,
    /// How often it was started again.
    #[n(4)]
    pub restarts: u32,
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceState {
    /// For what it depends on.
    #[n(0)]
    Waiting,
    /// Its container is being made.
    #[n(1)]
    Starting,
    /// Its process runs.
    #[n(2)]
    Running,
    /// It ended and will be started again.
    #[n(3)]
    BackingOff,
    /// It was told to end.
    #[n(4)]
    Stopping,
    /// It ended, and stays so.
    #[n(5)]
    Exited,
}

/// What a health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing yet.
    #[n(0)]
    Starting,
    /// The last check passed.
    #[n(1)]
    Healthy,
    /// As many checks in a row failed as the compose file allows.
    #[n(2)]
    Unhealthy,
}

/// One line of a service's output.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    /// When it was read: Unix milliseconds by the guest's clock, which the host sets.
    #[n(0)]
    pub time_ms: u64,
    /// Where it came from.
    #[n(1)]
    pub stream: Stream,
    /// Without its line feed; bytes that are not UTF-8 are replaced.
    #[n(2)]
    pub text: String,
}

/// Standard output or standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    #[n(0)]
    Output,
    /// Standard error.
    #[n(1)]
    Error,
}

casemate_canon::byte_type! {
    /// 32 bytes that a Verifier made for one question.
    pub struct Nonce([u8; 32]);
}

#[cfg(test)]
mod tests {
    use casemate_canon::{from_cbor, to_cbor};

    use super::*;

    #[test]
    fn requests_read_back_as_written() {
        let requests = [
            AgentRequest::Evidence { nonce: [7; 32].into() },
            AgentRequest::Sealed { call: Sealed { encapsulated: vec![1; 1120], ciphertext: vec![2; 40] } },
            AgentRequest::Shutdown {},
            AgentRequest::Phase {},
        ];
        for request in requests {
            assert_eq!(
                from_cbor::<AgentRequest>(&to_cbor(&request), MAXIMUM_REQUEST_BYTES).unwrap(),
                request
            );
        }
    }

    #[test]
    fn commands_read_back_as_written() {
        let commands = [
            Command::DeliverSecrets { values: vec![SecretValue { name: "A".into(), value: b"x".to_vec() }] },
            Command::Status {},
            Command::Logs { service: "db".into(), tail: 20, since_ms: None },
            Command::Logs { service: "db".into(), tail: 20, since_ms: Some(5) },
            Command::Exec { service: "db".into(), arguments: vec!["psql".into()] },
        ];
        for command in commands {
            assert_eq!(from_cbor::<Command>(&to_cbor(&command), 4096).unwrap(), command);
        }
    }

    #[test]
    fn an_unknown_command_is_refused() {
        assert!(from_cbor::<Command>(&[0x82, 0x18, 0x63, 0x80], 64).is_err());
    }

    #[test]
    fn secret_values_do_not_print() {
        let command = Command::DeliverSecrets {
            values: vec![SecretValue { name: "A".into(), value: b"hunter2".to_vec() }],
        };
        assert_eq!(format!("{command:?}"), "DeliverSecrets(..)");
        assert_eq!(
            format!("{:?}", SecretValue { name: "A".into(), value: b"hunter2".to_vec() }),
            "SecretValue(A, ..)"
        );
    }
}
