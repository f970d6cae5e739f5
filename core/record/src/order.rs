//! What does the owner tell a running guest?

use casemate_crypto::hash::Sha256;
use minicbor::{Decode, Encode};

use crate::{AppId, BootId, InstanceId, Record, WorkloadDigest};

/// What an [`Order`] asks for; its arguments are the payload beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum OrderAction {
    /// Take these secrets; the order's number is their version.
    #[n(0)]
    DeliverSecrets,
    /// Say how each service does.
    #[n(1)]
    Status,
    /// Send lines of a service's log.
    #[n(2)]
    Logs,
    /// Run a command in a service.
    #[n(3)]
    Exec,
}

/// The owner's order to one boot of one instance, signed over its payload's digest.
///
/// For [`OrderAction::DeliverSecrets`] the guest keeps the highest number it took on the encrypted
/// disk and refuses older ones; for the others numbers rise within a boot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Order {
    /// The app.
    #[n(0)]
    pub app_id: AppId,
    /// The instance.
    #[n(1)]
    pub instance: InstanceId,
    /// The boot, or none where the order stays good across boots (secrets).
    #[n(2)]
    pub boot_id: Option<BootId>,
    /// The workload that may follow it.
    #[n(3)]
    pub workload_digest: WorkloadDigest,
    /// Rises with each order.
    #[n(4)]
    pub number: u64,
    /// What to do.
    #[n(5)]
    pub action: OrderAction,
    /// SHA-256 of the payload.
    #[n(6)]
    pub payload_digest: Sha256,
}

impl Record for Order {
    const PURPOSE: &'static str = "casemate/1/order";
}
