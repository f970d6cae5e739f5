//! What does all of this look like, from nothing to a verified app?

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::process::Command;

use crate::{
    Error, answer,
    commands::Context,
    exit, files,
    guest_image::GuestImage,
    project::{Pins, Project},
    random,
};

/// Run an app in a VM of this machine, verify it, ask it for its page, and remove everything again
///
/// Nothing of yours is used or changed: keys, services and disks are made for it in a folder of its own. Without
/// a TEE the VM is SIMULATED, and the verdict says so.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Compose file, or its folder; the default is a web server of busybox with one page, from a registry
    compose: Option<PathBuf>,
    /// Guest image: its name, or the folder of a built one
    #[arg(long, env = "CASEMATE_IMAGE", hide_env_values = true)]
    image: Option<String>,
}

/// The app that runs if none is named.
pub const COMPOSE: &str = include_str!("demo.yaml");

const NAME: &str = "demo";

/// Runs the command.
///
/// # Errors
/// [`Error::NoGuestImage`], [`Error::Compose`], [`Error::File`]; otherwise the exit code of the first step that
/// fails.
pub async fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let image = GuestImage::find(&context.home, arguments.image.as_deref())?;
    let began = Instant::now();
    // Sockets lie below it, and the kernel takes 107 bytes.
    let folder = tempfile::Builder::new().prefix("casemate-").tempdir();
    let folder = folder.map_err(|source| files::error("make a folder in", &std::env::temp_dir(), source))?;
    let app = folder.path().join("app");
    match &arguments.compose {
        Some(given) => files::copy_folder(&Project::open(Some(given), Pins::Keep)?.folder, &app)?,
        None => {
            files::make_private_folder(&app)?;
            files::write(&app.join("compose.yaml"), COMPOSE.as_bytes())?;
        }
    }
    let project = Project::open(Some(&app), Pins::Keep)?;
    let demo = Demo {
        context,
        home: folder.path().join("home"),
        passphrase: hex::encode(random::bytes::<16>()),
        image: image.folder,
    };
    let shown = tokio::select! {
        shown = demo.show(&project) => shown,
        _ = tokio::signal::ctrl_c() => Ok(exit::FAILED),
    };
    // Also after a failure: no VM and no service is left behind.
    context.output.step("Removing", "the VM, its volumes, the services and their keys");
    if matches!(shown, Ok(exit::DONE)) {
        demo.casemate(&["--quiet", "down", NAME, "--volumes"], Stdio::null()).await?;
    }
    let stopped = demo.casemate(&["--quiet", "local", "stop", "--vms"], Stdio::null()).await?;
    context.output.step("Done", &format!("after {:.0} s", began.elapsed().as_secs_f64()));
    match shown {
        Ok(exit::DONE) => Ok(stopped),
        other => other,
    }
}

/// Commands of a person with a home of their own.
struct Demo<'a> {
    context: &'a Context,
    home: PathBuf,
    passphrase: String,
    image: PathBuf,
}

impl Demo<'_> {
    async fn show(&self, project: &Project) -> Result<u8, Error> {
        let (app, image) = (project.folder.display().to_string(), self.image.display().to_string());
        let publishing = project.compose.services.values().find(|service| !service.ports.is_empty());
        let publish = publishing.map(|service| format!("{}=0", service.name));
        let mut up = vec!["up", app.as_str(), "--name", NAME, "--image", image.as_str()];
        if let Some(publish) = &publish {
            up.extend(["--publish", publish.as_str()]);
        }
        let code = self.step(&up, Stdio::null()).await?;
        if code != exit::DONE {
            return Ok(code);
        }
        // The verdict is what this command prints, as text or as JSON.
        let verify: &[&str] =
            if self.context.output.json { &["--json", "verify", NAME] } else { &["verify", NAME] };
        let code = self.step(verify, Stdio::inherit()).await?;
        if code == exit::DONE && publish.is_some() {
            return self.ask_for_its_page().await;
        }
        Ok(code)
    }

    async fn ask_for_its_page(&self) -> Result<u8, Error> {
        let listed = self.command(&["--json", "--quiet", "ps"]).stdin(Stdio::null()).output().await;
        let listed = listed.map_err(|source| files::error("run", Path::new("casemate ps"), source))?;
        let vms: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        let Some(port) = vms[0]["ports"][0]["host_port"].as_u64() else { return Ok(exit::SERVICES) };
        let url = format!("http://127.0.0.1:{port}/");
        let failed = |source| Error::Site { url: url.clone(), source };
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build();
        let response = client.map_err(failed)?.get(&url).send().await.map_err(failed)?;
        let status = response.status();
        let body = answer::read(response, 1 << 20).await;
        let body = body.map_err(|source| Error::SiteAnswer { url: url.clone(), source })?;
        self.context.output.step("Page", &format!("{url} answers {status}, {} bytes", body.len()));
        Ok(if status.is_success() { exit::DONE } else { exit::GUEST })
    }

    /// Runs a command in front of the person.
    async fn step(&self, arguments: &[&str], stdout: Stdio) -> Result<u8, Error> {
        self.context.output.step("\n$ casemate", &arguments.join(" "));
        self.casemate(arguments, stdout).await
    }

    async fn casemate(&self, arguments: &[&str], stdout: Stdio) -> Result<u8, Error> {
        let status = self.command(arguments).stdin(Stdio::null()).stdout(stdout).status().await;
        let status = status.map_err(|source| files::error("run", Path::new("casemate"), source))?;
        Ok(code_of(status))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("casemate"));
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("CASEMATE_HOME", &self.home)
            .env("CASEMATE_KEY_PASSPHRASE", &self.passphrase)
            // An unlocked key would wait there, beside the person's own.
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("CASEMATE_VALIDATOR")
            .env_remove("CASEMATE_TOKEN_FILE")
            // A signal from the keyboard is for the demo, which then cleans up.
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

fn code_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_that_comes_along_is_understood() {
        let compose =
            casemate_workload::compose::parse_bytes(COMPOSE.as_bytes(), &Default::default()).unwrap();
        let web = &compose.services["web"];
        assert_eq!(web.ports.len(), 1);
        assert_eq!(compose.services.len(), 1);
    }
}
