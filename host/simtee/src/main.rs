//! Hardware that is not there.
//!
//! Signs SEV-SNP reports and TDX quotes in software, for machines that make none: with roots of its own, whose
//! certificates look like AMD's and Intel's and are named so that nobody takes them for theirs, and with the
//! launch measurement of the very files it is given. One process serves one VM. It is the host's: it protects
//! nothing from the host, and `docs/explanation/simulated-tee.md` says what else it does not do.
#![forbid(unsafe_code)]

mod certificate;
mod chip;
mod error;
mod launch;
mod root;
mod serve;
mod socket;
mod tdx;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::root::Root;

/// Simulated SEV-SNP and TDX: evidence without hardware, signed by roots made on the spot.
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
    /// Serve SEV-SNP reports to one VM, until killed.
    Serve(Box<serve::Arguments>),
    /// Serve TDX quotes to one VM, until killed.
    ServeTdx(Box<tdx::Arguments>),
}

#[derive(Subcommand)]
enum RootCommand {
    /// Make roots in place of AMD's and Intel's, and a chip and a platform below them, in a new folder.
    Create {
        /// Folder to create; its keys are readable by this user only.
        #[arg(long)]
        state: PathBuf,
    },
    /// Show which keys a policy must list under `[simulated_roots]` to accept these roots.
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
        Command::ServeTdx(arguments) => tdx::run(&arguments),
    }
}

fn print(root: &Root, json: bool) -> Result<(), Error> {
    let summary = root.summary(&tdx::Platform::open(root)?)?;
    if json {
        println!("{}", serde_json::to_string(&summary).expect("names and digests are JSON"));
        return Ok(());
    }
    println!("Root       {}  SIMULATED: no confidentiality", summary.name);
    println!("Key        {}  (SHA-256 of its SubjectPublicKeyInfo)", summary.key_digest);
    println!("Chip       {}", summary.chip_id.short());
    println!("Intel root {}  SIMULATED: no confidentiality", summary.intel_name);
    println!("Key        {}  (SHA-256 of its SubjectPublicKeyInfo)", summary.intel_key_digest);
    println!("Public     {}", summary.public.display());
    Ok(())
}
