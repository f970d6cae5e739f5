//! Is a definition right, and are its disks there?

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use casemate_api::host::HostVmSpec;

use super::{MAXIMUM_ID, VmError, Vms, replace};
use crate::error::Error;
use crate::image::BootFiles;
use crate::network::NetworkError;
use crate::qemu::Disk;
use crate::{disks, relay};

impl Vms {
    pub(super) fn check(&self, spec: &HostVmSpec) -> Result<(), Error> {
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
        let found = self.settings.network.kind();
        if let Some(wanted) = spec.network.kind.filter(|kind| *kind != found) {
            return Err(NetworkError::Kind { wanted, found }.into());
        }
        if let Some(disk) = &spec.data_disk {
            disks::plan(disk, self.settings.maximum_disk_bytes)?;
        }
        let boot = BootFiles::find(&spec.image, spec.platform, &self.settings.images, &self.blobs)?;
        self.disks(spec, &boot)?;
        Ok(())
    }

    pub(super) fn disks(&self, spec: &HostVmSpec, boot: &BootFiles) -> Result<Vec<Disk>, Error> {
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

    pub(super) fn ensure_data_disk(&self, spec: &HostVmSpec) -> Result<(), Error> {
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

    pub(super) fn disks_folder(&self) -> PathBuf {
        self.settings.state.join("disks")
    }

    pub(super) fn disk_path(&self, id: &str) -> PathBuf {
        self.disks_folder().join(format!("{id}.img"))
    }

    pub(super) fn disk_plan_path(&self, id: &str) -> PathBuf {
        self.disks_folder().join(format!("{id}.json"))
    }
}
