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

mod error;
mod record;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_api::agent::AgentRequest;
use casemate_api::host::{
    BlobDigest, HostVm, HostVmSpec, HostVmState, ImageSource, NetworkKind, Platform, VmFailure, VmFailureCode,
};
use casemate_canon::to_cbor;
use tokio::sync::{Mutex, RwLock, watch};

pub use self::error::VmError;
pub(crate) use self::record::{Record, replace};
use crate::accelerator::Probe;
use crate::blobs::Blobs;
use crate::error::Error;
use crate::image::BootFiles;
use crate::network::{NetworkError, claim_ports};
use crate::processes::{self, ProcessId};
use crate::qemu::{self, Accelerator, Disk, Launch, file};
use crate::qmp::Qmp;
use crate::relay::{Relay, now_ms};
use crate::supervise;
use crate::tee::{SimulatedTee, last_line};
use crate::{disks, relay};

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
}

/// One VM: what is on disk, and what talks to it while it runs.
pub(crate) struct Vm {
    pub(crate) folder: PathBuf,
    pub(crate) relay: Relay,
    pub(crate) record: Mutex<Record>,
    /// Changes whenever the record does.
    pub(crate) state: watch::Sender<HostVmState>,
    /// One verb at a time.
    verb: Mutex<()>,
    pub(crate) qmp: Mutex<Option<Arc<Qmp>>>,
}

impl Vms {
    /// Opens the folder of VMs: drops what was half made or half removed, finds what runs.
    ///
    /// # Errors
    /// [`VmError::Storage`], [`VmError::Record`].
    pub async fn open(settings: Settings, blobs: Arc<Blobs>, probe: Arc<Probe>) -> Result<Self, Error> {
        let vms = Self { settings, blobs, probe, vms: RwLock::default() };
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
            let vm = Arc::new(Vm::new(path, record));
            vm.adopt().await;
            vms.vms.write().await.insert(name, vm);
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
        self.ensure_data_disk(&spec)?;
        let unfinished = self.folder().join(format!(".{}.new", spec.id));
        let folder = self.folder().join(&spec.id);
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished).map_err(VmError::storage(&unfinished))?;
        restrict(&unfinished)?;
        let record = Record::new(spec);
        record.write(&unfinished)?;
        fs::rename(&unfinished, &folder).map_err(VmError::storage(&folder))?;
        let vm = Arc::new(Vm::new(folder, record));
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

    /// Starts it.
    ///
    /// # Errors
    /// [`VmError::AlreadyRuns`]; whatever keeps it from starting, which is also kept as its failure.
    pub async fn start(&self, id: &str) -> Result<HostVm, Error> {
        let vm = self.vm(id).await?;
        let _one = vm.verb.lock().await;
        if vm.state().await == HostVmState::Running {
            return Err(VmError::AlreadyRuns { id: id.to_owned() }.into());
        }
        if let Err(error) = self.launch(&vm).await {
            vm.end_processes().await;
            let (_, _, hint) = error.explain();
            let code = match &error {
                Error::Tee(_) => VmFailureCode::TeeFailed,
                _ => VmFailureCode::QemuRefused,
            };
            let failure = VmFailure { code, message: error.to_string(), hint: hint.to_owned() };
            vm.change(|record| record.failed(failure)).await?;
            return Err(error);
        }
        Ok(vm.describe().await)
    }

    /// Asks the guest to stop, then presses its power button, then ends QEMU.
    ///
    /// # Errors
    /// [`VmError::NeverRan`], [`VmError::Storage`], [`processes::ProcessError::Stuck`].
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<HostVm, Error> {
        let vm = self.vm(id).await?;
        let _one = vm.verb.lock().await;
        match vm.state().await {
            HostVmState::Running => {}
            HostVmState::Created => return Err(VmError::NeverRan { id: id.to_owned() }.into()),
            _ => return Ok(vm.describe().await),
        }
        vm.change(|record| record.stop_requested = true).await?;
        let request = to_cbor(&AgentRequest::Shutdown {});
        let asked = vm.relay.call_agent(request, AGENT_TIME.min(grace)).await;
        let patience = if asked.is_ok() { grace } else { Duration::ZERO };
        if !vm.stopped_within(patience).await {
            let qmp = vm.qmp.lock().await.clone();
            if let Some(qmp) = qmp {
                let _ = qmp.press_power_button().await;
                if !vm.stopped_within(BUTTON_TIME).await {
                    let _ = qmp.quit().await;
                }
            }
        }
        if !vm.stopped_within(QUIT_TIME).await {
            vm.end_processes().await;
            vm.stopped_within(QUIT_TIME).await;
        }
        Ok(vm.describe().await)
    }

    /// Ends QEMU at once.
    ///
    /// # Errors
    /// [`VmError::NeverRan`], [`VmError::Storage`].
    pub async fn kill(&self, id: &str) -> Result<HostVm, Error> {
        // Not behind the other verbs: a stop that hangs must not keep a kill waiting.
        let vm = self.vm(id).await?;
        match vm.state().await {
            HostVmState::Running => {}
            HostVmState::Created => return Err(VmError::NeverRan { id: id.to_owned() }.into()),
            _ => return Ok(vm.describe().await),
        }
        vm.change(|record| record.stop_requested = true).await?;
        vm.end_processes().await;
        vm.stopped_within(QUIT_TIME).await;
        Ok(vm.describe().await)
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

    fn check(&self, spec: &HostVmSpec) -> Result<(), Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let id = &spec.id;
        if id.is_empty() || id.len() > MAXIMUM_ID || id.starts_with('-') || !id.bytes().all(plain) {
            return Err(VmError::Id { found: id.chars().take(80).collect() }.into());
        }
        for seat in &spec.seats {
            if !relay::is_seat_url(&seat.url) {
                return Err(VmError::SeatUrl { found: seat.url.chars().take(200).collect() }.into());
            }
        }
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let mut serials = HashSet::new();
        for disk in &spec.image_disks {
            let well_formed = disk.serial.len() == 20 && disk.serial.bytes().all(hexadecimal);
            if !well_formed || !serials.insert(&disk.serial) {
                return Err(VmError::Serial { found: disk.serial.chars().take(80).collect() }.into());
            }
        }
        if spec.network.kind == NetworkKind::Tap {
            return Err(NetworkError::NoTaps.into());
        }
        if let Some(disk) = &spec.data_disk {
            disks::plan(disk, self.settings.maximum_disk_bytes)?;
        }
        let boot = BootFiles::find(&spec.image, spec.platform, &self.settings.images, &self.blobs)?;
        self.disks(spec, &boot)?;
        Ok(())
    }

    async fn launch(&self, vm: &Arc<Vm>) -> Result<(), Error> {
        let spec = vm.record.lock().await.spec.clone();
        vm.end_processes().await;
        for stale in [file::QMP, file::RELAY, file::CONSOLE, file::QEMU_LOG] {
            let _ = fs::remove_file(vm.folder.join(stale));
        }
        vm.relay.forget();
        let boot = BootFiles::find(&spec.image, spec.platform, &self.settings.images, &self.blobs)?;
        let mut hash_table_address = 0;
        if spec.platform == Platform::Simulated {
            let (address, table) = boot.hash_table(spec.shape.memory_mib)?;
            let path = vm.folder.join(file::HASHES);
            fs::write(&path, table.as_bytes()).map_err(VmError::storage(&path))?;
            hash_table_address = address;
        }
        self.ensure_data_disk(&spec)?;
        let ports = claim_ports(&spec.network.ports)?;
        let mut launch = Launch {
            id: spec.id.clone(),
            folder: vm.folder.clone(),
            platform: spec.platform,
            accelerator: Accelerator::Kvm,
            shape: spec.shape,
            disks: self.disks(&spec, &boot)?,
            boot,
            hash_table_address,
            workload_digest: spec.workload_digest,
            network: spec.network.kind,
            outbound: spec.network.outbound,
            ports: ports.clone(),
        };
        if spec.platform == Platform::Simulated {
            launch.accelerator = self.probe.accelerator(&launch).await;
        }
        let arguments = qemu::arguments(&launch)?;
        if spec.platform == Platform::Simulated {
            let tee = &self.settings.simulated_tee;
            tee.start(&vm.folder, &launch.boot, &launch.shape, &launch.workload_digest).await?;
        }
        // Before QEMU runs: if the daemon ends right after, the chosen ports are still known.
        vm.change(|record| record.endpoints = ports.clone()).await?;
        let log = vm.folder.join(file::QEMU_LOG);
        let (process, mut child) =
            processes::start_detached(&self.settings.qemu, &arguments, &vm.folder, &log)?;
        let reaped = tokio::spawn(async move { child.wait().await });
        let started_at_ms = now_ms();
        vm.change(|record| record.started(process, ports, started_at_ms)).await?;
        let control = vm.folder.join(file::QMP);
        let connecting = Qmp::connect(&control, START_TIME);
        let (qmp, events) = tokio::select! {
            connected = connecting => match connected {
                Ok(connected) => connected,
                Err(_) if !process.is_alive() => return Err(VmError::QemuEnded { last_line: last_line(&log) }.into()),
                Err(error) => return Err(error.into()),
            },
            _ = reaped => return Err(VmError::QemuEnded { last_line: last_line(&log) }.into()),
        };
        tracing::info!(vm = spec.id, pid = process.pid, "QEMU runs");
        vm.clone().watch(process, Arc::new(qmp), events, true).await;
        Ok(())
    }

    fn disks(&self, spec: &HostVmSpec, boot: &BootFiles) -> Result<Vec<Disk>, Error> {
        let readonly =
            |path: PathBuf, serial: &str| Disk { path, serial: serial.to_owned(), writable: false };
        let mut disks: Vec<_> = boot.root.iter().map(|root| readonly(root.clone(), "root")).collect();
        disks.push(readonly(self.blobs.path(&spec.launch)?, "launch"));
        for disk in &spec.image_disks {
            disks.push(readonly(self.blobs.path(&disk.blob)?, &disk.serial));
        }
        if spec.data_disk.is_some() {
            disks.push(Disk { path: self.disk_path(&spec.id), serial: "data".into(), writable: true });
        }
        Ok(disks)
    }

    fn ensure_data_disk(&self, spec: &HostVmSpec) -> Result<(), Error> {
        let Some(disk) = &spec.data_disk else { return Ok(()) };
        let table = disks::plan(disk, self.settings.maximum_disk_bytes)?;
        let (path, plan_path) = (self.disk_path(&spec.id), self.disk_plan_path(&spec.id));
        let before = match fs::read(&plan_path) {
            Ok(bytes) => {
                let disk = serde_json::from_slice(&bytes)
                    .map_err(|source| VmError::Record { path: plan_path.clone(), source })?;
                Some(disks::plan(&disk, u64::MAX)?)
            }
            Err(_) => None,
        };
        disks::ensure(&path, &table, before.as_ref(), spec.id.as_bytes())?;
        replace(&plan_path, &serde_json::to_vec(disk).expect("names and numbers are JSON"))?;
        Ok(())
    }

    async fn vm(&self, id: &str) -> Result<Arc<Vm>, VmError> {
        let absent = || VmError::Absent { id: id.chars().take(80).collect() };
        self.vms.read().await.get(id).cloned().ok_or_else(absent)
    }

    fn folder(&self) -> PathBuf {
        self.settings.state.join("vms")
    }

    fn disks_folder(&self) -> PathBuf {
        self.settings.state.join("disks")
    }

    fn disk_path(&self, id: &str) -> PathBuf {
        self.disks_folder().join(format!("{id}.img"))
    }

    fn disk_plan_path(&self, id: &str) -> PathBuf {
        self.disks_folder().join(format!("{id}.json"))
    }
}

const MAXIMUM_ID: usize = 40;

/// `sun_path` of unix(7), with its terminating NUL.
const MAXIMUM_SOCKET_PATH: usize = 108;

const START_TIME: Duration = Duration::from_secs(20);
const AGENT_TIME: Duration = Duration::from_secs(3);
const BUTTON_TIME: Duration = Duration::from_secs(5);
const QUIT_TIME: Duration = Duration::from_secs(5);
const OUTSIDE_CALL_TIME: Duration = Duration::from_secs(60);

/// Of the console, as much is shown.
const CONSOLE_BYTES: usize = 256 << 10;

/// How long a guest may take to stop, unless its owner says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(20);

impl Vm {
    fn new(folder: PathBuf, record: Record) -> Self {
        let relay = Relay::new(&record.spec.seats);
        let state = watch::Sender::new(record.state);
        Self {
            folder,
            relay,
            record: Mutex::new(record),
            state,
            verb: Mutex::default(),
            qmp: Mutex::default(),
        }
    }

    pub(crate) async fn describe(&self) -> HostVm {
        self.record.lock().await.describe(&self.relay)
    }

    async fn state(&self) -> HostVmState {
        self.record.lock().await.state
    }

    /// Changes the record in memory and on disk.
    ///
    /// If the disk is full, memory is right and the disk is behind: a restarted daemon looks at the
    /// processes that run before it believes the disk.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), VmError> {
        let mut record = self.record.lock().await;
        change(&mut record);
        let written = record.write(&self.folder);
        self.state.send_replace(record.state);
        written
    }

    async fn stopped_within(&self, patience: Duration) -> bool {
        let mut state = self.state.subscribe();
        let stopped = state.wait_for(|state| *state != HostVmState::Running);
        tokio::time::timeout(patience, stopped).await.is_ok()
    }

    /// Ends QEMU and the simulated TEE, whichever runs and whether or not the record knows.
    pub(crate) async fn end_processes(&self) {
        for process in self.processes() {
            if let Err(error) = process.end(Duration::ZERO).await {
                tracing::error!(%error, "a process of a VM does not end");
            }
        }
    }

    /// By the folder on their command lines: QEMU names its control socket, simtee its own.
    fn processes(&self) -> Vec<ProcessId> {
        [file::QMP, file::TEE]
            .iter()
            .flat_map(|socket| processes::with_argument(&self.folder.join(socket).display().to_string()))
            .collect()
    }

    /// After a restart: goes on with a QEMU that runs, or records that it is gone.
    async fn adopt(self: &Arc<Self>) {
        let needle = self.folder.join(file::QMP).display().to_string();
        let running = processes::with_argument(&needle).into_iter().next();
        let was_running = self.state().await == HostVmState::Running;
        let Some(process) = running else {
            self.end_processes().await;
            if was_running {
                let ended = supervise::ending_after_restart(self).await;
                if let Err(error) = self.change(ended).await {
                    tracing::error!(%error, "cannot record that a VM is gone");
                }
            }
            return;
        };
        match Qmp::connect(&self.folder.join(file::QMP), Duration::from_secs(2)).await {
            Ok((qmp, events)) => {
                if !was_running {
                    let change =
                        |record: &mut Record| record.started(process, record.endpoints.clone(), now_ms());
                    let started = self.change(change).await;
                    if let Err(error) = started {
                        tracing::error!(%error, "cannot record that a VM runs");
                    }
                }
                tracing::info!(pid = process.pid, "found a running VM");
                self.clone().watch(process, Arc::new(qmp), events, false).await;
            }
            // It was started and never became usable.
            Err(_) => {
                self.end_processes().await;
                let ended = supervise::ending_after_restart(self).await;
                let _ = self.change(ended).await;
            }
        }
    }

    async fn watch(
        self: Arc<Self>,
        process: ProcessId,
        qmp: Arc<Qmp>,
        events: tokio::sync::mpsc::Receiver<crate::qmp::Event>,
        fresh: bool,
    ) {
        *self.qmp.lock().await = Some(qmp.clone());
        tokio::spawn(supervise::run(self, process, qmp, events, fresh));
    }
}

fn restrict(folder: &Path) -> Result<(), VmError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(VmError::storage(folder))
}
