//! Builds the guest image from a checkout, without the rest of Casemate.

use std::{path::PathBuf, process::ExitCode};

use casemate_image::{
    BuildOptions, Difference, Error, GuestPrograms, Lock, LockMode, ProgramPaths, Progress, Recipe, Step,
    build, lock, verify,
};

const USAGE: &str = "\
usage: casemate-image-build --output DIR [options]

  --recipe FILE         recipe, default image/recipes/lite.toml of the workspace
  --lock FILE           package lock, default image/image.lock of the workspace
  --cache DIR           packages kept between builds, default ~/.cache/casemate/image
  --target DIR          cargo's target folder for guest programs, default `target` of the workspace
  --advisory            take what the archive has where the lock cannot be met, and say so
  --update-lock         write a new lock first
  --init FILE --agent FILE --simtee-device FILE
                        take these programs instead of compiling them
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage) => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Image(error)) => {
            eprintln!("error: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Usage,
    Image(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Image(error)
    }
}

fn run() -> Result<(), Failure> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let home = std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    let mut output = None;
    let mut recipe = workspace.join("image/recipes/lite.toml");
    let mut lock_file = workspace.join("image/image.lock");
    let mut cache = home.join(".cache/casemate/image");
    let mut target = workspace.join("target");
    let mut lock_mode = LockMode::Enforced;
    let mut update_lock = false;
    let (mut init, mut agent, mut simtee_device) = (None, None, None);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from).ok_or(Failure::Usage);
        match argument.to_str() {
            Some("--output") => output = Some(value()?),
            Some("--recipe") => recipe = value()?,
            Some("--lock") => lock_file = value()?,
            Some("--cache") => cache = value()?,
            Some("--target") => target = value()?,
            Some("--init") => init = Some(value()?),
            Some("--agent") => agent = Some(value()?),
            Some("--simtee-device") => simtee_device = Some(value()?),
            Some("--advisory") => lock_mode = LockMode::Advisory,
            Some("--update-lock") => update_lock = true,
            _ => return Err(Failure::Usage),
        }
    }
    let programs = match (init, agent, simtee_device) {
        (None, None, None) => GuestPrograms::Build { workspace, target },
        (Some(init), Some(agent), Some(simtee_device)) => {
            GuestPrograms::Ready(ProgramPaths { init, agent, simtee_device })
        }
        _ => return Err(Failure::Usage),
    };
    let recipe = Recipe::read(&recipe)?;
    if update_lock {
        let new: Lock = lock(&recipe, &cache, &mut Terminal)?;
        std::fs::write(&lock_file, new.to_toml())
            .map_err(|source| Error::Write { path: lock_file.clone(), source })?;
    }
    let output = output.ok_or(Failure::Usage)?;
    let options = BuildOptions { output, cache, lock: lock_file, lock_mode, programs };
    let built = build(&recipe, &options, &mut Terminal)?;
    verify(&built.folder)?;
    if !built.is_locked {
        eprintln!(
            "warning: this is not the image of image.lock; its measurement differs from the published one"
        );
    }
    print!("{}", built.description.to_toml());
    Ok(())
}

struct Terminal;

impl Progress for Terminal {
    fn step(&mut self, step: Step, done: usize, total: usize, part: &str) {
        if !part.is_empty() || done == total {
            eprintln!("{step:?} {done}/{total} {part}");
        }
    }

    fn differs(&mut self, difference: &Difference) {
        eprintln!("warning: {difference}");
    }
}
