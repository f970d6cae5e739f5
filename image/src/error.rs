//! Why is there no image?

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use casemate_crypto::hash::Sha256;

use crate::Difference;

/// Why an image was not built, locked or verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}; check that it exists and is yours to read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}; check permissions and free space", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The recipe is not TOML of the expected shape.
    #[error("the recipe is malformed; see docs/reference/image.md")]
    Recipe(#[source] toml::de::Error),
    /// A recipe of another format.
    #[error("the recipe has format {found}, expected 1; update Casemate")]
    RecipeFormat {
        /// Format found.
        found: u32,
    },
    /// The lock is not TOML of the expected shape.
    #[error("image.lock is malformed; make it again with the builder's `--update-lock`")]
    Lock(#[source] toml::de::Error),
    /// A lock of another format.
    #[error("image.lock has format {found}, expected 1; update Casemate")]
    LockFormat {
        /// Format found.
        found: u32,
    },
    /// The archive does not have what the lock names.
    #[error(
        "{count} packages differ from image.lock, first: {first}; put the locked files into the cache, \
        update the lock if the new versions are wanted, or build with an advisory lock for a demonstration"
    )]
    LockDiffers {
        /// How many.
        count: usize,
        /// The first of them.
        first: Box<Difference>,
    },
    /// The lock lacks a package of the recipe.
    #[error(
        "image.lock has no package {name} of suite {suite}; make it again with the builder's `--update-lock`"
    )]
    NotLocked {
        /// Suite asked for.
        suite: Box<str>,
        /// Package asked for.
        name: Box<str>,
    },
    /// No Debian archive is configured on this machine.
    #[error("no Debian archive found in /etc/apt; expected a source whose address ends in /debian{}; \
        add one, or set CASEMATE_DEBIAN_ARCHIVE to its address", if *.security { "-security" } else { "" })]
    NoArchive {
        /// Whether the security archive is the missing one.
        security: bool,
    },
    /// A program could not be started.
    #[error("cannot start {program}; install it")]
    Start {
        /// The program.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed with {status}: {said}")]
    Failed {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed.
        said: Box<str>,
    },
    /// A package the archive does not know.
    #[error("the archive has no package {name} in suite {suite}; is the recipe's suite right?")]
    NoPackage {
        /// Suite asked for.
        suite: Box<str>,
        /// Package asked for.
        name: Box<str>,
    },
    /// A kernel package that depends on no versioned kernel, or on several.
    #[error("{package} leads to {found} versioned kernel packages, expected 1; name the versioned package")]
    KernelPackage {
        /// Package asked for.
        package: Box<str>,
        /// How many versioned packages were found.
        found: usize,
    },
    /// A file is not the one it should be.
    #[error("{} has sha256 {}, expected {}; delete it and fetch or build it again", .path.display(), .found.short(),
        .expected.short())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Digest expected.
        expected: Sha256,
        /// Digest found.
        found: Sha256,
    },
    /// Not a `.deb` archive, or one of an unknown kind.
    #[error("{} is no Debian package: {problem}; delete it and fetch it again", .path.display())]
    Deb {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// Data could not be decompressed.
    #[error("cannot decompress {what}; fetch it again")]
    Decompress {
        /// What was to be decompressed.
        what: Box<str>,
        /// What the decoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The packages hold no such file.
    #[error("no package of the recipe holds {path}; add the package, or correct the path")]
    MissingFile {
        /// Path asked for.
        path: Box<str>,
    },
    /// An executable links to a library that is not there.
    #[error("{file} needs {library}, which no package of the recipe holds; add its package")]
    MissingLibrary {
        /// The executable or library.
        file: Box<str>,
        /// What it needs.
        library: Box<str>,
    },
    /// The kernel package has no such module.
    #[error("the kernel has no module {name}; remove it from the recipe if it is built in")]
    MissingModule {
        /// Module asked for.
        name: Box<str>,
    },
    /// Modules that depend on each other in a circle.
    #[error("module {name} depends on itself; the kernel package is damaged")]
    ModuleLoop {
        /// One of them.
        name: Box<str>,
    },
    /// A file is no ELF object of the expected kind.
    #[error("{file} is no usable ELF object; the package or build is damaged")]
    Elf {
        /// The file.
        file: Box<str>,
        /// What the parser said.
        source: object::Error,
    },
    /// A guest program that must be static is not.
    #[error("{} is linked dynamically; build it with target feature crt-static", .path.display())]
    NotStatic {
        /// The program.
        path: PathBuf,
    },
    /// The root filesystem could not be made.
    #[error("cannot make the root filesystem")]
    Root(#[from] casemate_rootfs::Error),
    /// The firmware cannot be measured.
    #[error("the firmware cannot be measured; choose one with SEV metadata and a kernel hash table")]
    Firmware(#[from] casemate_measure::ovmf::FirmwareError),
    /// The description is inconsistent.
    #[error("image.toml is inconsistent")]
    Description(#[from] casemate_measure::image::ImageError),
    /// The firmware's summary in `image.toml` is not what its file says.
    #[error("image.toml describes another firmware than {}; build the image again", .path.display())]
    FirmwareDiffers {
        /// The firmware.
        path: PathBuf,
    },
    /// The root image has another hash tree than described.
    #[error("the root image has root hash {}, image.toml names {}; build the image again", .found.short(),
        .expected.short())]
    RootHash {
        /// Root hash described.
        expected: Sha256,
        /// Root hash found.
        found: Sha256,
    },
    /// The simulated initrd does not begin with the initrd.
    #[error("the simulated initrd does not begin with the initrd; build the image again")]
    SimulationSegment,
}

impl Error {
    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    }

    pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    }
}
