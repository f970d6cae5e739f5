//! Is this the disk it was, and how is it opened?
//!
//! [`casemate_volume`] decides; here bytes are read, tools are run and steps are put in order:
//!
//! - A volume that the seats call *creating* has no content that matters. It is formatted, stamped,
//!   given a filesystem, and committed last: a crash on the way leaves it *creating*.
//! - A volume that they call *live* is opened only by a stamp that they granted. Its first bytes are
//!   read once; stamp, digest and MAC are verified before any parser sees the header; the checked copy,
//!   and no other, goes to `cryptsetup`. It is never formatted, whatever fails.
//!
//! Before the commit the old and the new stamp are both good, after it only the new one.

mod filesystem;
mod luks;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use casemate_api::progress::FailureCode;
use casemate_guest_sys::{self as sys, block};
use casemate_record::{BootId, Stamp};
use casemate_volume::{
    VolumeKeys,
    frame::{self, Frame, SLOT_BYTES},
    luks::Header,
};

/// Records a stamp at the seats; returns when a quorum has.
pub trait Stamps {
    /// "I am about to write this stamp."
    ///
    /// # Errors
    /// Why too few seats recorded it.
    fn prepare(&mut self, stamp: &Stamp) -> Result<(), crate::Error>;

    /// "I have written and flushed this stamp."
    ///
    /// # Errors
    /// Why too few seats recorded it.
    fn commit(&mut self, stamp: &Stamp) -> Result<(), crate::Error>;
}

/// What the seats granted for a volume.
#[derive(Debug)]
pub struct Granted<'a> {
    /// Keys derived from what they gave.
    pub keys: &'a VolumeKeys,
    /// What they know about it.
    pub known: Known,
    /// Counter of the stamp that this boot makes.
    pub next_counter: u64,
}

/// What the seats know about a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing was ever committed: may be formatted.
    Creating,
    /// Committed at least once: must be opened.
    Live {
        /// The newest committed stamp.
        committed: Stamp,
        /// Stamps prepared after it.
        prepared: Vec<Stamp>,
    },
}

/// What became of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It was formatted.
    Formatted,
    /// It was there.
    Found,
}

/// Opens or formats the volume `name` and mounts it read-write at `mount_point`.
///
/// # Errors
/// [`VolumeError`] of this volume, or what [`Stamps`] answers.
pub fn open(
    name: &str,
    mount_point: &Path,
    granted: &Granted<'_>,
    boot_id: BootId,
    stamps: &mut dyn Stamps,
) -> Result<Opened, crate::Error> {
    let named = |source| crate::Error::Volume { name: name.to_owned(), source };
    let partition = find(name).map_err(named)?;
    let volume = Volume { name, partition, granted, boot_id };
    let opened = match &granted.known {
        Known::Creating => volume.format(stamps)?,
        Known::Live { committed, prepared } => volume.open_live(committed, prepared, stamps)?,
    };
    filesystem::mount(&luks::device(name), mount_point).map_err(named)?;
    Ok(opened)
}

/// Why a volume is not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The host attached no such disk or partition.
    #[error(transparent)]
    Missing(sys::Error),
    /// The partition cannot hold a volume.
    #[error("its partition has {found} bytes, expected at least {minimum}; give it a larger data disk")]
    TooSmall {
        /// Size of the partition in bytes.
        found: u64,
        /// Smallest size in bytes.
        minimum: u64,
    },
    /// The partition cannot be read or written.
    #[error("{action} its first bytes: {source}; the host's disk fails")]
    Device {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It is not the volume that was committed last, or its header is not the one that was written.
    #[error(transparent)]
    Refused(#[from] casemate_volume::Error),
    /// A header that was just written is not of the shape that is opened.
    #[error("the header just formatted is refused: {0}; the image's cryptsetup does not match it")]
    Formatted(#[source] casemate_volume::Error),
    /// A tool could not be run, or failed.
    #[error("{tool} failed to {action}: {outcome}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// What it was to do.
        action: &'static str,
        /// What became of it.
        outcome: ToolOutcome,
    },
    /// The header cannot be handed to the tool.
    #[error("writing the header into memory: {0}")]
    HeaderFile(#[source] io::Error),
    /// The filesystem cannot be mounted.
    #[error("{0}; the volume is left as it is")]
    Mount(#[source] sys::Error),
}

/// What became of a tool that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolOutcome {
    /// It was not run.
    #[error(transparent)]
    NotRun(sys::Error),
    /// It ended without success.
    #[error("{status}; it said {complaint:?}")]
    Ended {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The beginning of what it wrote to standard error.
        complaint: String,
    },
}

impl VolumeError {
    /// The code in the public notice.
    pub fn code(&self) -> FailureCode {
        use casemate_volume::{Error, frame::FrameError};
        match self {
            VolumeError::Missing(_) | VolumeError::TooSmall { .. } => FailureCode::DiskUnsuitable,
            VolumeError::Refused(Error::Frame(FrameError::NotGranted { .. })) => FailureCode::VolumeStale,
            VolumeError::Refused(_) => FailureCode::VolumeRefused,
            VolumeError::Formatted(_) => FailureCode::VolumeFormatFailed,
            VolumeError::Tool { action, .. } if FORMATTING.contains(action) => {
                FailureCode::VolumeFormatFailed
            }
            _ => FailureCode::VolumeOpenFailed,
        }
    }
}

/// Device-mapper name of a volume.
pub fn mapper_name(name: &str) -> String {
    format!("casemate-{name}")
}

struct Volume<'a> {
    name: &'a str,
    partition: PathBuf,
    granted: &'a Granted<'a>,
    boot_id: BootId,
}

impl Volume<'_> {
    fn format(&self, stamps: &mut dyn Stamps) -> Result<Opened, crate::Error> {
        let keys = self.granted.keys;
        let header_file = luks::HeaderFile::blank(self.name).map_err(self.named())?;
        luks::format(&self.partition, &header_file, keys).map_err(self.named())?;
        let header = header_file.contents().map_err(self.named())?;
        check_formatted(&header).map_err(VolumeError::Formatted).map_err(self.named())?;
        luks::open(&self.partition, &header_file, self.name, keys).map_err(self.named())?;
        let stamp = keys.stamp(self.granted.next_counter, frame::header_digest(&header), self.boot_id);
        stamps.prepare(&stamp)?;
        write_new_frame(&self.partition, &frame::slot_bytes(keys, &stamp, &header), &header)
            .map_err(self.named())?;
        // The filesystem comes before the commit: a live volume always has one.
        filesystem::make(&luks::device(self.name)).map_err(self.named())?;
        stamps.commit(&stamp)?;
        Ok(Opened::Formatted)
    }

    fn open_live(
        &self,
        committed: &Stamp,
        prepared: &[Stamp],
        stamps: &mut dyn Stamps,
    ) -> Result<Opened, crate::Error> {
        let keys = self.granted.keys;
        let start = read_start(&self.partition).map_err(self.named())?;
        let opened = check_live(&start, keys, committed, prepared).map_err(self.named())?;
        let header_file = luks::HeaderFile::holding(self.name, opened.header()).map_err(self.named())?;
        luks::open(&self.partition, &header_file, self.name, keys).map_err(self.named())?;
        let stamp = keys.stamp(self.granted.next_counter, opened.stamp().header_digest, self.boot_id);
        stamps.prepare(&stamp)?;
        let slot = frame::slot_bytes(keys, &stamp, opened.header());
        write_slot(&self.partition, opened.next_slot_offset() as u64, &slot).map_err(self.named())?;
        stamps.commit(&stamp)?;
        Ok(Opened::Found)
    }

    fn named(&self) -> impl Fn(VolumeError) -> crate::Error {
        let name = self.name.to_owned();
        move |source| crate::Error::Volume { name: name.clone(), source }
    }
}

/// The partition of the volume `name` on the disk `data`.
fn find(name: &str) -> Result<PathBuf, VolumeError> {
    let disk = block::disk_with_serial("data").map_err(VolumeError::Missing)?;
    let partition = block::partition(&disk, name).map_err(VolumeError::Missing)?;
    let found = block::size_bytes(&partition).map_err(VolumeError::Missing)?;
    if found < MINIMUM_BYTES {
        return Err(VolumeError::TooSmall { found, minimum: MINIMUM_BYTES });
    }
    Ok(partition)
}

/// The first [`frame::DATA_OFFSET`] bytes of a partition, read once.
fn read_start(partition: &Path) -> Result<Vec<u8>, VolumeError> {
    let failed = |source| VolumeError::Device { action: "reading", source };
    let mut start = vec![0; frame::DATA_OFFSET];
    let file = File::open(partition).map_err(failed)?;
    file.read_exact_at(&mut start, 0).map_err(failed)?;
    Ok(start)
}

/// Stamp, digest and MAC first; only then is the header parsed, and held against the one allowed shape.
fn check_live<'a>(
    start: &'a [u8],
    keys: &VolumeKeys,
    committed: &Stamp,
    prepared: &[Stamp],
) -> Result<frame::OpenedFrame<'a>, VolumeError> {
    let frame = Frame::parse(start).map_err(casemate_volume::Error::from)?;
    let opened = frame.open(keys, committed, prepared).map_err(casemate_volume::Error::from)?;
    check_formatted(opened.header())?;
    Ok(opened)
}

fn check_formatted(header: &[u8]) -> Result<(), casemate_volume::Error> {
    Header::parse(header)?.check()?;
    Ok(())
}

/// Header first, then the stamp that names it.
fn write_new_frame(partition: &Path, slot: &[u8], header: &[u8]) -> Result<(), VolumeError> {
    write_and_flush(partition, &[(frame::HEADER_OFFSET as u64, header)])?;
    write_and_flush(partition, &[(0, slot), (SLOT_BYTES as u64, &[0; SLOT_BYTES])])
}

fn write_slot(partition: &Path, offset: u64, slot: &[u8]) -> Result<(), VolumeError> {
    write_and_flush(partition, &[(offset, slot)])
}

/// Returns when the disk says that it has the bytes.
fn write_and_flush(partition: &Path, pieces: &[(u64, &[u8])]) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::Device { action: "writing", source };
    let file = OpenOptions::new().write(true).open(partition).map_err(failed)?;
    for (offset, bytes) in pieces {
        file.write_all_at(bytes, *offset).map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}

/// Runs a tool of the root to success.
fn run_tool(
    tool: &'static str,
    action: &'static str,
    arguments: &[&std::ffi::OsStr],
    input: &[u8],
    accept: impl Fn(i32) -> bool,
) -> Result<(), VolumeError> {
    let failed = |outcome| VolumeError::Tool { tool, action, outcome };
    let finished = sys::process::run(std::process::Command::new(tool).args(arguments), input)
        .map_err(|error| failed(ToolOutcome::NotRun(error)))?;
    match finished.status.code() {
        Some(code) if accept(code) => Ok(()),
        _ => Err(failed(ToolOutcome::Ended { status: finished.status, complaint: finished.complaint })),
    }
}

/// Where headers lie while a tool reads them: memory only.
fn memory_folder() -> Result<PathBuf, VolumeError> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = PathBuf::from(MEMORY_FOLDER);
    match fs::DirBuilder::new().mode(0o700).recursive(true).create(&folder) {
        Ok(()) => Ok(folder),
        Err(error) => Err(VolumeError::HeaderFile(error)),
    }
}

const MEMORY_FOLDER: &str = "/run/casemate";
/// Frame and room for a small ext4.
const MINIMUM_BYTES: u64 = (frame::DATA_OFFSET + (16 << 20)) as u64;
const FORMATTING: [&str; 2] = ["format the volume", "make a filesystem"];

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_crypto::secret::Secret;
    use casemate_volume::frame::{FrameError, HEADER_BYTES};

    fn keys() -> VolumeKeys {
        VolumeKeys::derive(&Secret::take(&mut [7; 64]))
    }

    fn partition(keys: &VolumeKeys, stamp: &Stamp, header: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MINIMUM_BYTES).unwrap();
        write_new_frame(file.path(), &frame::slot_bytes(keys, stamp, header), header).unwrap();
        file
    }

    #[test]
    fn a_new_frame_reads_back_and_takes_the_next_stamp_in_the_other_slot() {
        let (keys, header) = (keys(), vec![9; HEADER_BYTES]);
        let first = keys.stamp(1, frame::header_digest(&header), BootId::from([1; 16]));
        let file = partition(&keys, &first, &header);

        let start = read_start(file.path()).unwrap();
        let opened = Frame::parse(&start).unwrap().open(&keys, &first, &[]).unwrap();
        assert_eq!(opened.next_slot_offset(), SLOT_BYTES);
        let second = keys.stamp(2, first.header_digest, BootId::from([2; 16]));
        let slot = frame::slot_bytes(&keys, &second, &header);
        write_slot(file.path(), opened.next_slot_offset() as u64, &slot).unwrap();

        let start = read_start(file.path()).unwrap();
        for stamp in [first, second] {
            let opened = Frame::parse(&start).unwrap().open(&keys, &stamp, &[]).unwrap();
            assert_eq!(opened.stamp(), &stamp);
        }
    }

    #[test]
    fn a_header_of_another_shape_is_refused_although_its_mac_is_good() {
        let (keys, header) = (keys(), vec![9; HEADER_BYTES]);
        let stamp = keys.stamp(1, frame::header_digest(&header), BootId::from([1; 16]));
        let file = partition(&keys, &stamp, &header);
        let start = read_start(file.path()).unwrap();
        let error = check_live(&start, &keys, &stamp, &[]).unwrap_err();
        assert!(matches!(error, VolumeError::Refused(casemate_volume::Error::Luks(_))), "{error}");
        assert_eq!(error.code(), FailureCode::VolumeRefused);
    }

    #[test]
    fn a_blank_or_older_disk_is_stale() {
        let (keys, header) = (keys(), vec![9; HEADER_BYTES]);
        let older = keys.stamp(1, frame::header_digest(&header), BootId::from([1; 16]));
        let newest = keys.stamp(2, frame::header_digest(&header), BootId::from([2; 16]));
        let file = partition(&keys, &older, &header);
        for start in [read_start(file.path()).unwrap(), vec![0; frame::DATA_OFFSET]] {
            let error = check_live(&start, &keys, &newest, &[]).unwrap_err();
            let expected = matches!(
                error,
                VolumeError::Refused(casemate_volume::Error::Frame(FrameError::NotGranted { .. }))
            );
            assert!(expected, "{error}");
            assert_eq!(error.code(), FailureCode::VolumeStale);
        }
    }

    #[test]
    fn a_tool_that_fails_is_quoted() {
        let arguments = [std::ffi::OsStr::new("-c"), std::ffi::OsStr::new("echo no >&2; exit 2")];
        let error = run_tool("/bin/sh", "make a filesystem", &arguments, b"", |code| code == 0).unwrap_err();
        assert_eq!(error.code(), FailureCode::VolumeFormatFailed);
        assert!(error.to_string().ends_with("exit status: 2; it said \"no\""), "{error}");
    }
}
