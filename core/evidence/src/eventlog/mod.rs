//! What was measured while the machine started?
//!
//! TCG event logs, of a TPM and of a confidential-computing guest (CCEL). Sources: TCG PC Client Platform
//! Firmware Profile 1.06 (PFP below); for the older format TCG EFI Platform Specification 1.22 and
//! PC Client Specific Implementation Specification 1.21; for CCEL the UEFI specification 2.10 §38.4
//! (EFI_CC_MEASUREMENT_PROTOCOL) and the ACPI specification 6.5 §5.2.34. Numbers are little-endian.
//!
//! A log proves nothing by itself: it is as true as the registers to which it [replays](EventLog::replay),
//! and of an event's data only what its digest covers ([`Event::coverage`]) is bound to them. What is an
//! event's data is therefore decoded apart ([`Event::decode`]): a log with data that nobody understands
//! still replays.

mod ccel;
mod data;
mod efi;
mod event;
mod log;
mod replay;

pub use ccel::{CcelTable, CcelTableError};
pub use data::{DataError, EventData, FirmwareBlob, ImageLoad, Sp800155, Text};
pub use efi::{
    DevicePathNode, Guid, LoadOption, Partition, PartitionTable, SignatureEntry, Variable, VariableContent,
};
pub use event::{Coverage, Event, EventDigest, EventType};
pub use log::{Bank, EventLog, Format, LogEnd, LogError, LogKind, SpecId};
pub use replay::{Replay, ReplayError};
