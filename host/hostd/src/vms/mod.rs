//! Which VMs are there, and what may be done to them?
//!
//! | from | start | stop | kill | remove |
//! |---|---|---|---|---|
//! | created | running, or failed | refused | refused | gone |
//! | running | refused | stopped | stopped | refused |
//! | stopped, failed | running, or failed | nothing | nothing | gone |
//!
//! State is one JSON file per VM, replaced as a whole. A VM's folder appears and disappears by one
//! rename, so that the daemon may end between any two steps: what is half made is dropped when it
//! restarts, what runs is found again.

mod definition;
mod error;
mod life;
mod record;
mod vm;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_api::host::{BlobDigest, HostVm, HostVmSpec, HostVmState, ImageSource};
use tokio::sync::{Mutex, RwLock};

pub use self::error::VmError;
pub(crate) use self::record::{Record, replace};
pub(crate) use self::vm::Vm;
use crate::accelerator::Probe;
use crate::blobs::Blobs;
use crate::error::Error;
use crate::network::tap::TapError;
use crate::network::{Network, NetworkError};
use crate::qemu::file;
use crate::tee::SimulatedTee;

/// Where things are and how much may be used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Everything that the daemon keeps.
    pub state: PathBuf,
    /// Built guest images, by name.
    pub images: PathBuf,
    /// QEMU.
    pub qemu: PathBuf,
    /// The simulated TEE.
    pub simulated_tee: SimulatedTee,
    /// What carries packets.
    pub network: Network,
    /// Largest data disk in bytes.
    pub maximum_disk_bytes: u64,
    /// Most VMs.
    pub maximum_vms: usize,
}

/// Every VM of this host.
pub struct Vms {
    settings: Settings,
    blobs: Arc<Blobs>,
    probe: Arc<Probe>,
    vms: RwLock<BTreeMap<String, Arc<Vm>>>,
    /// Ports are claimed by one VM at a time.
    claiming: Mutex<()>,
}

impl Vms {
    /// Opens the folder of VMs: drops what was half made or half removed, finds what runs.
    ///
    /// # Errors
    /// [`VmError::Storage`], [`VmError::Record`], [`NetworkError::RunsOn`], [`NetworkError::Tap`].
    pub async fn open(settings: Settings, blobs: Arc<Blobs>, probe: Arc<Probe>) -> Result<Self, Error> {
        let vms = Self { settings, blobs, probe, vms: RwLock::default(), claiming: Mutex::default() };
        for folder in [vms.folder(), vms.disks_folder()] {
            fs::create_dir_all(&folder).map_err(VmError::storage(&folder))?;
        }
        let longest = vms.folder().join("x".repeat(MAXIMUM_ID)).join(file::RELAY);
        if longest.as_os_str().len() >= MAXIMUM_SOCKET_PATH {
            return Err(VmError::StatePathTooLong { path: vms.settings.state.clone() }.into());
        }
        let folder = vms.folder();
        for entry in fs::read_dir(&folder).map_err(VmError::storage(&folder))? {
            let path = entry.map_err(VmError::storage(&folder))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.starts_with('.') {
                fs::remove_dir_all(&path).map_err(VmError::storage(&path))?;
                continue;
            }
            let record = Record::read(&path)?;
            let vm = Arc::new(Vm::new(path, record, vms.settings.network.clone()));
            vm.adopt().await?;
            vms.vms.write().await.insert(name, vm);
        }
        if let Network::Tap(taps) = &vms.settings.network {
            let mut running = Vec::new();
            for (id, vm) in vms.vms.read().await.iter() {
                if vm.state().await == HostVmState::Running {
                    running.push(id.clone());
                }
            }
            taps.sweep(&running).await.map_err(NetworkError::from)?;
        }
        Ok(vms)
    }

    /// Checks a spec and makes what it needs on disk.
    ///
    /// # Errors
    /// Whatever is wrong with the spec, by name; [`VmError::Exists`]; [`VmError::Storage`].
    pub async fn create(&self, spec: HostVmSpec) -> Result<HostVm, Error> {
        self.check(&spec)?;
        let mut vms = self.vms.write().await;
        if let Some(vm) = vms.get(&spec.id) {
            let record = vm.record.lock().await;
            // The same request again is no conflict: its sender may not have heard the answer.
            if record.spec == spec {
                return Ok(record.describe(&vm.relay));
            }
            return Err(VmError::Exists { id: spec.id }.into());
        }
        if vms.len() >= self.settings.maximum_vms {
            return Err(VmError::TooMany { maximum: self.settings.maximum_vms }.into());
        }
        if let Network::Tap(taps) = &self.settings.network
            && let Some(other) = vms.keys().find(|other| taps.name(other) == taps.name(&spec.id))
        {
            let (id, other) = (spec.id, other.clone());
            return Err(NetworkError::from(TapError::SameName { id, other }).into());
        }
        self.ensure_data_disk(&spec)?;
        let unfinished = self.folder().join(format!(".{}.new", spec.id));
        let folder = self.folder().join(&spec.id);
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished).map_err(VmError::storage(&unfinished))?;
        restrict(&unfinished)?;
        let record = Record::new(spec);
        record.write(&unfinished)?;
        fs::rename(&unfinished, &folder).map_err(VmError::storage(&folder))?;
        let vm = Arc::new(Vm::new(folder, record, self.settings.network.clone()));
        let described = vm.describe().await;
        vms.insert(described.id.clone(), vm);
        Ok(described)
    }

    /// Every VM.
    pub async fn list(&self) -> Vec<HostVm> {
        let vms: Vec<_> = self.vms.read().await.values().cloned().collect();
        let mut described = Vec::new();
        for vm in vms {
            described.push(vm.describe().await);
        }
        described
    }

    /// One VM.
    ///
    /// # Errors
    /// [`VmError::Absent`].
    pub async fn describe(&self, id: &str) -> Result<HostVm, Error> {
        Ok(self.vm(id).await?.describe().await)
    }

    /// Forgets it, and destroys its data disk too if `with_disks`.
    ///
    /// # Errors
    /// [`VmError::StillRuns`], [`VmError::Storage`].
    pub async fn remove(&self, id: &str, with_disks: bool) -> Result<(), Error> {
        let vm = self.vm(id).await?;
        let _one = vm.verb.lock().await;
        if vm.state().await == HostVmState::Running {
            return Err(VmError::StillRuns { id: id.to_owned() }.into());
        }
        vm.end_processes().await;
        vm.disconnect().await;
        let gone = self.folder().join(format!(".{id}.gone"));
        let _ = fs::remove_dir_all(&gone);
        if with_disks {
            for path in [self.disk_path(id), self.disk_plan_path(id)] {
                if path.exists() {
                    fs::remove_file(&path).map_err(VmError::storage(&path))?;
                }
            }
        }
        fs::rename(&vm.folder, &gone).map_err(VmError::storage(&vm.folder))?;
        self.vms.write().await.remove(id);
        fs::remove_dir_all(&gone).map_err(VmError::storage(&gone))?;
        Ok(())
    }

    /// Hands bytes to the guest's agent and its answer back.
    ///
    /// # Errors
    /// [`VmError::NotRunning`], [`VmError::Agent`].
    pub async fn call_agent(&self, id: &str, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let vm = self.vm(id).await?;
        if vm.state().await != HostVmState::Running {
            return Err(VmError::NotRunning { id: id.to_owned() }.into());
        }
        vm.relay.call_agent(body, OUTSIDE_CALL_TIME).await.map_err(|source| VmError::Agent { source }.into())
    }

    /// The last part of what the guest wrote to its serial port.
    ///
    /// # Errors
    /// [`VmError::Absent`], [`VmError::Storage`].
    pub async fn console(&self, id: &str) -> Result<Vec<u8>, Error> {
        let vm = self.vm(id).await?;
        let path = vm.folder.join(file::CONSOLE);
        match fs::read(&path) {
            Ok(bytes) => Ok(bytes[bytes.len().saturating_sub(CONSOLE_BYTES)..].to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(VmError::Storage { path, source }.into()),
        }
    }

    /// Blobs that some VM needs.
    pub async fn referenced_blobs(&self) -> HashSet<BlobDigest> {
        let vms: Vec<_> = self.vms.read().await.values().cloned().collect();
        let mut referenced = HashSet::new();
        for vm in vms {
            let record = vm.record.lock().await;
            referenced.insert(record.spec.launch);
            referenced.extend(record.spec.image_disks.iter().map(|disk| disk.blob));
            if let ImageSource::Blobs { firmware, kernel, initrd, root, .. } = &record.spec.image {
                referenced.extend([firmware, kernel, initrd].into_iter().chain(root));
            }
        }
        referenced
    }

    async fn vm(&self, id: &str) -> Result<Arc<Vm>, VmError> {
        let absent = || VmError::Absent { id: id.chars().take(80).collect() };
        self.vms.read().await.get(id).cloned().ok_or_else(absent)
    }

    fn folder(&self) -> PathBuf {
        self.settings.state.join("vms")
    }
}

const MAXIMUM_ID: usize = 40;

/// `sun_path` of unix(7), with its terminating NUL.
const MAXIMUM_SOCKET_PATH: usize = 108;

const OUTSIDE_CALL_TIME: Duration = Duration::from_secs(60);

/// Of the console, as much is shown.
const CONSOLE_BYTES: usize = 256 << 10;

/// How long a guest may take to stop, unless its owner says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(20);

fn restrict(folder: &Path) -> Result<(), VmError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(VmError::storage(folder))
}
