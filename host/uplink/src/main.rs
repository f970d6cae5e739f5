//! `casemate-uplink`: the network of one VM, started by `casemate-hostd` before its QEMU.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use casemate_api::reach::{Network, Reach};
use casemate_uplink::{Error, Published, Settings, Uplink};
use clap::Parser;
use tokio::net::UnixStream;

/// Carries one VM's packets between QEMU and this host's network. Says one line, `{"ready":true}`, once
/// its ports are open, and ends with its QEMU.
#[derive(Parser)]
#[command(name = "casemate-uplink", version)]
struct Arguments {
    /// Socket on which QEMU listens: `-netdev stream,server=on,addr.type=unix,addr.path=SOCKET`.
    #[arg(long)]
    socket: PathBuf,
    /// Port that leads to the guest: ADDRESS:PORT:GUEST_PORT; may be repeated.
    #[arg(long = "publish")]
    published: Vec<Published>,
    /// Let the guest connect to public addresses.
    #[arg(long)]
    outbound: bool,
    /// Let it connect to this network too, although it is private or this host's own; may be repeated.
    #[arg(long = "open", requires = "outbound", value_name = "NETWORK")]
    opened: Vec<Network>,
    /// Ask this resolver for the guest, ADDRESS:PORT, instead of the first in /etc/resolv.conf.
    #[arg(long)]
    resolver: Option<SocketAddr>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate-uplink: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let uplink = Uplink::new(Settings {
        outbound: arguments.outbound.then_some(Reach { opened: arguments.opened }),
        published: arguments.published,
        resolver: arguments.resolver,
    })
    .await?;
    println!("{{\"ready\":true}}");
    let _ = std::io::stdout().flush();
    uplink.run(connect(&arguments.socket).await?).await
}

/// Connects to QEMU, which may still be starting.
async fn connect(path: &Path) -> Result<UnixStream, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(source) if Instant::now() > deadline => {
                return Err(Error::Connect { path: path.to_owned(), source });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
