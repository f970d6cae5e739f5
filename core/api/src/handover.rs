//! What does init leave for the agent?
//!
//! One file on a memory file system, readable by root only and removed by the agent once read. Init
//! has checked everything in it; the agent parses the manifest again with the same parser. It holds
//! no key: volumes are open when the agent starts, and the session key is the agent's own.

use casemate_record::{BootId, InstanceId, Lease, Signed};
use minicbor::{Decode, Encode};

use crate::launch::LaunchFile;

/// Where the file is, in the root that the agent runs on.
pub const PATH: &str = "/run/casemate/handover.cbor";

/// Where the encrypted data volume is mounted, read-write.
pub const DATA: &str = "/data";

/// Name of the device-mapper device that init opened the root as; it stays open as long as the guest runs.
pub const ROOT_DEVICE: &str = "root";

/// The agent's program, PID 1 after init.
pub const AGENT: &str = "/sbin/casemate-agent";

/// What init found out and checked.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Handover {
    /// The manifest's CBOR; its SHA-256 is the workload digest that the hardware names.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub manifest: Vec<u8>,
    /// CBOR of the app's genesis, whose digest is the manifest's app id.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub genesis: Vec<u8>,
    /// CBOR of the roster chain, which ends in the roster that answered.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub roster_chain: Vec<u8>,
    /// The instance in the owner's signed record.
    #[n(3)]
    pub instance: InstanceId,
    /// Chosen by init for this boot, and committed in the report data of the release.
    #[n(4)]
    pub boot_id: BootId,
    /// Contents of the manifest's files.
    #[n(5)]
    pub files: Vec<LaunchFile>,
    /// Uptime in milliseconds when the seats' grants were accepted: the lease runs from here.
    #[n(6)]
    pub granted_uptime_ms: u64,
    /// How long the lease is, in milliseconds; the shortest of those that the grants state.
    #[n(7)]
    pub lease_ms: u64,
    /// The leases as the seats signed them, one by each seat that granted.
    #[n(8)]
    pub leases: Vec<Signed<Lease>>,
}

impl Handover {
    /// Largest encoding in bytes.
    pub const MAXIMUM_BYTES: usize = 20 << 20;
}
