//! `casemate-validator`: the service.

use std::{path::PathBuf, process::ExitCode};

use casemate_validator::{Error, Options, Validator, http, reconcile};
use clap::Parser;

/// Keeps the list of VMs and takes each through its lifecycle on a host.
#[derive(Debug, Parser)]
#[command(name = "casemate-validator", version)]
enum Arguments {
    /// Serve until told to stop.
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Folder for the database.
    #[arg(long)]
    state: PathBuf,
    /// Where to listen: unix:PATH, or HOST:PORT together with --token-file.
    #[arg(long)]
    listen: String,
    /// The host: unix:PATH or http://HOST:PORT.
    #[arg(long)]
    host: String,
    /// A seat of the key service; may be repeated.
    #[arg(long = "seat", required = true)]
    seats: Vec<String>,
    /// Let callers name a guest image by the absolute path of its folder on the host. Only on one's own machine.
    #[arg(long)]
    accept_image_paths: bool,
    /// File with the token that callers must show.
    #[arg(long)]
    token_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("CASEMATE_LOG").unwrap_or_else(|_| "info".into()),
        )
        .init();
    let Arguments::Serve(serve) = Arguments::parse();
    match run(serve).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate-validator: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(serve: Serve) -> Result<(), Error> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .map_err(|source| Error::Io { what: path.display().to_string(), source })
    };
    let token = serve.token_file.as_ref().map(read).transpose()?;
    let open_to_others = !serve.listen.starts_with("unix:") && token.as_ref().is_none_or(String::is_empty);
    if open_to_others {
        return Err(Error::Address { found: format!("{} (without --token-file)", serve.listen) });
    }
    let options = Options {
        state: serve.state,
        host: serve.host,
        seats: serve.seats,
        token,
        accept_image_paths: serve.accept_image_paths,
    };
    let validator = Validator::open(&options).await?;
    tokio::spawn(reconcile::run(validator.clone()));
    let router = http::router(validator);
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Io { what, source }
    };

    if let Some(path) = serve.listen.strip_prefix("unix:") {
        let listener = casemate_transport::private::listen(path.as_ref()).map_err(failed(path))?;
        listener.set_nonblocking(true).map_err(failed(path))?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(failed(path))?;
        tracing::info!(%path, "listening");
        axum::serve(listener, router).with_graceful_shutdown(stopped()).await.map_err(failed(path))
    } else {
        let listener = tokio::net::TcpListener::bind(&serve.listen).await.map_err(failed(&serve.listen))?;
        tracing::info!(address = %serve.listen, "listening");
        axum::serve(listener, router).with_graceful_shutdown(stopped()).await.map_err(failed(&serve.listen))
    }
}

async fn stopped() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("a signal handler can be installed at start");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
