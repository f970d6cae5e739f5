//! What does a guest tell everyone while it starts?
//!
//! Every notice is public: the host relays it and may read, withhold or invent it. It serves people
//! who wait, never a decision; what a guest *is* stands in its evidence alone.
//! Written down in `docs/reference/boot.md`.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How far a guest has come.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Progress {
    /// Milliseconds since the guest's kernel started, by the guest's clock.
    #[n(0)]
    pub uptime_ms: u64,
    /// What has just been reached.
    #[n(1)]
    pub phase: Phase,
}

impl Progress {
    /// Largest encoding of one notice in bytes.
    pub const MAXIMUM_BYTES: usize = 4096;
}

/// The steps of a guest's life, in the order in which they can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name", deny_unknown_fields)]
#[non_exhaustive]
pub enum Phase {
    /// `casemate-init` runs and has found its disks and the relay.
    #[n(0)]
    Booted,
    /// The root filesystem of the measured root hash is mounted.
    #[n(1)]
    RootVerified,
    /// The manifest is well formed and is the one that the hardware names.
    #[n(2)]
    ManifestAccepted,
    /// Challenges were asked for at the seats.
    #[n(3)]
    Attesting {
        /// Seats in the roster.
        #[n(0)]
        seats: u32,
    },
    /// Enough seats granted, and what they sealed agrees.
    #[n(4)]
    KeysGranted {
        /// Seats that granted.
        #[n(0)]
        granted: u32,
        /// Seats in the roster.
        #[n(1)]
        seats: u32,
    },
    /// A volume that had no content before was formatted.
    #[n(5)]
    VolumeFormatted {
        /// Name in the manifest.
        #[n(0)]
        volume: String,
    },
    /// A volume was opened and its stamp committed.
    #[n(6)]
    VolumeOpened {
        /// Name in the manifest.
        #[n(0)]
        volume: String,
    },
    /// The agent runs on the verified root.
    #[n(7)]
    Switched,
    /// The workload waits for its owner to deliver secrets.
    #[n(8)]
    AwaitingSecrets,
    /// A service is being started.
    #[n(9)]
    Starting {
        /// Name in the compose file.
        #[n(0)]
        service: String,
    },
    /// A service runs, and is healthy if it says how to tell.
    #[n(10)]
    Healthy {
        /// Name in the compose file.
        #[n(0)]
        service: String,
    },
    /// Everything that the manifest asks for runs.
    #[n(11)]
    Ready,
    /// The workload is being stopped.
    #[n(12)]
    Stopping,
    /// The workload has stopped; the machine powers off.
    #[n(13)]
    Stopped,
    /// The guest gave up; the machine powers off.
    #[n(14)]
    Failed {
        /// Which check or step.
        #[n(0)]
        code: FailureCode,
        /// What was expected, what was found and what to do: one line, no secret in it.
        #[n(1)]
        message: String,
    },
}

impl std::fmt::Display for Phase {
    /// One line for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Phase::Booted => f.write_str("booted"),
            Phase::RootVerified => f.write_str("root verified"),
            Phase::ManifestAccepted => f.write_str("manifest accepted"),
            Phase::Attesting { seats } => write!(f, "attesting to {seats} seats"),
            Phase::KeysGranted { granted, seats } => write!(f, "{granted} of {seats} seats granted the keys"),
            Phase::VolumeFormatted { volume } => write!(f, "volume {volume} formatted"),
            Phase::VolumeOpened { volume } => write!(f, "volume {volume} opened"),
            Phase::Switched => f.write_str("agent started"),
            Phase::AwaitingSecrets => f.write_str("waiting for secrets from the owner"),
            Phase::Starting { service } => write!(f, "starting {service}"),
            Phase::Healthy { service } => write!(f, "{service} healthy"),
            Phase::Ready => f.write_str("ready"),
            Phase::Stopping => f.write_str("stopping"),
            Phase::Stopped => f.write_str("stopped"),
            Phase::Failed { code, message } => write!(f, "failed ({code}): {message}"),
        }
    }
}

/// Which check or step of a guest failed. `docs/reference/boot.md` explains each.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureCode {
    /// The kernel refused something every guest needs: a mount, a module, a device.
    #[n(1)]
    Environment,
    /// The measured kernel command line is not what this image's builder writes.
    #[n(2)]
    CommandLine,
    /// A disk or port that every guest has is not there.
    #[n(3)]
    DeviceMissing,
    /// The root filesystem is not the one of the measured root hash.
    #[n(4)]
    RootRefused,
    /// The launch disk is not well formed.
    #[n(5)]
    LaunchRefused,
    /// The manifest is not well formed.
    #[n(6)]
    ManifestRefused,
    /// No hardware gave a report.
    #[n(7)]
    NoReport,
    /// The hardware names another manifest than the launch disk holds.
    #[n(8)]
    WorkloadMismatch,
    /// The roster does not descend from the key service that the manifest names.
    #[n(9)]
    RosterRefused,
    /// The relay broke, or broke its rules.
    #[n(10)]
    RelayFailed,
    /// Seats denied the keys.
    #[n(11)]
    KeysDenied,
    /// Too few seats answered.
    #[n(12)]
    SeatsSilent,
    /// Answers of seats contradict each other or do not verify.
    #[n(13)]
    AnswersRefused,
    /// The seats' time cannot be right.
    #[n(14)]
    ClockRefused,
    /// The data disk lacks a volume, or has no room for it.
    #[n(15)]
    DiskUnsuitable,
    /// A live volume's header is not the one that this app wrote.
    #[n(16)]
    VolumeRefused,
    /// A volume is older than its last committed boot.
    #[n(17)]
    VolumeStale,
    /// A volume could not be formatted.
    #[n(18)]
    VolumeFormatFailed,
    /// A volume could not be opened, checked or mounted.
    #[n(19)]
    VolumeOpenFailed,
    /// The seats did not record the volume's new stamp.
    #[n(20)]
    CommitFailed,
    /// The agent could not be started.
    #[n(21)]
    HandoverFailed,
    /// What init left for the agent is not there or not well formed.
    #[n(40)]
    HandoverRefused,
    /// An image disk is not the one that the manifest names.
    #[n(41)]
    ImageRefused,
    /// The network or its rules could not be set up.
    #[n(42)]
    NetworkFailed,
    /// A service could not be started or kept running.
    #[n(43)]
    ServiceFailed,
    /// The lease ran out before the seats renewed it.
    #[n(44)]
    LeaseLapsed,
    /// Another boot of the same instance took over.
    #[n(45)]
    Superseded,
    /// Delivered secrets were refused or could not be kept.
    #[n(46)]
    SecretsRefused,
}

impl std::fmt::Display for FailureCode {
    /// The name that JSON and the documentation use.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_canon::{from_cbor, to_cbor};

    #[test]
    fn a_notice_reads_back() {
        let notice = Progress {
            uptime_ms: 5812,
            phase: Phase::Failed { code: FailureCode::VolumeStale, message: "older".into() },
        };
        let bytes = to_cbor(&notice);
        assert_eq!(from_cbor::<Progress>(&bytes, Progress::MAXIMUM_BYTES).unwrap(), notice);
    }

    /// The worked bytes of `docs/reference/boot.md`.
    #[test]
    fn worked_bytes() {
        let notice = Progress { uptime_ms: 5812, phase: Phase::Attesting { seats: 1 } };
        assert_eq!(to_cbor(&notice), [0x82, 0x19, 0x16, 0xb4, 0x82, 0x03, 0x81, 0x01]);
        let notice = Progress { uptime_ms: 1, phase: Phase::Booted };
        assert_eq!(to_cbor(&notice), [0x82, 0x01, 0x82, 0x00, 0x80]);
    }

    #[test]
    fn a_failure_shows_its_name_in_json() {
        let phase = Phase::Failed { code: FailureCode::KeysDenied, message: "no".into() };
        let json = serde_json::to_string(&phase).unwrap();
        assert_eq!(json, r#"{"name":"failed","code":"keys_denied","message":"no"}"#);
        assert_eq!(phase.to_string(), "failed (keys_denied): no");
    }

    #[test]
    fn an_unknown_phase_is_refused() {
        assert!(from_cbor::<Progress>(&[0x82, 0x01, 0x82, 0x18, 0x63, 0x80], 64).is_err());
    }
}
