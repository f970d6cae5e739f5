//! `casemate-hostd`: runs VMs on this host and carries their messages.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use casemate_api::host::NetworkKind;
use casemate_api::reach::Reach;
use casemate_hostd::accelerator::Probe;
use casemate_hostd::api::{Host, router};
use casemate_hostd::blobs::Blobs;
use casemate_hostd::helper::beside_this_program;
use casemate_hostd::network::tap::Taps;
use casemate_hostd::network::{Network, NetworkError, Uplink};
use casemate_hostd::qemu::Accelerator;
use casemate_hostd::tee::SimulatedTee;
use casemate_hostd::vms::{Settings, Vms};
use clap::{Parser, Subcommand};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};

/// Runs VMs on this host and carries their messages. VMs outlive it.
#[derive(Parser)]
#[command(name = "casemate-hostd", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the host's API until ended by SIGTERM.
    Serve(Serve),
}

#[derive(clap::Args)]
struct Serve {
    /// Folder of everything that is kept; short, for sockets live below it.
    #[arg(long)]
    state: PathBuf,
    /// `unix:PATH` (mode 0600) or a loopback address such as `127.0.0.1:7001`.
    #[arg(long)]
    listen: String,
    /// Folder of built guest images, each in a folder of its own name; STATE/images by default.
    #[arg(long)]
    images: Option<PathBuf>,
    /// QEMU.
    #[arg(long, default_value = "qemu-system-x86_64")]
    qemu: PathBuf,
    /// The simulated TEE; beside this program by default.
    #[arg(long)]
    simtee: Option<PathBuf>,
    /// Folder of the simulated root; STATE/simtee by default, made at first use.
    #[arg(long)]
    simtee_state: Option<PathBuf>,
    /// What carries guests' packets: `user`, a process per VM that needs no rights, or `tap`, the kernel, which
    /// needs root, iproute2 and nftables.
    #[arg(long, default_value = "user", value_name = "KIND", value_parser = network_kind)]
    network: NetworkKind,
    /// The process of `user` networks; beside this program by default.
    #[arg(long)]
    uplink: Option<PathBuf>,
    /// Let guests that may go out reach this network too, although it is private or this host's own; may
    /// be repeated. Loopback stays closed.
    #[arg(long = "open-network", value_name = "NETWORK")]
    open_networks: Vec<casemate_api::reach::Network>,
    /// Ask this resolver for guests, ADDRESS:PORT, instead of the first in /etc/resolv.conf. On loopback only with
    /// `user` networks.
    #[arg(long)]
    resolver: Option<std::net::SocketAddr>,
    /// What runs guests: `tcg` or `kvm`; found out by test guests if not given.
    #[arg(long, env = "CASEMATE_ACCEL", value_parser = accelerator)]
    accel: Option<Accelerator>,
    /// Largest blob in bytes.
    #[arg(long, default_value_t = 16 << 30)]
    max_blob_bytes: u64,
    /// Largest data disk in bytes.
    #[arg(long, default_value_t = 1 << 40)]
    max_disk_bytes: u64,
    /// Most VMs.
    #[arg(long, default_value_t = 64)]
    max_vms: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter()).init();
    let Command::Serve(arguments) = Arguments::parse().command;
    match serve(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate-hostd: {error}");
            if let Some(error) = error.downcast_ref::<casemate_hostd::Error>() {
                eprintln!("hint: {}", error.explain().2);
            }
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Serve) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(&arguments.state)?;
    std::fs::set_permissions(&arguments.state, std::fs::Permissions::from_mode(0o700))?;
    let state = arguments.state.canonicalize()?;
    // Two daemons on one state would adopt each other's VMs.
    let lock = std::fs::File::create(state.join("lock"))?;
    lock.try_lock().map_err(|_| format!("another casemate-hostd uses {}; stop it first", state.display()))?;
    let simulated_tee = SimulatedTee {
        program: arguments.simtee.unwrap_or_else(|| beside_this_program("casemate-simtee")),
        root: arguments.simtee_state.unwrap_or_else(|| state.join("simtee")),
    };
    let reach = Reach { opened: arguments.open_networks };
    let network = match arguments.network {
        NetworkKind::Tap => {
            let refused = |error| casemate_hostd::Error::from(NetworkError::from(error));
            let taps = Taps::new(&state, reach, arguments.resolver).map_err(refused)?;
            taps.check().await.map_err(refused)?;
            Network::Tap(taps)
        }
        _ => Network::User(Uplink {
            program: arguments.uplink.unwrap_or_else(|| beside_this_program("casemate-uplink")),
            reach,
            resolver: arguments.resolver,
        }),
    };
    let settings = Settings {
        images: arguments.images.unwrap_or_else(|| state.join("images")),
        qemu: arguments.qemu,
        simulated_tee,
        network,
        maximum_disk_bytes: arguments.max_disk_bytes,
        maximum_vms: arguments.max_vms,
        state: state.clone(),
    };
    let blobs =
        Blobs::open(&state.join("blobs"), arguments.max_blob_bytes).map_err(casemate_hostd::Error::from)?;
    let blobs = Arc::new(blobs);
    let probe = Probe::start(settings.qemu.clone(), arguments.accel, state.clone());
    let vms = Vms::open(settings.clone(), blobs.clone(), probe.clone()).await?;
    let host = Arc::new(Host { blobs, vms, probe, settings });
    tokio::spawn(collect_blobs(host.clone()));
    let app = router(host);
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (ending, ended) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = ending.send(true);
    });
    tracing::info!(listen = arguments.listen, "serving");
    let graceful = asked_to_end(ended.clone());
    let serving = async {
        match arguments.listen.strip_prefix("unix:") {
            Some(path) => {
                axum::serve(listen_unix(Path::new(path))?, app).with_graceful_shutdown(graceful).await?;
            }
            None => {
                let listener = listen_loopback(&arguments.listen).await?;
                axum::serve(listener, app).with_graceful_shutdown(graceful).await?;
            }
        }
        Ok(())
    };
    // Clients keep idle connections open; they are not waited for.
    let patience = async {
        asked_to_end(ended).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    tokio::select! {
        served = serving => served,
        () = patience => Ok(()),
    }
}

async fn asked_to_end(mut ended: tokio::sync::watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

fn listen_unix(path: &Path) -> std::io::Result<UnixListener> {
    let listener = casemate_transport::private::listen(path)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn listen_loopback(address: &str) -> Result<TcpListener, Box<dyn std::error::Error>> {
    let address: std::net::SocketAddr = address
        .parse()
        .map_err(|_| format!("--listen {address}; expected unix:PATH or a loopback address and port"))?;
    if !address.ip().is_loopback() {
        return Err(format!("--listen {address}; only loopback addresses: the API has no other lock").into());
    }
    Ok(TcpListener::bind(address).await?)
}

async fn collect_blobs(host: Arc<Host>) {
    const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);
    loop {
        let referenced = host.vms.referenced_blobs().await;
        match host.blobs.collect(&referenced, UNUSED) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "dropped blobs that nobody needs"),
            Err(error) => tracing::warn!(%error, "cannot drop blobs"),
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
}

fn accelerator(text: &str) -> Result<Accelerator, &'static str> {
    match text {
        "tcg" => Ok(Accelerator::Tcg),
        "kvm" => Ok(Accelerator::Kvm),
        _ => Err("expected tcg or kvm"),
    }
}

fn network_kind(text: &str) -> Result<NetworkKind, &'static str> {
    match text {
        "user" => Ok(NetworkKind::User),
        "tap" => Ok(NetworkKind::Tap),
        _ => Err("expected user or tap"),
    }
}

fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into())
}
