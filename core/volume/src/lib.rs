//! Is this the disk it was?
//!
//! A volume is a LUKS2 device in a [`frame`]: two places for a stamp and header MAC, the LUKS2 header
//! area, the data. A guest opens it only if a seat's grant names its stamp, the MAC under a derived key
//! covers header and stamp, and [`luks::Header::check`] finds nothing but the one allowed shape.
//! [`VolumeState`] is what each seat holds about it.
//!
//! ```no_run
//! use casemate_volume::{VolumeKeys, frame, luks};
//! # fn read() -> (Vec<u8>, VolumeKeys, casemate_record::Stamp) { unimplemented!() }
//! let (start, keys, granted) = read(); // the first `frame::DATA_OFFSET` bytes, derived keys, granted stamp
//! let frame = frame::Frame::parse(&start)?;
//! let opened = frame.open(&keys, &granted, &[])?;        // stamp granted, MAC good
//! let header = luks::Header::parse(opened.header())?.check()?; // the one allowed shape
//! # Ok::<(), casemate_volume::Error>(())
//! ```
//!
//! It does not see changes to the data within a boot, or old sectors spliced in: AES-XTS has no memory.
#![forbid(unsafe_code)]

pub mod frame;
pub mod luks;

mod keys;
mod state;

pub use keys::VolumeKeys;
pub use state::{Standing, StateError, VolumeSalt, VolumeState};

/// Why a volume is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The frame around the header.
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    /// The LUKS2 header.
    #[error(transparent)]
    Luks(#[from] luks::LuksError),
    /// The state at a seat.
    #[error(transparent)]
    State(#[from] StateError),
}
