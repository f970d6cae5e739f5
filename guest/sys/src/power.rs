//! How does the machine end?

use std::convert::Infallible;

use nix::{
    sys::reboot::{RebootMode, reboot},
    unistd::sync,
};

use crate::Error;

/// Writes out every filesystem and switches the machine off.
///
/// # Errors
/// [`Error::Call`]: `EPERM` without `CAP_SYS_BOOT`. Returns only then.
pub fn off() -> Result<Infallible, Error> {
    sync();
    reboot(RebootMode::RB_POWER_OFF).map_err(|errno| Error::call("reboot", "power off")(errno.into()))
}
