//! `/dev/sev-guest` in a guest without SEV-SNP.
//!
//! A character device in user space (CUSE) that forwards report requests to the simulator on the host.
//! As process 1 it is the `/init` of the simulation segment: it prepares what the device needs, starts
//! itself a second time to serve it, and becomes `/casemate-init`. Neither is in an image for hardware.
#![deny(unsafe_code)]

mod cuse;
mod init;
mod port;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The kernel hands words of its command line to process 1, so arguments cannot tell.
    let failure = if std::process::id() == 1 {
        format!("init: {}", init::run())
    } else {
        match std::env::args().nth(1).as_deref() {
            Some("serve") => match cuse::serve() {
                Ok(never) => match never {},
                Err(error) => format!("device: {error}"),
            },
            _ => "usage: casemate-simtee-device serve, as root, in a guest".into(),
        }
    };
    eprintln!("casemate-simtee-device: {failure}");
    ExitCode::FAILURE
}
