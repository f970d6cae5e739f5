//! What is accepted, and is it written correctly?

use std::path::{Path, PathBuf};

use casemate_verify::Section;

use crate::{
    Error,
    commands::{Context, import},
    exit,
    guest_image::{self, GuestImage},
    local,
    policy::{self, PolicyFile},
};

/// The policy under which guests get keys, and under which you verify them
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write casemate.policy.toml for a guest image
    Init {
        /// File to write
        #[arg(default_value = policy::FILE_NAME)]
        file: PathBuf,
        /// Guest image: its name, or the folder of a built one
        #[arg(long, env = "CASEMATE_IMAGE", hide_env_values = true)]
        image: Option<String>,
        /// Virtual CPUs of the VM
        #[arg(long)]
        vcpus: Option<u32>,
        /// Accept this machine's SIMULATED TEE, for trying things out: no confidentiality
        #[arg(long)]
        simulated: bool,
        /// Rules to add, for evidence that is refused without them; may be given several times
        ///
        /// gcp and azure come with tpm.
        #[arg(long, value_name = "SECTION", value_parser = section)]
        also: Vec<Section>,
    },
    /// Read a policy file and say what it comes to
    Check {
        /// File to read
        #[arg(default_value = policy::FILE_NAME)]
        file: PathBuf,
    },
    /// Print a policy that accepts exactly one deployment of another system, from its public files
    Import {
        #[command(subcommand)]
        peer: import::Peer,
    },
}

/// Runs the command.
///
/// # Errors
/// [`Error::Policy`], [`Error::PolicyExists`], [`Error::GuestImage`], [`Error::Import`].
pub fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    let file = match arguments.command {
        Command::Init { file, image, vcpus, simulated, also } => {
            init(context, &file, image.as_deref(), vcpus, simulated, also)?
        }
        Command::Check { file } => PolicyFile::read(&file)?,
        Command::Import { peer } => return import::run(context, &peer),
    };
    let digest = file.policy.digest();
    let simulated = file.policy.lists_simulated_roots();
    let answer = serde_json::json!({
        "file": file.path, "digest": digest, "lists_simulated_roots": simulated,
    });
    context.output.answer(&answer, || {
        let mark = if simulated {
            "\nLists a SIMULATED root: evidence under it shows no confidentiality."
        } else {
            ""
        };
        format!("{} is a policy, digest {}{mark}", file.path.display(), digest.short())
    });
    Ok(exit::DONE)
}

fn init(
    context: &Context,
    file: &Path,
    image: Option<&str>,
    vcpus: Option<u32>,
    simulated: bool,
    mut also: Vec<Section>,
) -> Result<PolicyFile, Error> {
    let image = GuestImage::find(&context.home, image)?;
    let shape = guest_image::shape(vcpus, None);
    let listed = policy::Image { name: image.name(), measurement: image.measurement(&shape, simulated)? };
    let root = if simulated { Some(local::simulated_root(&context.home)?) } else { None };
    if also.iter().any(|section| matches!(section, Section::Gcp | Section::Azure)) {
        also.push(Section::Tpm);
    }
    also.sort_unstable();
    also.dedup();
    PolicyFile::create(file, &listed, root, &also)
}

fn section(text: &str) -> Result<Section, String> {
    let known = || Section::ALL.iter().copied();
    known().find(|section| section.name() == text).ok_or_else(|| {
        let names: Vec<&str> = known().map(Section::name).collect();
        format!("expected one of {}", names.join(", "))
    })
}
