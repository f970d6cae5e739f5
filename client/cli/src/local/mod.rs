//! Do this machine's own services run, and who keeps them running?
//!
//! Without a remote validator the command starts its own: `casemate-kms`, `casemate-hostd` and
//! `casemate-validator`, each a process of its own with its own state folder and Unix socket, under a
//! supervisor (`casemate local run`) that outlives the terminal. `docs/reference/local-state.md`.

pub mod supervisor;

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use casemate_crypto::hash::Sha256;
use casemate_verify::Policy;
use serde::Serialize;

use crate::{Error, api::Validator, files, home::Home};

/// Services, in the order in which they are started.
pub const SERVICES: [&str; 3] = ["kms", "hostd", "validator"];

/// Why the services do not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// A program is not installed.
    #[error("{program} is not installed beside `casemate` nor in PATH")]
    NotInstalled {
        /// Its name.
        program: String,
    },
    /// A service did not come up.
    #[error("casemate-{service} did not answer within {seconds} s; see {log}")]
    NotReady {
        /// The service.
        service: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// The path of a socket is longer than the kernel takes.
    #[error("{path} is longer than the 107 bytes that a socket's path may have")]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The supervisor cannot be started.
    #[error("the supervisor cannot be started: {source}")]
    Supervisor {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Services run already, and their seat was not told to accept simulation.
    #[error("the services run already, and their seat accepts no simulated hardware")]
    RunsWithoutSimulation,
    /// The seat was born with a floor policy under which no simulated guest can pass.
    #[error("{path} lists no simulated root, so no simulated guest can pass it")]
    FloorWithoutSimulation {
        /// The seat's floor policy.
        path: PathBuf,
    },
    /// A preparing command failed.
    #[error("`{command}` failed; see {log}")]
    Preparation {
        /// The command.
        command: String,
        /// Where it wrote.
        log: PathBuf,
    },
}

impl LocalError {
    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            LocalError::NotInstalled { .. } => {
                "install all of Casemate; `casemate doctor` lists what is missing".into()
            }
            LocalError::NotReady { log, .. } | LocalError::Preparation { log, .. } => {
                format!("the log's end says why: tail {}", log.display())
            }
            LocalError::PathTooLong { .. } => "set CASEMATE_HOME to a shorter path".into(),
            LocalError::RunsWithoutSimulation => {
                "stop them first: `casemate local stop`, then start them again with --accept-simulated".into()
            }
            LocalError::FloorWithoutSimulation { .. } => {
                "keep that seat for hardware and set CASEMATE_HOME to another folder for simulation".into()
            }
            LocalError::Supervisor { .. } => "check the limits on processes, then try again".into(),
        }
    }
}

/// How the services of this machine are.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Process id of the supervisor, if it runs.
    pub supervisor: Option<i32>,
    /// Each service.
    pub services: Vec<ServiceStatus>,
}

/// How one service is.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: &'static str,
    /// Whether it answers.
    pub answers: bool,
    /// Where it listens.
    pub address: String,
    /// Where it keeps its state.
    pub state: PathBuf,
    /// Where it logs.
    pub log: PathBuf,
}

/// The validator of this machine; starts the services if they do not run.
///
/// # Errors
/// [`LocalError`].
pub async fn validator(home: &Home) -> Result<Validator, Error> {
    let validator = Validator::at(&address(home, "validator"))?;
    if validator.is_well().await {
        return Ok(validator);
    }
    start(home, false).await?;
    Ok(validator)
}

/// The validator of this machine, running or not.
///
/// # Errors
/// [`crate::api::ApiError`].
pub fn validator_if_running(home: &Home) -> Result<Validator, Error> {
    Ok(Validator::at(&address(home, "validator"))?)
}

/// How the services are.
///
/// # Errors
/// [`Error::Api`].
pub async fn status(home: &Home) -> Result<Status, Error> {
    let mut services = Vec::new();
    for name in SERVICES {
        let address = address(home, name);
        let answers = Validator::at(&address)?.is_well().await;
        services.push(ServiceStatus {
            name,
            answers,
            address,
            state: state(home, name),
            log: log(home, name),
        });
    }
    Ok(Status { supervisor: supervisor::running(home), services })
}

/// Ends the supervisor and its services in order, or what a killed supervisor left behind; whether any ran.
///
/// # Errors
/// [`LocalError::Supervisor`].
pub async fn stop(home: &Home) -> Result<bool, Error> {
    let Some(process) = supervisor::running(home) else { return Ok(supervisor::end_leftovers(home).await) };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGTERM)
        .map_err(|errno| LocalError::Supervisor { source: errno.into() })?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while supervisor::running(home).is_some() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(true)
}

/// SHA-256 of the key of this machine's simulated root, which is made now if there is none.
///
/// # Errors
/// [`LocalError::NotInstalled`], [`LocalError::Preparation`].
pub fn simulated_root(home: &Home) -> Result<Sha256, Error> {
    let state = state(home, "hostd").join("simtee");
    let program = program("casemate-simtee")?;
    if !state.exists() {
        files::make_private_folder(&self::state(home, "hostd"))?;
        prepare(
            home,
            Command::new(&program).args(["root", "create", "--state"]).arg(&state),
            "simtee root create",
        )?;
    }
    let shown = prepare(
        home,
        Command::new(&program).args(["root", "show", "--json", "--state"]).arg(&state),
        "simtee root show",
    )?;
    let shown: ShownRoot = serde_json::from_slice(&shown)
        .map_err(|_| LocalError::Preparation { command: "casemate-simtee root show".into(), log: state })?;
    Ok(shown.key_digest)
}

/// What `casemate-simtee root show --json` says, as far as it matters here.
#[derive(serde::Deserialize)]
struct ShownRoot {
    key_digest: Sha256,
}

/// Makes the key service of this machine, once; one that was made and is not whole is refused at once.
///
/// Its floor policy lists this machine's simulated root only where simulation is to count.
fn ensure_key_service(home: &Home, accept_simulated: bool) -> Result<(), Error> {
    let state = state(home, "kms");
    if std::fs::read_dir(&state).is_ok_and(|entries| entries.count() > 0) {
        let mut command = Command::new(program("casemate-kms")?);
        prepare(home, command.arg("check").arg(&state), "kms check")?;
        return Ok(());
    }
    let root = match program("casemate-simtee") {
        Ok(_) if simulates(crate::tee::is_here(), accept_simulated) => Some(simulated_root(home)?),
        _ => None,
    };
    let floor = home.local().join("kms-floor.toml");
    files::write_private(&floor, crate::policy::seat_floor_text(root).as_bytes())?;
    let mut command = Command::new(program("casemate-kms")?);
    command.args(["init", "--state"]).arg(&state).arg("--floor-policy").arg(&floor);
    prepare(home, &mut command, "kms init")?;
    Ok(())
}

/// Runs a preparing command; what it says on stderr goes to a log.
fn prepare(home: &Home, command: &mut Command, what: &str) -> Result<Vec<u8>, Error> {
    let log = home.local().join("prepare.log");
    let failed = || LocalError::Preparation { command: format!("casemate-{what}"), log: log.clone() };
    let output = command.stdin(Stdio::null()).output().map_err(|_| failed())?;
    if !output.stderr.is_empty() || !output.status.success() {
        files::write_private(&log, &output.stderr)?;
    }
    if output.status.success() { Ok(output.stdout) } else { Err(failed().into()) }
}

/// Whether the seat of a machine lets simulated hardware count: where there is no other, or its operator says so.
fn simulates(has_tee: bool, accept_simulated: bool) -> bool {
    !has_tee || accept_simulated
}

/// Refuses to promise simulation that a seat, born or running without it, would not accept.
fn check_simulation(home: &Home) -> Result<(), LocalError> {
    if let Some(supervisor) = supervisor::running(home)
        && !supervisor::was_told_to_simulate(supervisor)
    {
        return Err(LocalError::RunsWithoutSimulation);
    }
    let path = state(home, "kms").join("floor-policy.toml");
    let floor = std::fs::read_to_string(&path).ok().and_then(|text| Policy::parse(&text).ok());
    match floor {
        Some(floor) if !floor.lists_simulated_roots() => Err(LocalError::FloorWithoutSimulation { path }),
        _ => Ok(()),
    }
}

/// Starts the services under a supervisor, unless one runs, and waits until they answer. A machine with a TEE
/// accepts simulated guests only with `accept_simulated`.
///
/// # Errors
/// [`LocalError`].
pub async fn start(home: &Home, accept_simulated: bool) -> Result<(), Error> {
    for service in SERVICES {
        let path = home.socket(service);
        if path.as_os_str().len() > 107 {
            return Err(LocalError::PathTooLong { path }.into());
        }
        program(&format!("casemate-{service}"))?;
    }
    files::make_private_folder(&home.local())?;
    if accept_simulated && crate::tee::is_here() {
        check_simulation(home)?;
    }
    if supervisor::running(home).is_none() {
        supervisor::end_leftovers(home).await;
        ensure_key_service(home, accept_simulated)?;
        spawn_supervisor(home, accept_simulated)?;
    }
    for service in SERVICES {
        wait_until_well(home, service, 60).await?;
    }
    Ok(())
}

fn spawn_supervisor(home: &Home, accept_simulated: bool) -> Result<(), Error> {
    let fail = |source| LocalError::Supervisor { source };
    let path = home.local().join("supervisor.log");
    let output = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let output = output.map_err(|source| files::error("write", &path, source))?;
    let mut command = Command::new(std::env::current_exe().map_err(fail)?);
    command
        .args(["local", "run"])
        .args(accept_simulated.then_some(supervisor::ACCEPT_SIMULATED))
        .env("CASEMATE_HOME", home.root())
        // No service of this machine may read the owner's passphrase.
        .env_remove("CASEMATE_KEY_PASSPHRASE")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(fail)?)
        .stderr(output)
        // A group of its own: Ctrl-C in this terminal does not reach it.
        .process_group(0);
    command.spawn().map_err(fail)?;
    Ok(())
}

async fn wait_until_well(home: &Home, service: &'static str, seconds: u64) -> Result<(), Error> {
    let client = Validator::at(&address(home, service))?;
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < deadline {
        if client.is_well().await {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(LocalError::NotReady { service, seconds, log: log(home, service) }.into())
}

/// Where a service listens.
pub fn address(home: &Home, service: &str) -> String {
    format!("unix:{}", home.socket(service).display())
}

/// Where a service keeps its state.
pub fn state(home: &Home, service: &str) -> PathBuf {
    home.local().join(service)
}

/// Where a service logs.
pub fn log(home: &Home, service: &str) -> PathBuf {
    home.local().join(format!("{service}.log"))
}

/// A program of Casemate: beside this one, else in PATH.
///
/// # Errors
/// [`LocalError::NotInstalled`].
pub fn program(name: &str) -> Result<PathBuf, LocalError> {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| LocalError::NotInstalled { program: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_without_a_simulated_root_is_not_promised_to_simulate() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        check_simulation(&home).unwrap();
        let path = state(&home, "kms").join("floor-policy.toml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, crate::policy::seat_floor_text(None)).unwrap();
        let refused = check_simulation(&home);
        assert!(matches!(refused, Err(LocalError::FloorWithoutSimulation { path: found }) if found == path));
        std::fs::write(&path, crate::policy::seat_floor_text(Some(Sha256::from([7; 32])))).unwrap();
        check_simulation(&home).unwrap();
    }
}
