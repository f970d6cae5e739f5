//! May this machine run this workload, and with which disk?
//!
//! PID 1 of the initramfs. It opens the root filesystem of the measured root hash, checks that the
//! manifest is the one that the hardware names, proves to the key service what it is, opens the
//! volumes with the keys it gets, and hands over to the agent. Whatever it reads besides its own
//! image is hostile. The first failure ends the machine, with one public line that says why.
//!
//! ```text
//! environment -> command_line -> root -> launch -> workload -> seats -> clock -> volume -> handover
//! ```
//!
//! It does not establish that the machine keeps secrets: that is for the seats to appraise.
//! `docs/reference/boot.md` lists each step and what each failure means.
#![forbid(unsafe_code)]

pub mod command_line;
pub mod launch;
pub mod volume;
pub mod workload;

mod boot;
mod clock;
mod environment;
mod error;
mod handover;
mod randomness;
mod relay;
mod root;
mod seats;

pub use error::Error;

/// Boots the guest. Never returns: it becomes the agent, or switches the machine off.
pub fn run() -> ! {
    let console = environment::Console::new();
    let mut relay = relay::Relay::closed(console);
    let error = match boot::boot(&mut relay) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    relay.give_up(&error)
}
