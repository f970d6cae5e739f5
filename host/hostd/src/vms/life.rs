//! How does a VM start, and how does it stop?

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use casemate_api::agent::AgentRequest;
use casemate_api::host::{HostVm, HostVmState, Platform, PublishedPort, VmFailure, VmFailureCode};
use casemate_canon::to_cbor;

use super::{Vm, VmError, Vms};
use crate::capabilities;
use crate::error::Error;
use crate::helper::last_line;
use crate::image::BootFiles;
use crate::network::{Network, NetworkError, ports};
use crate::processes;
use crate::qemu::{self, Accelerator, Launch, User, file};
use crate::qmp::Qmp;
use crate::relay::now_ms;

impl Vms {
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
            vm.disconnect().await;
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

    async fn launch(&self, vm: &Arc<Vm>) -> Result<(), Error> {
        let spec = vm.record.lock().await.spec.clone();
        vm.end_processes().await;
        for stale in [file::QMP, file::RELAY, file::NETWORK, file::CONSOLE, file::QEMU_LOG] {
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
            network: self.settings.network.kind(),
            user: match &self.settings.network {
                Network::User(_) => None,
                Network::Tap(taps) => Some(User {
                    id: taps.name(&spec.id).user(),
                    takes_run_with: capabilities::qemu_is_at_least(&self.settings.qemu, (9, 1)).await,
                }),
            },
        };
        if spec.platform == Platform::Simulated {
            launch.accelerator = self.probe.accelerator(&launch).await;
        }
        let arguments = qemu::arguments(&launch)?;
        if spec.platform == Platform::Simulated {
            let tee = &self.settings.simulated_tee;
            tee.start(&vm.folder, &launch.boot, &launch.shape, &launch.workload_digest).await?;
        }
        let ports = self.claim_ports(vm).await?;
        vm.connect().await?;
        let log = vm.folder.join(file::QEMU_LOG);
        let start = || processes::start_detached(&self.settings.qemu, &arguments, &vm.folder, &log);
        let (process, mut child) = match &self.settings.network {
            Network::User(_) => start()?,
            Network::Tap(taps) => taps.inside(&spec.id, start).map_err(NetworkError::from)??,
        };
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

    /// Chooses the ports of a VM and records them. Before QEMU runs: if the daemon ends right after, they are
    /// still known.
    async fn claim_ports(&self, vm: &Arc<Vm>) -> Result<Vec<PublishedPort>, Error> {
        let _one = self.claiming.lock().await;
        let vms: Vec<_> = self.vms.read().await.values().cloned().collect();
        let mut taken = Vec::new();
        for other in vms.iter().filter(|other| !Arc::ptr_eq(other, vm)) {
            let record = other.record.lock().await;
            taken.extend(record.endpoints.iter().map(|port| (port.clone(), record.spec.id.clone())));
        }
        let wanted = vm.record.lock().await.spec.network.ports.clone();
        let ports = ports::claim(&wanted, &taken)?;
        let network = self.settings.network.kind();
        vm.change(|record| (record.endpoints, record.network) = (ports.clone(), network)).await?;
        Ok(ports)
    }
}

const START_TIME: Duration = Duration::from_secs(20);
const AGENT_TIME: Duration = Duration::from_secs(3);
const BUTTON_TIME: Duration = Duration::from_secs(5);
const QUIT_TIME: Duration = Duration::from_secs(5);
