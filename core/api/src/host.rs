//! What may be asked of a host?
//!
//! JSON over HTTP (`docs/reference/host-api.md`). Everything here is public to the host: it names
//! public files by digest and holds no secrets. Every answer outside 2xx is a [`crate::problem::Problem`].
//!
//! | Call | Body | Answer |
//! |---|---|---|
//! | `PUT /v1/blobs/{sha256}` | bytes | [`Blob`] |
//! | `HEAD`, `DELETE /v1/blobs/{sha256}` | | |
//! | `GET /v1/blobs` | | list of [`Blob`] |
//! | `POST /v1/vms` | [`HostVmSpec`] | [`HostVm`] |
//! | `GET /v1/vms`, `GET /v1/vms/{id}` | | list of [`HostVm`], [`HostVm`] |
//! | `POST /v1/vms/{id}/start`, `/kill` | | [`HostVm`] |
//! | `POST /v1/vms/{id}/stop` | [`StopRequest`] or nothing | [`HostVm`] |
//! | `DELETE /v1/vms/{id}?disks=true` | | |
//! | `POST /v1/vms/{id}/agent` | opaque bytes | opaque bytes |
//! | `GET /v1/vms/{id}/console` | | text |
//! | `GET /v1/capabilities` | | [`Capabilities`] |
//! | `GET /healthz` | | |

use core::net::IpAddr;
use std::path::PathBuf;

use casemate_crypto::sign::PublicKey;
use casemate_measure::shape::Shape;
use casemate_record::WorkloadDigest;
use serde::{Deserialize, Serialize};

use crate::progress::Progress;

casemate_canon::byte_type! {
    /// SHA-256 of a file's bytes: the name of a blob.
    pub struct BlobDigest([u8; 32]);
}

/// A VM as its owner wants it: body of `POST /v1/vms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostVmSpec {
    /// 1 to 64 of `a-z`, `0-9` and `-`, beginning with a letter or digit; unique on this host.
    pub id: String,
    /// Which machinery measures the guest.
    pub platform: Platform,
    /// The guest image.
    pub image: ImageSource,
    /// Processors and memory; part of what is measured.
    pub shape: Shape,
    /// SHA-256 of the canonical manifest: goes into HOST_DATA or MRCONFIGID.
    pub workload_digest: WorkloadDigest,
    /// The launch disk.
    pub launch: BlobDigest,
    /// One read-only disk per container image.
    #[serde(default)]
    pub image_disks: Vec<ImageDisk>,
    /// The writable disk, if the workload keeps anything.
    #[serde(default)]
    pub data_disk: Option<DataDisk>,
    /// How the guest reaches the network, and the network the guest.
    #[serde(default)]
    pub network: VmNetwork,
    /// Seats of the key service that the relay may be asked for.
    pub seats: Vec<SeatAddress>,
}

/// Which machinery measures the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Platform {
    /// AMD SEV-SNP.
    SevSnp,
    /// Intel TDX.
    Tdx,
    /// An ordinary VM with a simulated TEE: no confidentiality.
    Simulated,
}

/// Where the guest image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ImageSource {
    /// A built image in the host's folder of images.
    Named {
        /// Name of its folder: letters, digits, `.`, `_` and `-`.
        name: String,
    },
    /// A built image anywhere on the host, described by its `image.toml`.
    Directory {
        /// Absolute path.
        path: PathBuf,
    },
    /// Single files, already put as blobs.
    Blobs {
        /// OVMF.
        firmware: BlobDigest,
        /// Linux.
        kernel: BlobDigest,
        /// The whole initrd.
        initrd: BlobDigest,
        /// Kernel command line, measured.
        command_line: String,
        /// Root filesystem with its verity tree, if the kernel command line asks for one.
        #[serde(default)]
        root: Option<BlobDigest>,
    },
}

/// A read-only disk that the guest verifies by dm-verity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageDisk {
    /// First 20 hexadecimal digits of the verity root hash.
    pub serial: String,
    /// Data and tree.
    pub blob: BlobDigest,
}

/// The writable disk: one partition per encrypted volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDisk {
    /// In the order in which they lie on the disk.
    pub volumes: Vec<DataVolume>,
}

/// One encrypted volume's room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataVolume {
    /// Name of the volume and of its partition: 1 to 36 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// Size in bytes, rounded up to whole MiB.
    pub size_bytes: u64,
}

/// How the guest reaches the network, and the network the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmNetwork {
    /// What carries the packets; by default what the host has, and nothing else is possible.
    #[serde(default)]
    pub kind: Option<NetworkKind>,
    /// False cuts the guest off from everything but the published ports. True lets it out to public
    /// addresses ([`crate::reach`]); what its services may reach is its own agent's rule.
    #[serde(default)]
    pub outbound: bool,
    /// Published ports.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
}

/// What carries a guest's packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NetworkKind {
    /// A process beside QEMU: needs no rights on the host.
    #[default]
    User,
    /// A tap device with NAT by nftables: faster, needs root.
    Tap,
}

/// A port of the host that leads to one of the guest (TCP).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedPort {
    /// Address to listen on.
    pub host_ip: IpAddr,
    /// Port to listen on; 0 lets the host choose.
    pub host_port: u16,
    /// Port in the guest.
    pub guest_port: u16,
}

/// Where a seat answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeatAddress {
    /// The seat's signing key, by which guests call it.
    pub public_key: PublicKey,
    /// `http://HOST:PORT` or `unix:/path/of/socket`.
    pub url: String,
}

/// A VM as it is: answer of `GET /v1/vms/{id}` and of every verb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostVm {
    /// As in the spec.
    pub id: String,
    /// Where in its life it stands.
    pub state: HostVmState,
    /// As in the spec.
    pub platform: Platform,
    /// Why it failed, if it did.
    pub failure: Option<VmFailure>,
    /// Last progress that the guest reported about itself; unverified.
    pub progress: Option<NoticedProgress>,
    /// The guest's last notices, oldest first; unverified.
    pub notices: Vec<NoticedProgress>,
    /// Published ports as they are, with chosen numbers.
    pub endpoints: Vec<PublishedPort>,
    /// When QEMU was last started, in milliseconds since 1970.
    pub started_at_ms: Option<u64>,
    /// When it last ended, in milliseconds since 1970.
    pub stopped_at_ms: Option<u64>,
}

/// Where in its life a VM stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HostVmState {
    /// Defined; its disks are ready.
    Created,
    /// QEMU runs.
    Running,
    /// It ended as it was asked to.
    Stopped,
    /// It ended otherwise, or could not start.
    Failed,
}

/// Why a VM failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmFailure {
    /// Stable name of the cause.
    pub code: VmFailureCode,
    /// For people: what was expected and found.
    pub message: String,
    /// For people: what to do.
    pub hint: String,
}

/// Stable name of the cause of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VmFailureCode {
    /// The firmware refused kernel, initrd or command line and stands still.
    FirmwareHalted,
    /// QEMU did not start.
    QemuRefused,
    /// QEMU ended by itself.
    QemuExited,
    /// The simulated TEE did not start or ended.
    TeeFailed,
    /// The guest reported that it failed, then powered off.
    GuestFailed,
    /// The guest powered off without having been asked to.
    GuestPoweredOff,
    /// The host restarted and QEMU was gone.
    HostRestarted,
}

/// A notice from the guest and when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticedProgress {
    /// When hostd received it, in milliseconds since 1970.
    pub at_ms: u64,
    /// What the guest says it has reached.
    pub progress: Progress,
}

/// How a VM is to be stopped: body of `POST /v1/vms/{id}/stop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// How long the guest may take before its power button is pressed, in milliseconds; by default 20 s.
    #[serde(default)]
    pub grace_ms: Option<u64>,
}

/// What this host can do: answer of `GET /v1/capabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Version of casemate-hostd.
    pub version: String,
    /// What measures guests here.
    pub tee: TeeCapability,
    /// Whether the processor runs guests.
    pub kvm: KvmCapability,
    /// QEMU's version; nothing if there is no QEMU.
    pub qemu_version: Option<String>,
    /// Room in the state directory, in bytes.
    pub disk_free_bytes: u64,
    /// Memory that the kernel calls available, in MiB.
    pub memory_available_mib: u64,
    /// Processors of the host.
    pub cpus: u32,
    /// What carries guests' packets here.
    pub network: NetworkKind,
}

/// What measures guests on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeeCapability {
    /// True if SEV-SNP guests can be started.
    pub sev_snp: bool,
    /// True if TDX guests can be started.
    pub tdx: bool,
    /// True if simulated guests can be started.
    pub simulated: bool,
    /// What keeps real TEEs from being used here; empty if one can be.
    pub reason: String,
}

/// Whether the processor runs guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
#[non_exhaustive]
pub enum KvmCapability {
    /// A test guest booted.
    Usable {
        /// How long the test guest took, in milliseconds.
        boot_ms: u64,
    },
    /// There is no `/dev/kvm`.
    Absent,
    /// There is one, and it does not do.
    Unusable {
        /// Why, for people.
        reason: String,
    },
    /// Not tried: `CASEMATE_ACCEL` decides.
    Overridden {
        /// `tcg` or `kvm`.
        accelerator: String,
    },
}

/// Answer of `PUT /v1/blobs/{digest}` and of blobs in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Its name.
    pub digest: BlobDigest,
    /// Its size in bytes.
    pub size_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> serde_json::Value {
        serde_json::json!({
            "id": "notes-7f3a",
            "platform": "simulated",
            "image": {"directory": {"path": "/var/lib/casemate/image"}},
            "shape": {"vcpus": 2, "vcpu_type": "EPYC-v4", "memory_mib": 1024, "machine": "q35", "guest_features": 1},
            "workload_digest": "11".repeat(32),
            "launch": "22".repeat(32),
            "seats": [{"public_key": "33".repeat(64), "url": "unix:/run/kms.sock"}],
        })
    }

    #[test]
    fn what_is_left_out_grants_nothing() {
        let spec: HostVmSpec = serde_json::from_value(spec()).unwrap();
        assert!(!spec.network.outbound);
        assert!(spec.network.ports.is_empty());
        assert!(spec.data_disk.is_none());
    }

    #[test]
    fn unknown_fields_are_refused_at_every_depth() {
        for path in ["", "/shape", "/image/directory", "/seats/0"] {
            let mut value = spec();
            let object = value.pointer_mut(path).unwrap().as_object_mut().unwrap();
            object.insert("surprise".into(), true.into());
            let error = serde_json::from_value::<HostVmSpec>(value).unwrap_err();
            assert!(error.to_string().contains("surprise"), "{path}: {error}");
        }
    }
}
