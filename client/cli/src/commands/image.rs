//! Which guest image is it, and is it what its sources say?

use std::path::PathBuf;

use crate::{
    Error,
    commands::{Context, measure},
    exit,
    guest_image::{self, GuestImage},
};

/// Guest images: build, measure, verify
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Build the guest image from the Casemate sources; the same sources give the same bytes
    Build {
        /// Folder of the Casemate sources
        #[arg(long, default_value = ".")]
        sources: PathBuf,
        /// Folder to write the image to
        #[arg(long, default_value = "out/image")]
        output: PathBuf,
    },
    /// Compute what the hardware measures when an image boots, or any files: --firmware
    Measure {
        /// Image: its name, or the folder of a built one
        image: Option<String>,
        /// Virtual CPUs of the VM
        #[arg(long)]
        vcpus: Option<u32>,
        /// The variant for simulated TEEs
        #[arg(long)]
        simulated: bool,
        #[command(flatten)]
        files: measure::Files,
    },
    /// Compare an image's files with what its description says
    Verify {
        /// Image: its name, or the folder of a built one
        image: Option<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// [`Error::GuestImage`], [`Error::ImageBuild`].
pub fn run(context: &Context, arguments: Arguments) -> Result<u8, Error> {
    match arguments.command {
        Command::Build { sources, output } => build(context, sources, output),
        Command::Measure { files, vcpus, .. } if files.is_given() => measure::run(context, &files, vcpus),
        Command::Measure { image, vcpus, simulated, .. } => {
            let image = GuestImage::find(&context.home, image.as_deref())?;
            let shape = guest_image::shape(vcpus, None);
            let measurement = image.measurement(&shape, simulated)?;
            let answer = serde_json::json!({
                "image": image.name(), "vcpus": shape.vcpus, "vcpu_type": shape.vcpu_type,
                "simulated": simulated, "measurement": measurement,
            });
            context.output.answer(&answer, || measurement.to_string());
            Ok(exit::DONE)
        }
        Command::Verify { image } => {
            let image = GuestImage::find(&context.home, image.as_deref())?;
            let description = casemate_image::verify(&image.folder)
                .map_err(|source| Error::ImageBuild { source: Box::new(source) })?;
            let answer = serde_json::json!({ "image": image.name(), "root_hash": description.root_hash });
            context.output.answer(&answer, || {
                format!(
                    "{} is what its image.toml says, root hash {}",
                    image.name(),
                    description.root_hash.short()
                )
            });
            Ok(exit::DONE)
        }
    }
}

fn build(context: &Context, sources: PathBuf, output: PathBuf) -> Result<u8, Error> {
    let failed = |source| Error::ImageBuild { source: Box::new(source) };
    let recipe = casemate_image::Recipe::read(&sources.join("image/recipes/lite.toml")).map_err(failed)?;
    let options = casemate_image::BuildOptions {
        output: output.clone(),
        cache: context.home.root().join("cache/packages"),
        lock: sources.join("image/image.lock"),
        lock_mode: casemate_image::LockMode::Enforced,
        programs: casemate_image::GuestPrograms::Build {
            workspace: sources.clone(),
            target: sources.join("target"),
        },
    };
    let step = context.output.long_step("Building", "guest image");
    let built = casemate_image::build(&recipe, &options, &mut casemate_image::Silent).map_err(failed)?;
    step.done(&format!("{} {}", built.description.name, built.description.version));
    let answer = serde_json::json!({ "folder": output, "root_hash": built.description.root_hash });
    context.output.answer(&answer, || output.display().to_string());
    Ok(exit::DONE)
}
