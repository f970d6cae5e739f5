//! What may be asked of the validator?
//!
//! JSON over HTTP. Identifiers are `{id|name}`: the id of a VM or the name it holds while it is not
//! removed. Every answer outside 2xx is a [`crate::problem::Problem`].
//!
//! | Call | Body | Answer |
//! |---|---|---|
//! | `POST /v1/vms` | [`VmSpec`] | [`Vm`] |
//! | `GET /v1/vms` | | list of [`Vm`], without removed ones |
//! | `GET /v1/vms/{id\|name}` | | [`Vm`] |
//! | `POST /v1/vms/{id\|name}/start`, `/stop` | | [`Vm`] |
//! | `DELETE /v1/vms/{id\|name}?disks=true` | | [`Vm`] |
//! | `GET /v1/vms/{id\|name}/events?after=N` | | list of [`VmEvent`] |
//! | `POST /v1/vms/{id\|name}/agent` | CBOR `AgentRequest` | CBOR `AgentResponse` |
//! | `HEAD`, `PUT /v1/blobs/{sha256}` | bytes | |
//! | `POST /v1/records` | CBOR `SubmissionRequest`, as a seat takes it | [`RecordsTaken`] |
//! | `GET /v1/kms` | | [`KmsInfo`] |
//! | `GET /v1/host` | | the host's capabilities |
//! | `GET /openapi.json`, `GET /healthz` | | |

use casemate_measure::shape::Shape;
use casemate_record::{AppId, InstanceId, WorkloadDigest};
use serde::{Deserialize, Serialize};

/// A VM to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// A DNS label, unique among VMs that are not removed.
    pub name: String,
    /// Guest image: its name among the host's images, or, where the validator was started so, the absolute path
    /// of its folder there.
    pub image: String,
    /// Whether the VM runs with a simulated TEE. Never chosen by a host.
    pub simulated: bool,
    /// Processors, memory and machine: with the image, what is measured.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub shape: Shape,
    /// The app that the VM belongs to.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub app_id: AppId,
    /// The instance of that app.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub instance: InstanceId,
    /// SHA-256 of the manifest: HOST_DATA of the VM.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub workload_digest: WorkloadDigest,
    /// SHA-256 of the launch disk, a blob, hexadecimal.
    pub launch_blob: String,
    /// Image disks.
    #[serde(default)]
    pub images: Vec<ImageDisk>,
    /// Encrypted volumes.
    #[serde(default)]
    pub volumes: Vec<VolumeDisk>,
    /// Published ports.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Whether the guest may open connections to the outside at all; which ones, the guest decides.
    pub egress: bool,
}

/// A read-only disk with a container image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageDisk {
    /// First 20 hexadecimal digits of the image's verity root hash; the guest finds the disk by it.
    pub serial: String,
    /// SHA-256 of the blob, hexadecimal.
    pub blob: String,
}

/// An encrypted volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VolumeDisk {
    /// Name of its partition.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Address on the host, such as `127.0.0.1`.
    pub host_ip: String,
    /// Port on the host; 0 lets the host choose.
    pub host_port: u16,
    /// Port in the guest.
    pub guest_port: u16,
}

/// A VM as the validator knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Vm {
    /// 16 hexadecimal digits, never used again.
    pub id: String,
    /// What it was made from.
    pub spec: VmSpec,
    /// `defined`, `starting`, `running`, `stopping`, `stopped`, `failed`, `removing` or `removed`.
    pub state: String,
    /// Last phase that the guest reported, as [`crate::progress::Phase`] is written in text.
    pub phase: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Published ports with the host's choices filled in.
    pub ports: Vec<Port>,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds of the last change of state.
    pub changed_ms: u64,
}

/// Why a VM failed: reported by the guest itself, or by the host about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// A stable word, such as `firmware_halted` or `release_denied`.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Something that happened to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmEvent {
    /// Rises by at least one with each event of the validator.
    pub number: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// `state`, or `phase`.
    pub kind: String,
    /// The state or phase.
    pub value: String,
    /// More, for people.
    pub detail: Option<String>,
}

/// The key service that this validator carries messages to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KmsInfo {
    /// CBOR of the roster chain as a seat serves it, hexadecimal; it proves itself against the
    /// genesis that a tenant's manifest pins.
    pub roster: String,
}

/// What the seats answered to a submission, carried unchanged.
///
/// The validator's word proves nothing: whoever sent the submission counts the receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordsTaken {
    /// CBOR of each signed receipt as a seat gave it, hexadecimal.
    pub receipts: Vec<String>,
    /// What other seats said instead; not signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<SeatRefusal>,
}

/// Why a seat gave no receipt, by the validator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SeatRefusal {
    /// Its place among the validator's seats, beginning at 1.
    pub seat: u8,
    /// What it said, or what became of the call.
    pub problem: crate::problem::Problem,
}
