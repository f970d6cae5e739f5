//! The `casemate-kms` command: make, check, serve, back up and restore one seat.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use casemate_endorse::{Cache, CollateralServer, Etiquette, KeyServer};
use casemate_kms::{
    Error, Limits, Listen, Options, Standing, State, StateFolder, back_up, check, restore, serve,
};
use casemate_verify::Roots;
use clap::{Parser, Subcommand};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use zeroize::Zeroizing;

/// One seat of Casemate's key service.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key service with a single seat (n = t = q = 1).
    Init {
        /// Folder for its state; must be absent or empty. It appears with everything in it, or not at all.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// What this seat demands of every guest, besides the owner's policy.
        #[arg(long, value_name = "FILE")]
        floor_policy: PathBuf,
    },
    /// Say what is right or wrong with a seat's folder, and change nothing. Ends with 0 if a seat can start on
    /// it, 3 if something is missing or wrong, 4 if no seat was born there, 1 if it cannot be looked at.
    Check {
        /// Folder with the seat's state.
        #[arg(value_name = "FOLDER")]
        state: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Answer guests and owners.
    Serve {
        /// Folder with its state.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// `unix:PATH` or a loopback address with a port.
        #[arg(long, value_name = "ADDRESS")]
        listen: Listen,
        /// Let simulated roots count that floor policy and owner's policy list. Never for real secrets.
        #[arg(long)]
        accept_simulated: bool,
        /// How long a boot may go on without renewal, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=86_400))]
        lease: u64,
        /// Ask no vendor for certificates: use those that come with the evidence or lie in the state folder.
        #[arg(long)]
        offline: bool,
        /// Most apps that owners may have recorded here.
        #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().apps)]
        apps: u64,
        /// Size of the database above which owners' records no longer make it larger, in MiB; new apps from half
        /// of it.
        #[arg(long, value_name = "MIB", default_value_t = Limits::default().database_bytes >> 20, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        database_mib: u64,
        /// Key server to ask for AMD's certificates, instead of AMD's own.
        #[arg(long, value_name = "URL", env = "CASEMATE_KEY_SERVER", conflicts_with = "offline")]
        key_server: Option<String>,
        /// Server to ask for Intel's collateral, instead of Intel's own.
        #[arg(long, value_name = "URL", env = "CASEMATE_COLLATERAL_SERVER", conflicts_with = "offline")]
        collateral_server: Option<String>,
    },
    /// Write the seat, under a passphrase, to a file. Stop the seat first.
    Backup {
        /// Folder with its state.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// File to write; must not exist yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// File whose content, without a final newline, is the passphrase.
        #[arg(long, value_name = "FILE")]
        passphrase_file: PathBuf,
    },
    /// Make a seat's folder from a backup.
    Restore {
        /// Folder for the state; must be absent or empty. It appears with everything in it, or not at all.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// The backup.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// File whose content, without a final newline, is the passphrase.
        #[arg(long, value_name = "FILE")]
        passphrase_file: PathBuf,
    },
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("CASEMATE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Check { state, json } => return tell(&state, json),
        Command::Init { state, floor_policy } => {
            let policy = String::from_utf8_lossy(&read(&floor_policy)?).into_owned();
            let (_, birthday) = StateFolder::create(&state, &policy, &mut UnwrapErr(SysRng))?;
            println!("{}", birthday.roster.kms_id);
            eprintln!(
                "move {} to a safe place: it signs every change of seats",
                state.join("operators.key").display()
            );
        }
        Command::Serve {
            state,
            listen,
            accept_simulated,
            lease,
            offline,
            apps,
            database_mib,
            key_server,
            collateral_server,
        } => {
            let servers = [key_server.as_deref(), collateral_server.as_deref()];
            let folder = StateFolder::open(&state)?;
            let options = Options {
                accept_simulated,
                lease: Duration::from_secs(lease),
                endorsements: Some(endorsements(&state, offline, servers)?),
                limits: Limits { apps, database_bytes: database_mib << 20, ..Limits::default() },
                ..Options::default()
            };
            let runtime = tokio::runtime::Runtime::new()
                .map_err(|source| Error::File { path: "tokio runtime".into(), source })?;
            runtime.block_on(serve(folder, options, listen, stop_signal()))?;
        }
        Command::Backup { state, out, passphrase_file } => {
            let folder = StateFolder::open(&state)?;
            let bytes = back_up(&folder, &passphrase(&passphrase_file)?, &mut UnwrapErr(SysRng))?;
            let file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&out);
            file.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
                .map_err(|source| Error::File { path: out, source })?;
        }
        Command::Restore { state, from, passphrase_file } => {
            restore(&state, &read(&from)?, &passphrase(&passphrase_file)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The report goes to stdout, why no seat starts to stderr as well.
fn tell(state: &Path, json: bool) -> Result<ExitCode, Error> {
    let report = check(state)?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&report).expect("a report is plain JSON")),
        false => println!("{report}"),
    }
    for wrong in report.findings.iter().filter(|finding| finding.state == State::Wrong) {
        eprintln!("Error: {}", wrong.found);
    }
    Ok(match report.standing {
        Standing::Whole => ExitCode::SUCCESS,
        Standing::Damaged => ExitCode::from(3),
        Standing::Unborn => ExitCode::from(4),
    })
}

/// Certificates in the state folder, and whom to ask for more. Only what vendors' own roots vouch for is
/// kept: simulated TEEs send theirs along.
fn endorsements(state: &Path, offline: bool, servers: [Option<&str>; 2]) -> Result<Cache, Error> {
    let (folder, roots) = (state.join("endorsements"), Roots::builtin());
    if offline {
        return Ok(Cache::offline(folder, roots));
    }
    let failed = |source| Error::Endorsements { source: Box::new(source) };
    let [key_server, collateral_server] = servers;
    let key_server = KeyServer::at(key_server.unwrap_or(KeyServer::AMD), Etiquette::service());
    let base = collateral_server.unwrap_or(CollateralServer::INTEL);
    let collateral_server = CollateralServer::at(base, Etiquette::service()).map_err(failed)?;
    Ok(Cache::online(folder, roots, key_server.map_err(failed)?).with_collateral_server(collateral_server))
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM can be set");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn passphrase(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(read(path)?);
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    Ok(bytes)
}
