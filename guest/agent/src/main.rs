//! `casemate-agent`: PID 1 of the guest after init has switched to the verified root.
//!
//! With `reap PROGRAM ARGUMENT...` it is the small init of a container that asks for one.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use casemate_agent::notices::Notices;
use casemate_agent::{reap, shutdown, supervisor};
use casemate_api::progress::Phase;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(word) if word == "reap" => return ExitCode::from(reap::run(arguments.collect())),
        None if std::process::id() == 1 => {}
        _ => {
            eprintln!("casemate-agent runs as PID 1 of a Casemate guest; init starts it");
            return ExitCode::from(2);
        }
    }
    let notices = Arc::new(Notices::default());
    match supervisor::run(&notices) {
        Ok(()) => notices.tell(Phase::Stopped),
        Err(error) => {
            // The console is the host's: it hears what the notice says, no more.
            println!("casemate-agent: {error}");
            notices.tell(Phase::Failed { code: error.code(), message: error.to_string() });
        }
    }
    shutdown::power_off()
}
