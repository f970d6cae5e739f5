//! Is the root still the one that was measured?
//!
//! Init opened it through dm-verity with the measured root hash, and it stays a disk of the host's: programs
//! that the agent runs later are read from it later.

use casemate_api::handover;
use casemate_guest_sys::device_mapper::DeviceMapper;

/// Why the guest must not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A block that was read is not the root's.
    #[error(
        "the root: a block that was read is not the one that was measured; the host changed the disk `root` while it \
         was in use"
    )]
    Changed,
    /// The kernel does not say whether the blocks read were the root's.
    #[error("the root: {0}")]
    Unwatched(#[source] casemate_guest_sys::Error),
}

/// Refuses to go on once a block of the root was not the measured one. Its reader got `EIO`, never the changed
/// block.
///
/// # Errors
/// [`Error`].
pub fn check() -> Result<(), Error> {
    let met = DeviceMapper::open().and_then(|mapper| mapper.met_corruption(handover::ROOT_DEVICE));
    if met.map_err(Error::Unwatched)? { Err(Error::Changed) } else { Ok(()) }
}
