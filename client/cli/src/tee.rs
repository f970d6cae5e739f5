//! Does this machine have a TEE that guests can run on?
//!
//! One answer for `doctor`, for `up`, and for whether this machine's seat lets simulated hardware count.

use std::path::Path;

/// Whether the kernel offers SEV-SNP to hosts (Linux, `drivers/crypto/ccp/sev-dev.c`: the device of the firmware).
pub fn is_here() -> bool {
    Path::new("/dev/sev").exists()
}
