//! What does the Debian archive have?
//!
//! Calls the machine's own `apt` with a private state folder, so that neither what is installed nor
//! what else is configured matters. The archive's address comes from the machine's sources; signatures
//! are checked by apt against Debian's keyring.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{Error, LockedPackage};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Suites that have updates and security fixes beside them; `sid` has neither.
const STABLE: [&str; 3] = ["bookworm", "trixie", "forky"];

/// Private views of the archive, one per suite.
pub(crate) struct Archive {
    folder: PathBuf,
    addresses: Option<Addresses>,
    ready: BTreeMap<String, PathBuf>,
}

#[derive(Clone)]
struct Addresses {
    main: String,
    security: String,
}

impl Archive {
    /// Views whose state lives in `folder`.
    pub fn new(folder: &Path) -> Self {
        Archive { folder: folder.to_owned(), addresses: None, ready: BTreeMap::new() }
    }

    /// The candidates of packages, in one call.
    pub fn candidates(&mut self, suite: &str, names: &[&str]) -> Result<Vec<LockedPackage>, Error> {
        let output = self.get(suite, &[&["download", "--print-uris"], names].concat())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Vec<LockedPackage> =
            text.lines().filter_map(|line| parse_candidate(suite, line)).collect();
        if let Some(name) = names.iter().find(|name| !found.iter().any(|package| package.name == **name)) {
            return Err(Error::NoPackage { suite: suite.into(), name: (*name).into() });
        }
        Ok(found)
    }

    /// Names of versioned kernel packages that `package` depends on; itself if it is one.
    pub fn kernel_package(&mut self, suite: &str, package: &str) -> Result<String, Error> {
        let folder = self.suite(suite)?;
        let output = run("apt-cache", &folder, &["depends", "--important", package])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut found: Vec<String> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .filter(|name| name.starts_with("linux-image-"))
            .map(str::to_owned)
            .collect();
        match found.len() {
            0 if output.status.success() => Ok(package.to_owned()),
            1 => Ok(found.remove(0)),
            found => Err(Error::KernelPackage { package: package.into(), found }),
        }
    }

    /// Downloads a package into `folder` under the name it has in the lock.
    pub fn download(&mut self, package: &LockedPackage, folder: &Path) -> Result<(), Error> {
        let scratch = folder.join(format!(".{}", package.file_name()));
        fs::create_dir_all(&scratch).map_err(Error::writing(&scratch))?;
        let state = self.suite(&package.suite)?;
        let wanted = format!("{}={}", package.name, package.version);
        let output = command("apt-get", &state)
            .current_dir(&scratch)
            .args(["download", &wanted])
            .output()
            .map_err(|source| Error::Start { program: "apt-get", source })?;
        if !output.status.success() {
            return Err(failed("apt-get", &output));
        }
        let mut files = fs::read_dir(&scratch).map_err(Error::reading(&scratch))?;
        let file = files.find_map(|entry| Some(entry.ok()?.path()));
        let file = file.ok_or_else(|| failed("apt-get", &output))?;
        let target = folder.join(package.file_name());
        fs::rename(&file, &target).map_err(Error::writing(&target))?;
        fs::remove_dir_all(&scratch).map_err(Error::writing(&scratch))
    }

    fn get(&mut self, suite: &str, arguments: &[&str]) -> Result<Output, Error> {
        let folder = self.suite(suite)?;
        run("apt-get", &folder, arguments)
    }

    /// The state folder of a suite, with a fresh index.
    fn suite(&mut self, suite: &str) -> Result<PathBuf, Error> {
        if let Some(folder) = self.ready.get(suite) {
            return Ok(folder.clone());
        }
        let addresses = match &self.addresses {
            Some(addresses) => addresses.clone(),
            None => self.addresses.insert(Addresses::find()?).clone(),
        };
        let folder = self.folder.join(suite);
        for below in ["lists/partial", "cache/archives/partial", "etc"] {
            let path = folder.join(below);
            fs::create_dir_all(&path).map_err(Error::writing(&path))?;
        }
        write(&folder.join("status"), "")?;
        write(&folder.join("etc/sources.list"), &addresses.sources(suite))?;
        let output = run("apt-get", &folder, &["update"])?;
        if !output.status.success() {
            return Err(failed("apt-get", &output));
        }
        self.ready.insert(suite.to_owned(), folder.clone());
        Ok(folder)
    }
}

impl Addresses {
    fn find() -> Result<Self, Error> {
        let configured = configured_addresses();
        let ending = |wanted: &str| {
            configured.iter().find(|address| address.trim_end_matches('/').ends_with(wanted)).cloned()
        };
        let main = std::env::var("CASEMATE_DEBIAN_ARCHIVE").ok().or_else(|| ending("/debian"));
        let main = main.ok_or(Error::NoArchive { security: false })?;
        let beside = || std::env::var_os("CASEMATE_DEBIAN_ARCHIVE").map(|_| format!("{main}-security"));
        let security =
            beside().or_else(|| ending("/debian-security")).ok_or(Error::NoArchive { security: true })?;
        Ok(Addresses { main, security })
    }

    fn sources(&self, suite: &str) -> String {
        let Addresses { main, security } = self;
        let options = "[arch=amd64 signed-by=".to_owned() + KEYRING + "]";
        let mut text = format!("deb {options} {main} {suite} main\n");
        if STABLE.contains(&suite) {
            text += &format!("deb {options} {main} {suite}-updates main\n");
            text += &format!("deb {options} {security} {suite}-security main\n");
        }
        text
    }
}

/// Addresses in the machine's apt sources, of both formats.
fn configured_addresses() -> Vec<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|entry| entry.path()));
    files.sort();
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| addresses_in(&text)).collect()
}

fn addresses_in(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let of_interest = lines.filter(|line| line.starts_with("URIs:") || line.starts_with("deb "));
    let words = of_interest.flat_map(str::split_whitespace);
    words.filter(|word| word.contains("://") || word.starts_with("file:")).map(str::to_owned).collect()
}

/// Reads `'URI' FILE SIZE SHA256:HEX`, where FILE is `name_version_architecture.deb` with `%3a` for `:`.
fn parse_candidate(suite: &str, line: &str) -> Option<LockedPackage> {
    let mut words = line.strip_prefix('\'')?.split_whitespace().skip(1);
    let file = words.next()?.strip_suffix(".deb")?;
    let sha256 = words.nth(1)?.strip_prefix("SHA256:")?.parse().ok()?;
    let mut parts = file.splitn(3, '_').map(|part| part.replace("%3a", ":"));
    let (name, version, architecture) = (parts.next()?, parts.next()?, parts.next()?);
    Some(LockedPackage { suite: suite.into(), name, version, architecture, sha256 })
}

fn command(program: &'static str, state: &Path) -> Command {
    let option = |name: &str, below: &str| format!("{name}={}", state.join(below).display());
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    for option in [
        option("Dir::State", ""),
        option("Dir::State::lists", "lists"),
        option("Dir::State::status", "status"),
        option("Dir::Cache", "cache"),
        option("Dir::Etc::sourcelist", "etc/sources.list"),
        "Dir::Etc::sourceparts=-".to_owned(),
        "Dir::Etc::preferencesparts=-".to_owned(),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "APT::Sandbox::User=".to_owned(),
        // Whatever this machine forgives its own archives, an image is made of signed packages only.
        "APT::Get::AllowUnauthenticated=false".to_owned(),
        "Acquire::AllowInsecureRepositories=false".to_owned(),
        "Acquire::AllowDowngradeToInsecureRepositories=false".to_owned(),
        "Acquire::AllowWeakRepositories=false".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::Retries=3".to_owned(),
    ] {
        command.args(["-o", &option]);
    }
    command.arg("-q");
    command
}

fn run(program: &'static str, state: &Path, arguments: &[&str]) -> Result<Output, Error> {
    command(program, state).args(arguments).output().map_err(|source| Error::Start { program, source })
}

fn failed(program: &'static str, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = said.lines().rev().take(4).collect();
    let said = tail.into_iter().rev().collect::<Vec<_>>().join(" / ");
    Error::Failed { program, status: output.status, said: said.into() }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::writing(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_both_formats() {
        let text =
            "Types: deb\n# URIs: http://old.test/debian\nURIs: http://one.test/debian http://two.test/x\n";
        assert_eq!(addresses_in(text), ["http://one.test/debian", "http://two.test/x"]);
        let text =
            "deb [signed-by=/k.gpg] http://three.test/debian bookworm main\n#deb http://old.test/debian\n";
        assert_eq!(addresses_in(text), ["http://three.test/debian"]);
    }

    #[test]
    fn candidates_are_read_with_their_epoch() {
        let line = format!(
            "'http://a.test/libcap2_1%253a2.66_amd64.deb' libcap2_1%3a2.66_amd64.deb 5 SHA256:{:064}",
            7
        );
        let package = parse_candidate("bookworm", &line).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("libcap2", "1:2.66"));
        assert!(parse_candidate("bookworm", "E: Unable to locate package x").is_none());
    }

    #[test]
    fn sid_has_no_security_suite() {
        let addresses = Addresses { main: "http://a.test/debian".into(), security: "http://b.test/s".into() };
        assert_eq!(addresses.sources("sid").lines().count(), 1);
        assert_eq!(addresses.sources("bookworm").lines().count(), 3);
    }
}
