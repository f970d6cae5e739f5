//! AMD SEV-SNP: attestation reports and the certificates of the keys that sign them.
//!
//! Source: AMD 56860 "SEV Secure Nested Paging Firmware ABI Specification", revision 1.58, and AMD
//! 57230 "VCEK Certificate and KDS Interface Specification", revision 1.00. Structures are cited by
//! name, because table numbers move between revisions.

mod bits;
mod builder;
mod fields;
mod leaf;
mod product;
mod report;
mod tcb;

pub use bits::{FlagsError, GuestPolicy, KeyInfo, PlatformInfo, PolicyBitsError, SigningKeyKind};
pub use builder::{Layout, ReportBuilder};
pub use leaf::{HardwareId, Leaf, LeafError};
pub use product::{CpuId, Product, Silicon};
pub use report::{FirmwareVersion, Report, ReportError, Version, Vmpl};
pub use tcb::{Tcb, TcbError, TcbVersion};
