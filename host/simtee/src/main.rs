//! Hardware that is not there.
//!
//! Signs SEV-SNP reports in software, for machines that have none: with a root of its own, whose
//! certificates look like AMD's and are named so that nobody takes them for AMD's, and with the launch
//! measurement of the very files it is given. One process serves one VM. It is the host's: it protects
//! nothing from the host, and `docs/explanation/simulated-tee.md` says what else it does not do.
#![forbid(unsafe_code)]

mod certificate;
mod chip;
mod error;
mod launch;
mod root;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::root::Root;

/// Simulated SEV-SNP: reports without hardware, signed by a root made on the spot.
#[derive(Parser)]
#[command(name = "casemate-simtee", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make or show the simulated root.
    #[command(subcommand)]
    Root(RootCommand),
    /// Serve reports to one VM, until killed.
    Serve(Box<serve::Arguments>),
}

#[derive(Subcommand)]
enum RootCommand {
    /// Make a root, and a chip below it, in a new folder.
    Create {
        /// Folder to create; its keys are readable by this user only.
        #[arg(long)]
        state: PathBuf,
    },
    /// Show which key a policy must list under `[simulated_roots]` to accept this root.
    Show {
        /// Folder of the root.
        #[arg(long)]
        state: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate-simtee: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Root(RootCommand::Create { state }) => print(&Root::create(&state)?, false),
        Command::Root(RootCommand::Show { state, json }) => print(&Root::open(&state)?, json),
        Command::Serve(arguments) => serve::run(&arguments),
    }
}

fn print(root: &Root, json: bool) -> Result<(), Error> {
    let summary = root.summary()?;
    if json {
        println!("{}", serde_json::to_string(&summary).expect("names and digests are JSON"));
        return Ok(());
    }
    println!("Root       {}  SIMULATED: no confidentiality", summary.name);
    println!("Key        {}  (SHA-256 of its SubjectPublicKeyInfo)", summary.key_digest);
    println!("Chip       {}", summary.chip_id.short());
    println!("Public     {}", summary.public.display());
    Ok(())
}
