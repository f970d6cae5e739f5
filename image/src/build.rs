//! How is an image made, and is this one whole?

use std::{
    collections::BTreeMap,
    fs,
    io::{BufReader, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

use casemate_crypto::hash::{Sha256, sha256};
use casemate_measure::{
    image::{ImageDescription, ImageFile, ImageFiles},
    ovmf::Firmware,
};
use casemate_rootfs::{Tree, verity, write_image};
use sha2::Digest as _;

use crate::{
    Error, GuestPrograms, Lock, LockMode, LockedPackage, Progress, Recipe, RecipeKernel, Step,
    apt::Archive,
    initramfs,
    modules::{Module, Modules},
    root::{self, Packages},
};

/// Where an image is built, and of what.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Folder for the image; files of the same names are replaced.
    pub output: PathBuf,
    /// Folder that keeps packages between builds.
    pub cache: PathBuf,
    /// The lock file.
    pub lock: PathBuf,
    /// What happens when the lock cannot be met.
    pub lock_mode: LockMode,
    /// The guest's own programs.
    pub programs: GuestPrograms,
}

/// A finished image.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// Folder with its files.
    pub folder: PathBuf,
    /// Contents of `image.toml`.
    pub description: ImageDescription,
    /// Packages it was made of, also written beside it as `image.lock`.
    pub lock: Lock,
    /// Whether they are those of the lock that was asked for.
    pub is_locked: bool,
}

/// Builds the image of `recipe`.
///
/// # Errors
/// Any [`Error`]; with [`LockMode::Enforced`], [`Error::LockDiffers`] if the archive has moved on.
pub fn build(
    recipe: &Recipe,
    options: &BuildOptions,
    progress: &mut dyn Progress,
) -> Result<BuiltImage, Error> {
    let wanted = Lock::read(&options.lock)?;
    let used = fetch(recipe, &wanted, options, progress)?;
    let programs = options.programs.read(progress)?;
    let output = Output { folder: &options.output };
    fs::create_dir_all(output.folder).map_err(Error::writing(output.folder))?;

    progress.step(Step::AssemblingRoot, 0, 1, "");
    let files = |names: &[String], suite: &str| -> Result<Vec<PathBuf>, Error> {
        let find =
            |name: &String| used.find(suite, name).map(|package| options.cache.join(package.file_name()));
        names.iter().map(find).collect()
    };
    let mut packages = Packages::default();
    let staged = packages.unpack(&files(&recipe.root.packages, &recipe.root.suite)?)?;
    let tree = root::assemble(&recipe.root, &staged, &mut packages, programs.agent)?;
    progress.step(Step::WritingRoot, 0, 1, "root.img");
    let (root, image) = output.root(&tree, &mut packages)?;

    progress.step(Step::WritingInitrd, 0, 1, "");
    let kernel_name = used.kernel_package(&recipe.kernel.suite, &recipe.kernel.package)?;
    let mut packages = Packages::default();
    let kernel_tree = packages.unpack(&files(&[kernel_name], &recipe.kernel.suite)?)?;
    let kernel = packages.read(&kernel_tree, &kernel_path(&kernel_tree)?)?;
    let modules = ChosenModules::of(recipe, &kernel_tree, &mut packages)?;
    let initrd = initramfs::base(programs.init, &modules.required, &modules.optional)?;
    let segment = initramfs::simulation(programs.simtee_device, &modules.simulation)?;

    let mut packages = Packages::default();
    let package = recipe.firmware.package.clone();
    let firmware_tree = packages.unpack(&files(&[package], &recipe.firmware.suite)?)?;
    let firmware = packages.read(&firmware_tree, &recipe.firmware.file)?;

    let lock_text = used.to_toml();
    let description = ImageDescription {
        format: 1,
        name: recipe.name.clone(),
        version: recipe.version.clone(),
        cmdline: format!(
            "console=ttyS0 quiet panic=-1 random.trust_bootloader=off casemate.root={} casemate.root_blocks={}",
            image.root_hash, image.data_blocks
        ),
        root_hash: Sha256::from(*image.root_hash.as_bytes()),
        root_blocks: image.data_blocks,
        package_lock: sha256(lock_text.as_bytes()),
        files: ImageFiles {
            firmware: output.file("firmware.fd", &firmware)?,
            kernel: output.file("vmlinuz", &kernel)?,
            initrd: output.file("initrd", &initrd)?,
            simulated_initrd: Some(output.file("initrd-simulated", &[initrd, segment].concat())?),
            root,
        },
        firmware: Firmware::parse(&firmware)?,
    };
    description.check()?;
    output.file("image.lock", lock_text.as_bytes())?;
    output.file("image.toml", description.to_toml().as_bytes())?;
    let is_locked = used == wanted;
    Ok(BuiltImage { folder: options.output.clone(), description, lock: used, is_locked })
}

/// Asks the archive for the current packages of `recipe`: a new lock.
///
/// # Errors
/// [`Error::NoArchive`], [`Error::NoPackage`], [`Error::KernelPackage`], [`Error::Failed`], [`Error::Start`].
pub fn lock(recipe: &Recipe, cache: &Path, progress: &mut dyn Progress) -> Result<Lock, Error> {
    let _alone = alone_in(cache)?;
    candidates(recipe, cache, progress)
}

/// Waits until nobody else changes the cache, and keeps others out until dropped.
fn alone_in(cache: &Path) -> Result<fs::File, Error> {
    let path = cache.join(".lock");
    fs::create_dir_all(cache).map_err(Error::writing(cache))?;
    let file = fs::File::create(&path).map_err(Error::writing(&path))?;
    file.lock().map_err(Error::writing(&path))?;
    Ok(file)
}

fn candidates(recipe: &Recipe, cache: &Path, progress: &mut dyn Progress) -> Result<Lock, Error> {
    let mut archive = Archive::new(&cache.join("apt"));
    let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (suite, name) in recipe.packages() {
        wanted.entry(suite).or_default().push(name);
    }
    let RecipeKernel { suite, package, .. } = &recipe.kernel;
    let versioned = archive.kernel_package(suite, package)?;
    if versioned != *package {
        wanted.entry(suite).or_default().push(&versioned);
    }
    let mut packages = Vec::new();
    for (done, (suite, names)) in wanted.iter().enumerate() {
        progress.step(Step::ReadingArchive, done, wanted.len(), suite);
        packages.extend(archive.candidates(suite, names)?);
    }
    progress.step(Step::ReadingArchive, wanted.len(), wanted.len(), "");
    Ok(Lock::new(packages))
}

/// Checks that the image in `folder` is what its `image.toml` says: digests, root hash tree, firmware.
///
/// It proves that the image is whole, not that it is the one its recipe makes: build that and compare.
///
/// # Errors
/// [`Error::Read`], [`Error::Description`], [`Error::Digest`], [`Error::RootHash`],
/// [`Error::FirmwareDiffers`], [`Error::SimulationSegment`].
pub fn verify(folder: &Path) -> Result<ImageDescription, Error> {
    let path = folder.join("image.toml");
    let text = fs::read_to_string(&path).map_err(Error::reading(&path))?;
    let description = ImageDescription::parse(&text)?;
    for file in description.files.all() {
        let path = folder.join(&file.name);
        let found = digest(&path)?;
        if found != file.sha256 {
            return Err(Error::Digest { path, expected: file.sha256, found });
        }
    }
    let lock = folder.join("image.lock");
    let found = digest(&lock)?;
    if found != description.package_lock {
        return Err(Error::Digest { path: lock, expected: description.package_lock, found });
    }
    verify_root(folder, &description)?;
    let path = folder.join(&description.files.firmware.name);
    let firmware = fs::read(&path).map_err(Error::reading(&path))?;
    if Firmware::parse(&firmware)? != description.firmware {
        return Err(Error::FirmwareDiffers { path });
    }
    if let Some(simulated) = &description.files.simulated_initrd {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(Error::reading(&path))
        };
        if !read(&simulated.name)?.starts_with(&read(&description.files.initrd.name)?) {
            return Err(Error::SimulationSegment);
        }
    }
    Ok(description)
}

fn verify_root(folder: &Path, description: &ImageDescription) -> Result<(), Error> {
    let path = folder.join(&description.files.root.name);
    let file = fs::File::open(&path).map_err(Error::reading(&path))?;
    let mut file = BufReader::new(file);
    let data = description.root_blocks * verity::BLOCK_SIZE as u64;
    let tree = verity::tree((&mut file).take(data)).map_err(Error::reading(&path))?;
    let mut stored = Vec::new();
    file.read_to_end(&mut stored).map_err(Error::reading(&path))?;
    let found = Sha256::from(*tree.root_hash.as_bytes());
    if found != description.root_hash || stored != tree.bytes {
        return Err(Error::RootHash { expected: description.root_hash, found });
    }
    Ok(())
}

/// Makes sure that the cache holds every package, and says which ones are used.
fn fetch(
    recipe: &Recipe,
    wanted: &Lock,
    options: &BuildOptions,
    progress: &mut dyn Progress,
) -> Result<Lock, Error> {
    for (suite, name) in recipe.packages() {
        wanted.find(suite, name)?;
    }
    let _alone = alone_in(&options.cache)?;
    let missing = |lock: &Lock| -> Result<Vec<LockedPackage>, Error> {
        let mut missing = Vec::new();
        for package in &lock.package {
            let path = options.cache.join(package.file_name());
            if !path.exists() {
                missing.push(package.clone());
            } else if digest(&path)? != package.sha256 {
                fs::remove_file(&path).map_err(Error::writing(&path))?;
                missing.push(package.clone());
            }
        }
        Ok(missing)
    };
    if missing(wanted)?.is_empty() {
        return Ok(wanted.clone());
    }
    let found = candidates(recipe, &options.cache, progress)?;
    let differences = wanted.differences(&found);
    for difference in &differences {
        progress.differs(difference);
    }
    // What is locked and cached, or still in the archive, is as good as new.
    let absent = missing(wanted)?;
    let unmet = differences
        .iter()
        .find(|difference| difference.locked.as_ref().is_none_or(|locked| absent.contains(locked)));
    let used = match (unmet, options.lock_mode) {
        (None, _) => wanted.clone(),
        (Some(_), LockMode::Advisory) => found,
        (Some(first), LockMode::Enforced) => {
            return Err(Error::LockDiffers { count: differences.len(), first: Box::new(first.clone()) });
        }
    };
    let mut archive = Archive::new(&options.cache.join("apt"));
    let absent = missing(&used)?;
    for (done, package) in absent.iter().enumerate() {
        progress.step(Step::Fetching, done, absent.len(), &package.name);
        archive.download(package, &options.cache)?;
        let path = options.cache.join(package.file_name());
        let found = digest(&path)?;
        if found != package.sha256 {
            return Err(Error::Digest { path, expected: package.sha256, found });
        }
    }
    progress.step(Step::Fetching, absent.len(), absent.len(), "");
    Ok(used)
}

impl Lock {
    fn find(&self, suite: &str, name: &str) -> Result<&LockedPackage, Error> {
        let found = self.package.iter().find(|package| package.suite == suite && package.name == name);
        found.ok_or_else(|| Error::NotLocked { suite: suite.into(), name: name.into() })
    }

    /// The versioned kernel package: what the lock holds of that suite's kernels beside `package`.
    fn kernel_package(&self, suite: &str, package: &str) -> Result<String, Error> {
        let kernels = self.package.iter().filter(|candidate| {
            candidate.suite == suite
                && candidate.name.starts_with("linux-image-")
                && candidate.name != package
        });
        let names: Vec<&str> = kernels.map(|kernel| kernel.name.as_str()).collect();
        match names.as_slice() {
            [] => Ok(package.to_owned()),
            [name] => Ok((*name).to_owned()),
            names => Err(Error::KernelPackage { package: package.into(), found: names.len() }),
        }
    }
}

struct ChosenModules {
    required: Vec<Module>,
    optional: Vec<Module>,
    simulation: Vec<Module>,
}

impl ChosenModules {
    fn of(recipe: &Recipe, tree: &Tree, packages: &mut Packages) -> Result<Self, Error> {
        let mut modules = Modules::new(tree, packages);
        let mut loaded = Vec::new();
        let mut choose = |wanted: &[String]| -> Result<Vec<Module>, Error> {
            let chosen = modules.in_order(tree, wanted, &loaded)?;
            loaded.extend(chosen.iter().map(|(name, _)| name.clone()));
            Ok(chosen.into_iter().map(|(_, module)| module).collect())
        };
        Ok(ChosenModules {
            required: choose(&recipe.kernel.modules)?,
            optional: choose(&recipe.kernel.optional_modules)?,
            simulation: choose(&recipe.kernel.simulation_modules)?,
        })
    }
}

fn kernel_path(tree: &Tree) -> Result<String, Error> {
    let paths = tree.walk_all().into_iter().map(|(path, ..)| String::from_utf8_lossy(&path).into_owned());
    let mut kernels = paths.filter(|path| path.starts_with("boot/vmlinuz-"));
    kernels.next().ok_or_else(|| Error::MissingFile { path: "boot/vmlinuz-*".into() })
}

struct Output<'a> {
    folder: &'a Path,
}

impl Output<'_> {
    fn file(&self, name: &str, bytes: &[u8]) -> Result<ImageFile, Error> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(Error::writing(&path))?;
        Ok(ImageFile { name: name.to_owned(), size: bytes.len() as u64, sha256: sha256(bytes) })
    }

    fn root(
        &self,
        tree: &Tree,
        packages: &mut Packages,
    ) -> Result<(ImageFile, casemate_rootfs::Image), Error> {
        let path = self.folder.join("root.img");
        let file = fs::File::create(&path).map_err(Error::writing(&path))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let image = write_image(tree, &mut packages.archives, &mut file)?;
        file.flush().map_err(Error::writing(&path))?;
        let sha256 = digest(&path)?;
        Ok((ImageFile { name: "root.img".to_owned(), size: image.size_bytes, sha256 }, image))
    }
}

fn digest(path: &Path) -> Result<Sha256, Error> {
    let mut file = fs::File::open(path).map_err(Error::reading(path))?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(Error::reading(path))? {
            0 => return Ok(Sha256::from(<[u8; 32]>::from(hash.finalize()))),
            read => hash.update(&buffer[..read]),
        }
    }
}
