//! What is known of one VM, on disk and while it runs?

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use casemate_api::host::{HostVm, HostVmState};
use tokio::sync::{Mutex, watch};

use super::{Record, VmError};
use crate::error::Error;
use crate::network::tap::Kept;
use crate::network::{Network, NetworkError};
use crate::processes::{self, ProcessId};
use crate::qemu::file;
use crate::qmp::Qmp;
use crate::relay::{Relay, now_ms};
use crate::supervise;

/// One VM: what is on disk, and what talks to it while it runs.
pub(crate) struct Vm {
    pub(crate) folder: PathBuf,
    pub(crate) relay: Relay,
    pub(crate) record: Mutex<Record>,
    /// Changes whenever the record does.
    pub(crate) state: watch::Sender<HostVmState>,
    /// One verb at a time.
    pub(super) verb: Mutex<()>,
    pub(crate) qmp: Mutex<Option<Arc<Qmp>>>,
    network: Network,
    /// The uplink that runs, where there are uplinks.
    carrier: Mutex<Option<ProcessId>>,
}

impl Vm {
    pub(super) fn new(folder: PathBuf, record: Record, network: Network) -> Self {
        let relay = Relay::new(&record.spec.seats);
        let state = watch::Sender::new(record.state);
        Self {
            folder,
            relay,
            record: Mutex::new(record),
            state,
            verb: Mutex::default(),
            qmp: Mutex::default(),
            network,
            carrier: Mutex::default(),
        }
    }

    /// Sets up the network, for the ports that the record names.
    pub(super) async fn connect(&self) -> Result<(), NetworkError> {
        let (id, outbound, ports) = {
            let record = self.record.lock().await;
            (record.spec.id.clone(), record.spec.network.outbound, record.endpoints.clone())
        };
        match &self.network {
            Network::User(uplink) => {
                let process = uplink.start(&self.folder, outbound, &ports).await?;
                *self.carrier.lock().await = Some(process);
            }
            Network::Tap(taps) => taps.start(&id, &self.folder, outbound, &ports).await?,
        }
        Ok(())
    }

    /// Removes what [`Vm::connect`] left beside processes. QEMU must have ended.
    pub(crate) async fn disconnect(&self) {
        let Network::Tap(taps) = &self.network else { return };
        let id = self.record.lock().await.spec.id.clone();
        if let Err(error) = taps.stop(&id).await {
            tracing::error!(%error, vm = id, "a VM's network cannot be removed; it goes when casemate-hostd starts");
        }
    }

    /// Starts the uplink again whenever it has ended, QEMU listens on; puts rules back that somebody removed.
    /// Never returns.
    pub(crate) async fn keep_connected(&self) {
        match &self.network {
            Network::User(_) => self.keep_uplink().await,
            Network::Tap(taps) => {
                let id = self.record.lock().await.spec.id.clone();
                loop {
                    tokio::time::sleep(RULES_PAUSE).await;
                    match taps.keep(&id, &self.folder).await {
                        Ok(Kept::InForce) => {}
                        Ok(Kept::PutBack) => {
                            tracing::warn!(vm = id, "somebody removed a VM's rules; they are back")
                        }
                        Err(error) => tracing::warn!(%error, vm = id, "cannot see to a VM's rules"),
                    }
                }
            }
        }
    }

    async fn keep_uplink(&self) {
        loop {
            tokio::time::sleep(CARRIER_PAUSE).await;
            let carrier = *self.carrier.lock().await;
            if carrier.is_some_and(|process| process.is_alive()) {
                continue;
            }
            match self.connect().await {
                Ok(()) => tracing::warn!("a VM's uplink had ended; it runs again"),
                Err(error) => tracing::warn!(%error, "a VM's uplink has ended and does not start"),
            }
        }
    }

    pub(crate) async fn describe(&self) -> HostVm {
        self.record.lock().await.describe(&self.relay)
    }

    pub(super) async fn state(&self) -> HostVmState {
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

    pub(super) async fn stopped_within(&self, patience: Duration) -> bool {
        let mut state = self.state.subscribe();
        let stopped = state.wait_for(|state| *state != HostVmState::Running);
        tokio::time::timeout(patience, stopped).await.is_ok()
    }

    /// Ends QEMU, its uplink and the simulated TEE, whichever run and whether or not the record knows.
    pub(crate) async fn end_processes(&self) {
        for process in self.processes() {
            if let Err(error) = process.end(Duration::ZERO).await {
                tracing::error!(%error, "a process of a VM does not end");
            }
        }
    }

    /// By the folder on their command lines: QEMU names its control socket, the others their own.
    fn processes(&self) -> Vec<ProcessId> {
        [file::QMP, file::NETWORK, file::TEE].iter().flat_map(|socket| self.processes_of(socket)).collect()
    }

    fn processes_of(&self, socket: &str) -> Vec<ProcessId> {
        processes::with_argument(&self.folder.join(socket).display().to_string())
    }

    /// After a restart: goes on with a QEMU that runs, or records that it is gone.
    ///
    /// # Errors
    /// [`NetworkError::RunsOn`].
    pub(super) async fn adopt(self: &Arc<Self>) -> Result<(), Error> {
        let running = self.processes_of(file::QMP).into_iter().next();
        *self.carrier.lock().await = self.processes_of(file::NETWORK).into_iter().next();
        let was_running = self.state().await == HostVmState::Running;
        let Some(process) = running else {
            self.end_processes().await;
            if was_running {
                let ended = supervise::ending_after_restart(self).await;
                if let Err(error) = self.change(ended).await {
                    tracing::error!(%error, "cannot record that a VM is gone");
                }
            }
            return Ok(());
        };
        let (id, found) = {
            let record = self.record.lock().await;
            (record.spec.id.clone(), record.network)
        };
        if found != self.network.kind() {
            return Err(NetworkError::RunsOn { id, found, offered: self.network.kind() }.into());
        }
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
        Ok(())
    }

    pub(super) async fn watch(
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

/// How often a running VM's uplink is looked at.
const CARRIER_PAUSE: Duration = Duration::from_secs(1);
/// How often its rules are.
const RULES_PAUSE: Duration = Duration::from_secs(2);
