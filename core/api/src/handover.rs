//! What does init leave for the agent?
//!
//! One file on a tmpfs, mode 0600, written once by init after everything in it was checked. The agent
//! reads it and removes it. It never leaves the guest.

use casemate_canon::{from_cbor, to_cbor};
use casemate_record::BootId;
use minicbor::{Decode, Encode};

use crate::launch::LaunchBundle;

/// What init checked, opened and agreed with the seats.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Handover {
    /// The launch disk as init read it: the manifest is the one that the hardware names, genesis,
    /// roster chain, instance record and files match it.
    #[n(0)]
    pub launch: LaunchBundle,
    /// Names this boot at the seats.
    #[n(1)]
    pub boot_id: BootId,
    /// Volumes that are open and mounted read-write.
    #[n(2)]
    pub volumes: Vec<MountedVolume>,
    /// When the lease ends that the seats gave: Unix milliseconds by the seats' time, to which init has
    /// set the clock.
    #[n(3)]
    pub lease_ends_ms: u64,
}

impl Handover {
    /// Where it lies.
    pub const PATH: &'static str = "/run/casemate/handover";

    /// Largest encoding in bytes.
    pub const MAXIMUM_BYTES: usize = LaunchBundle::MAXIMUM_BYTES + (64 << 10);

    /// The one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }

    /// Reads what [`Handover::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`casemate_canon::Error`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, casemate_canon::Error> {
        from_cbor(bytes, Self::MAXIMUM_BYTES)
    }
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handover(boot {}, {} volumes)", self.boot_id, self.volumes.len())
    }
}

/// A volume that the workload may write.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MountedVolume {
    /// Name in the manifest.
    #[n(0)]
    pub name: String,
    /// Where its filesystem is mounted; the agent unmounts it before power goes off.
    #[n(1)]
    pub mount_point: String,
    /// Its device-mapper name, to close it after that.
    #[n(2)]
    pub mapper: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handover_reads_back() {
        let handover = Handover {
            launch: LaunchBundle {
                manifest: vec![1],
                genesis: vec![2],
                roster_chain: vec![3],
                instance_record: vec![4],
                files: vec![],
            },
            boot_id: BootId::from([7; 16]),
            volumes: vec![MountedVolume {
                name: "data".into(),
                mount_point: "/run/casemate/volumes/data".into(),
                mapper: "casemate-data".into(),
            }],
            lease_ends_ms: 5,
        };
        assert_eq!(Handover::from_bytes(&handover.to_bytes()).unwrap(), handover);
    }
}
