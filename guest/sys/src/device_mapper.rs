//! How is a block device made of another one?
//!
//! The kernel's device-mapper, by its ioctls (`linux/dm-ioctl.h`), without udev: the node
//! `/dev/dm-N` comes from devtmpfs, the link `/dev/mapper/NAME` is made here.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::{Error, block, sys};

/// The kernel's device-mapper.
#[derive(Debug)]
pub struct DeviceMapper {
    control: File,
}

/// A dm-verity device's parameters: SHA-256, 4096-byte data and hash blocks, no superblock, no salt,
/// the hash tree directly after the data.
///
/// They come from something already trusted (the measured command line, the manifest), never from the
/// device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// SHA-256 at the root of the tree.
    pub root_hash: [u8; 32],
    /// Data blocks of 4096 bytes.
    pub data_blocks: u64,
}

/// One stretch of a mapped device.
#[derive(Debug, Clone)]
pub struct Target {
    /// First sector of 512 bytes.
    pub start_sector: u64,
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// Name of the target in the kernel, such as `verity`.
    pub kind: &'static str,
    /// The target's parameters in its own words.
    pub parameters: String,
}

impl DeviceMapper {
    /// Opens `/dev/mapper/control`; the module `dm-mod` must be loaded.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn open() -> Result<Self, Error> {
        let control =
            OpenOptions::new().read(true).write(true).open(CONTROL).map_err(Error::call("open", CONTROL))?;
        Ok(DeviceMapper { control })
    }

    /// Makes `/dev/mapper/NAME` show the verified data of `device`, read-only.
    ///
    /// Every block is verified when it is read: a device that does not match `verity` opens, and
    /// reading it fails with `EIO`.
    ///
    /// # Errors
    /// [`Error::DeviceTooSmall`] where the stated blocks and their tree do not fit, [`Error::Call`].
    pub fn open_verity(&self, name: &str, device: &Path, verity: &Verity) -> Result<PathBuf, Error> {
        let expected = verity.size_bytes();
        let found = block::size_bytes(device)?;
        if found < expected {
            return Err(Error::DeviceTooSmall { device: device.into(), expected, found });
        }
        let number = block::number(device)?;
        self.create(name, &[verity.target(&number)], Access::ReadOnly)
    }

    /// Makes a device of `targets` and waits for nothing: it is usable on return.
    ///
    /// # Errors
    /// [`Error::DeviceMapperTooLong`], [`Error::Call`]; on an error nothing is left behind.
    pub fn create(&self, name: &str, targets: &[Target], access: Access) -> Result<PathBuf, Error> {
        self.request(DM_DEV_CREATE, "DM_DEV_CREATE", Request::new(name)?)?;
        self.activate(name, targets, access).inspect_err(|_| {
            let _ = self.remove(name);
        })
    }

    /// Removes a device that nobody has open, and its link.
    ///
    /// # Errors
    /// [`Error::Call`]: `EBUSY` while it is open, `ENXIO` where there is none.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        self.request(DM_DEV_REMOVE, "DM_DEV_REMOVE", Request::new(name)?)?;
        let _ = fs::remove_file(link(name));
        Ok(())
    }

    /// Whether the verity device `name` has met a block that is not its own since it was made.
    ///
    /// The kernel answers such a read with `EIO` and remembers it: its status is `V` until then, `C` ever
    /// after (Documentation/admin-guide/device-mapper/verity.rst). Whatever is not `V` counts as met.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn met_corruption(&self, name: &str) -> Result<bool, Error> {
        let answer =
            self.request(DM_TABLE_STATUS, "DM_TABLE_STATUS", Request::new(name)?.with_room(STATUS_BYTES))?;
        Ok(answer.first_status_byte() != b'V')
    }

    fn activate(&self, name: &str, targets: &[Target], access: Access) -> Result<PathBuf, Error> {
        let flags = match access {
            Access::ReadOnly => DM_READONLY_FLAG,
            Access::ReadWrite => 0,
        };
        let table = Request::new(name)?.flags(flags).table(targets)?;
        self.request(DM_TABLE_LOAD, "DM_TABLE_LOAD", table)?;
        // Without DM_SUSPEND_FLAG this ioctl resumes: it makes the loaded table live.
        let answer = self.request(DM_DEV_SUSPEND, "DM_DEV_SUSPEND", Request::new(name)?.flags(flags))?;
        let minor = libc::minor(answer.device_number());
        let node = PathBuf::from(format!("/dev/dm-{minor}"));
        let link = link(name);
        match symlink(&node, &link) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => result.map_err(Error::call("symlink", &link))?,
        }
        Ok(node)
    }

    fn request(&self, number: libc::c_ulong, call: &'static str, request: Request) -> Result<Request, Error> {
        let mut request = request;
        let name = request.name.clone();
        sys::ioctl_buffer(&self.control, number, &mut request.buffer).map_err(Error::call(call, name))?;
        Ok(request)
    }
}

/// May a mapped device be written?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

impl Verity {
    /// Bytes of data and tree together.
    pub fn size_bytes(&self) -> u64 {
        (self.data_blocks.saturating_add(self.tree_blocks())).saturating_mul(BLOCK_BYTES)
    }

    /// As dm-verity counts levels: none above a single data block.
    fn tree_blocks(&self) -> u64 {
        let mut level = self.data_blocks;
        let mut blocks = 0_u64;
        while level > 1 {
            level = level.div_ceil(HASHES_PER_BLOCK);
            blocks += level;
        }
        blocks
    }

    /// The kernel's table line (Documentation/admin-guide/device-mapper/verity.rst), version 1.
    fn target(&self, device: &str) -> Target {
        let root_hash: String = self.root_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let blocks = self.data_blocks;
        Target {
            start_sector: 0,
            sectors: blocks.saturating_mul(BLOCK_BYTES / SECTOR_BYTES),
            kind: "verity",
            parameters: format!("1 {device} {device} 4096 4096 {blocks} {blocks} sha256 {root_hash} -"),
        }
    }
}

/// `struct dm_ioctl` and what follows it.
struct Request {
    name: String,
    buffer: Vec<u8>,
}

impl Request {
    fn new(name: &str) -> Result<Self, Error> {
        let maximum = NAME_BYTES - 1;
        if name.len() > maximum {
            return Err(Error::DeviceMapperTooLong { what: "name", found: name.len(), maximum });
        }
        let mut request = Request { name: name.to_owned(), buffer: vec![0; DM_IOCTL_BYTES] };
        for (index, part) in DM_VERSION.iter().enumerate() {
            request.put_u32(4 * index, *part);
        }
        request.put_u32(DATA_START, DM_IOCTL_BYTES as u32);
        request.put_size();
        request.buffer[NAME..NAME + name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }

    fn flags(mut self, flags: u32) -> Self {
        self.put_u32(FLAGS, flags);
        self
    }

    /// Appends a `struct dm_target_spec` and its parameters for each target.
    fn table(mut self, targets: &[Target]) -> Result<Self, Error> {
        for target in targets {
            let start = self.buffer.len();
            let kind = target.kind.as_bytes();
            if kind.len() >= TARGET_KIND_BYTES {
                let maximum = TARGET_KIND_BYTES - 1;
                return Err(Error::DeviceMapperTooLong { what: "target", found: kind.len(), maximum });
            }
            self.buffer.extend_from_slice(&target.start_sector.to_ne_bytes());
            self.buffer.extend_from_slice(&target.sectors.to_ne_bytes());
            self.buffer.extend_from_slice(&[0; 8]); // status, next
            self.buffer.extend_from_slice(kind);
            self.buffer.resize(start + TARGET_SPEC_BYTES, 0);
            self.buffer.extend_from_slice(target.parameters.as_bytes());
            self.buffer.push(0);
            self.buffer.resize(self.buffer.len().next_multiple_of(8), 0);
            let next = (self.buffer.len() - start) as u32;
            self.put_u32(start + TARGET_NEXT, next);
        }
        self.put_u32(TARGET_COUNT, targets.len() as u32);
        self.put_size();
        Ok(self)
    }

    /// Leaves room behind the header for what the kernel answers.
    fn with_room(mut self, bytes: usize) -> Self {
        self.buffer.resize(self.buffer.len() + bytes, 0);
        self.put_size();
        self
    }

    /// Of the first target's status: the text after its `struct dm_target_spec`.
    fn first_status_byte(&self) -> u8 {
        self.buffer[DM_IOCTL_BYTES + TARGET_SPEC_BYTES]
    }

    fn device_number(&self) -> u64 {
        let bytes = self.buffer[DEVICE..DEVICE + 8].try_into().expect("eight bytes were sliced");
        // The kernel's huge_encode_dev has the layout of glibc's dev_t below 4096 majors.
        u64::from_ne_bytes(bytes)
    }

    fn put_size(&mut self) {
        let size = self.buffer.len() as u32;
        self.put_u32(DATA_SIZE, size);
    }

    fn put_u32(&mut self, offset: usize, value: u32) {
        self.buffer[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }
}

fn link(name: &str) -> PathBuf {
    Path::new("/dev/mapper").join(name)
}

const CONTROL: &str = "/dev/mapper/control";
const BLOCK_BYTES: u64 = 4096;
const SECTOR_BYTES: u64 = 512;
const HASHES_PER_BLOCK: u64 = BLOCK_BYTES / 32;

// linux/dm-ioctl.h: struct dm_ioctl, interface version 4.
const DM_VERSION: [u32; 3] = [4, 0, 0];
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const FLAGS: usize = 28;
const DEVICE: usize = 40;
const NAME: usize = 48;
const NAME_BYTES: usize = 128;
const DM_IOCTL_BYTES: usize = 312;
const DM_READONLY_FLAG: u32 = 1;
// struct dm_target_spec: sector_start, length, status, next, target_type.
const TARGET_NEXT: usize = 20;
const TARGET_KIND_BYTES: usize = 16;
const TARGET_SPEC_BYTES: usize = 40;
/// Room for one target's specification and a short status.
const STATUS_BYTES: usize = 256;

// _IOWR(0xfd, number, struct dm_ioctl).
const fn dm_request(number: libc::c_ulong) -> libc::c_ulong {
    0xc000_fd00 | ((DM_IOCTL_BYTES as libc::c_ulong) << 16) | number
}
const DM_DEV_CREATE: libc::c_ulong = dm_request(3);
const DM_DEV_REMOVE: libc::c_ulong = dm_request(4);
const DM_DEV_SUSPEND: libc::c_ulong = dm_request(6);
const DM_TABLE_LOAD: libc::c_ulong = dm_request(9);
const DM_TABLE_STATUS: libc::c_ulong = dm_request(12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernel_header_s_numbers() {
        // strace of dmsetup prints DM_DEV_CREATE as 0xc138fd03.
        assert_eq!(DM_DEV_CREATE, 0xc138_fd03);
        assert_eq!(DM_TABLE_LOAD, 0xc138_fd09);
        assert_eq!(DM_TABLE_STATUS, 0xc138_fd0c);
    }

    #[test]
    fn a_verity_table_is_the_documented_line() {
        let target = Verity { root_hash: [0xab; 32], data_blocks: 1000 }.target("254:0");
        assert_eq!(target.sectors, 8000);
        let line = format!("1 254:0 254:0 4096 4096 1000 1000 sha256 {} -", "ab".repeat(32));
        assert_eq!(target.parameters, line);
    }

    #[test]
    fn a_tree_has_one_hash_per_block_of_the_level_below() {
        let blocks = |data_blocks| Verity { root_hash: [0; 32], data_blocks }.tree_blocks();
        assert_eq!(blocks(1), 0); // the root hash is the block's own
        assert_eq!(blocks(128), 1);
        assert_eq!(blocks(129), 2 + 1);
        assert_eq!(blocks(128 * 128 + 1), 129 + 2 + 1);
        assert_eq!(Verity { root_hash: [0; 32], data_blocks: u64::MAX }.size_bytes(), u64::MAX);
    }

    #[test]
    fn a_table_states_its_own_lengths() {
        let target = Target { start_sector: 0, sectors: 8, kind: "zero", parameters: "x".into() };
        let request = Request::new("name").unwrap().table(&[target]).unwrap();
        let u32_at = |at: usize| u32::from_ne_bytes(request.buffer[at..at + 4].try_into().unwrap());
        assert_eq!(request.buffer.len(), 312 + 40 + 8);
        assert_eq!(u32_at(DATA_SIZE), 360);
        assert_eq!(u32_at(TARGET_COUNT), 1);
        assert_eq!(u32_at(DM_IOCTL_BYTES + TARGET_NEXT), 48);
        assert_eq!(&request.buffer[DM_IOCTL_BYTES + 24..][..5], b"zero\0");
    }

    #[test]
    fn a_status_is_read_behind_the_target_s_specification() {
        let mut answer = Request::new("name").unwrap().with_room(STATUS_BYTES);
        assert_eq!(answer.buffer[DATA_SIZE..DATA_SIZE + 4], (312_u32 + 256).to_ne_bytes());
        assert_ne!(answer.first_status_byte(), b'V');
        answer.buffer[312 + 40] = b'V';
        assert_eq!(answer.first_status_byte(), b'V');
    }

    #[test]
    fn names_and_kinds_that_do_not_fit_are_refused() {
        assert!(matches!(
            Request::new(&"n".repeat(128)),
            Err(Error::DeviceMapperTooLong { what: "name", found: 128, maximum: 127 })
        ));
        let target =
            Target { start_sector: 0, sectors: 8, kind: "sixteen-letters-", parameters: String::new() };
        assert!(matches!(
            Request::new("n").unwrap().table(&[target]),
            Err(Error::DeviceMapperTooLong { what: "target", .. })
        ));
    }
}
