//! What does the guest ask of its kernel, beyond files and processes?
//!
//! Safe wrappers, safe for every argument; all `unsafe` of the guest stands in this crate, one
//! operation per block. Blocking, and without policy: who may mount what is decided by the callers.
//!
//! ```no_run
//! use casemate_guest_sys::{block, device_mapper::{DeviceMapper, Verity}, mount};
//!
//! let disk = block::disk_with_serial("root")?;
//! let verity = Verity { root_hash: [0xab; 32], data_blocks: 4096 };
//! let root = DeviceMapper::open()?.open_verity("root", &disk, &verity)?;
//! mount::Mount::new("erofs", &root, "/sysroot").read_only().mount()?;
//! # Ok::<(), casemate_guest_sys::Error>(())
//! ```
//!
//! It runs only as root, and device-mapper needs a kernel that has it: the guest's does.

pub mod block;
pub mod clock;
pub mod device_mapper;
pub mod entropy;
mod error;
pub mod module;
pub mod mount;
pub mod power;
pub mod process;
mod sys;

pub use error::Error;
