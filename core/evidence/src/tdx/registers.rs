//! What was launched, as one value?

use casemate_crypto::hash::sha384;

use crate::Measurement;

/// The registers that depend on image and shape only. RTMR 3 belongs to the running system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchRegisters {
    /// MRTD: the firmware that the host placed in the trust domain, page by page.
    pub mrtd: Measurement,
    /// RTMR 0: the firmware's configuration: hand-off block, boot variables, ACPI tables.
    pub rtmr0: Measurement,
    /// RTMR 1: what the firmware started: kernel or boot loader.
    pub rtmr1: Measurement,
    /// RTMR 2: what the boot loader or kernel stub added: command line, initrd.
    pub rtmr2: Measurement,
}

impl LaunchRegisters {
    /// SHA-384 over `CSM1TDXL`, MRTD and RTMR 0 to 2 (`docs/reference/launch-measurement.md`).
    pub fn launch_measurement(&self) -> Measurement {
        let mut bytes = Vec::with_capacity(8 + 4 * Measurement::LEN);
        bytes.extend_from_slice(b"CSM1TDXL");
        for register in [self.mrtd, self.rtmr0, self.rtmr1, self.rtmr2] {
            bytes.extend_from_slice(register.as_ref());
        }
        Measurement::from(*sha384(&bytes).as_bytes())
    }
}
