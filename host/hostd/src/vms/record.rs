//! What does the daemon remember of a VM?

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use casemate_api::host::{HostVm, HostVmSpec, HostVmState, NetworkKind, PublishedPort, VmFailure};
use serde::{Deserialize, Serialize};

use super::VmError;
use crate::processes::ProcessId;
use crate::relay::Relay;

/// One VM on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) spec: HostVmSpec,
    pub(crate) state: HostVmState,
    pub(crate) failure: Option<VmFailure>,
    pub(crate) qemu: Option<ProcessId>,
    /// On which it was last started.
    #[serde(default)]
    pub(crate) network: NetworkKind,
    pub(crate) endpoints: Vec<PublishedPort>,
    pub(crate) stop_requested: bool,
    pub(crate) started_at_ms: Option<u64>,
    pub(crate) stopped_at_ms: Option<u64>,
}

impl Record {
    pub(crate) fn new(spec: HostVmSpec) -> Self {
        Self {
            spec,
            state: HostVmState::Created,
            failure: None,
            qemu: None,
            network: NetworkKind::default(),
            endpoints: Vec::new(),
            stop_requested: false,
            started_at_ms: None,
            stopped_at_ms: None,
        }
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, VmError> {
        let path = folder.join(FILE);
        let bytes = fs::read(&path).map_err(VmError::storage(&path))?;
        serde_json::from_slice(&bytes).map_err(|source| VmError::Record { path, source })
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), VmError> {
        replace(&folder.join(FILE), &serde_json::to_vec_pretty(self).expect("a record is JSON"))
    }

    pub(crate) fn started(&mut self, qemu: ProcessId, endpoints: Vec<PublishedPort>, at_ms: u64) {
        self.state = HostVmState::Running;
        self.failure = None;
        self.qemu = Some(qemu);
        self.endpoints = endpoints;
        self.stop_requested = false;
        self.started_at_ms = Some(at_ms);
        self.stopped_at_ms = None;
    }

    pub(crate) fn stopped(&mut self) {
        self.state = HostVmState::Stopped;
        self.ended();
    }

    pub(crate) fn failed(&mut self, failure: VmFailure) {
        self.state = HostVmState::Failed;
        self.failure = Some(failure);
        self.ended();
    }

    fn ended(&mut self) {
        self.qemu = None;
        self.endpoints.clear();
        self.stopped_at_ms = Some(crate::relay::now_ms());
    }

    pub(crate) fn describe(&self, relay: &Relay) -> HostVm {
        let notices = relay.notices();
        HostVm {
            id: self.spec.id.clone(),
            state: self.state,
            platform: self.spec.platform,
            failure: self.failure.clone(),
            progress: notices.last().cloned(),
            notices,
            endpoints: self.endpoints.clone(),
            started_at_ms: self.started_at_ms,
            stopped_at_ms: self.stopped_at_ms,
        }
    }
}

const FILE: &str = "vm.json";

/// Replaces a file as a whole: a reader finds the old contents or the new ones.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<(), VmError> {
    let unfinished = path.with_extension("new");
    let write = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(VmError::storage(path))
}
