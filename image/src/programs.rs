//! Which programs run in the guest, and how are they built the same everywhere?

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, Progress, Step, elf};

/// The target of guest programs: glibc, linked statically.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where the guest's own programs come from.
#[derive(Debug, Clone)]
pub enum GuestPrograms {
    /// Compiled from this workspace with profile `guest`.
    Build {
        /// Folder with the workspace's `Cargo.toml`.
        workspace: PathBuf,
        /// Cargo's target folder.
        target: PathBuf,
    },
    /// Already built; they are part of the measurement like any others.
    Ready(ProgramPaths),
}

/// Files of the guest's programs, each a static executable.
#[derive(Debug, Clone)]
pub struct ProgramPaths {
    /// PID 1 of the initial filesystem.
    pub init: PathBuf,
    /// The agent in the root.
    pub agent: PathBuf,
    /// The device daemon of the simulation segment.
    pub simtee_device: PathBuf,
}

pub(crate) struct Programs {
    pub init: Vec<u8>,
    pub agent: Vec<u8>,
    pub simtee_device: Vec<u8>,
}

impl GuestPrograms {
    pub(crate) fn read(&self, progress: &mut dyn Progress) -> Result<Programs, Error> {
        let paths = match self {
            GuestPrograms::Ready(paths) => paths.clone(),
            GuestPrograms::Build { workspace, target } => compile(workspace, target, progress)?,
        };
        Ok(Programs {
            init: read_static(&paths.init)?,
            agent: read_static(&paths.agent)?,
            simtee_device: read_static(&paths.simtee_device)?,
        })
    }
}

/// Compiles one of the guest's programs (package and program have the same name) from the workspace, and
/// says where it is. The same sources and compiler give the same bytes, wherever they are.
///
/// # Errors
/// [`Error::Start`], [`Error::Failed`].
pub fn build_program(workspace: &Path, target: &Path, program: &str) -> Result<PathBuf, Error> {
    let workspace = workspace.canonicalize().map_err(Error::reading(workspace))?;
    // A program at a time: cargo would otherwise join the features that different packages ask for.
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&workspace)
        .args(["build", "--locked", "--quiet", "--profile", "guest", "--target", TARGET])
        .args(["--package", program, "--bin", program, "--target-dir"])
        .arg(target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&workspace)?)
        .status()
        .map_err(|source| Error::Start { program: "cargo", source })?;
    if !status.success() {
        return Err(Error::Failed { program: "cargo", status, said: program.into() });
    }
    Ok(target.join(TARGET).join("guest").join(program))
}

fn compile(workspace: &Path, target: &Path, progress: &mut dyn Progress) -> Result<ProgramPaths, Error> {
    let target = std::path::absolute(target).map_err(Error::reading(target))?;
    let mut done = 0;
    let mut build = |program| {
        progress.step(Step::Compiling, done, 3, program);
        done += 1;
        build_program(workspace, &target, program)
    };
    Ok(ProgramPaths {
        init: build("casemate-init")?,
        agent: build("casemate-agent")?,
        simtee_device: build("casemate-simtee-device")?,
    })
}

/// Flags that make the output static, and independent of where sources, crates and compiler are.
fn flags(workspace: &Path) -> Result<OsString, Error> {
    let sysroot = Command::new("rustc")
        .current_dir(workspace)
        .args(["--print", "sysroot"])
        .output()
        .map_err(|source| Error::Start { program: "rustc", source })?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    let home = std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let mut flags = OsString::from("-Ctarget-feature=+crt-static");
    for (from, to) in [(workspace, "/casemate"), (&cargo_home, "/cargo"), (&sysroot, "/rust")] {
        flags.push("\x1f--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

fn read_static(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(path).map_err(Error::reading(path))?;
    if elf::has_interpreter(&path.display().to_string(), &bytes)? {
        return Err(Error::NotStatic { path: path.to_owned() });
    }
    Ok(bytes)
}
