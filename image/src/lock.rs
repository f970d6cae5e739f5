//! Which packages was the image made of?

use std::path::Path;

use casemate_crypto::hash::Sha256;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Contents of `image.lock` (TOML).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Format of the lock; 1.
    pub format: u32,
    /// Packages, by suite and name.
    pub package: Vec<LockedPackage>,
}

/// One package of a lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Debian suite.
    pub suite: String,
    /// Package name.
    pub name: String,
    /// Package version.
    pub version: String,
    /// Architecture, `amd64` or `all`.
    pub architecture: String,
    /// SHA-256 of the `.deb` file.
    pub sha256: Sha256,
}

/// What happens when the archive no longer has what the lock names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// The build fails: for releases, and for whoever checks one.
    Enforced,
    /// The build says so and takes what the archive has; the result has another measurement.
    Advisory,
}

/// A package that is not the locked one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What the lock names, if anything.
    pub locked: Option<LockedPackage>,
    /// What is there, if anything.
    pub found: Option<LockedPackage>,
}

impl Lock {
    /// A lock of these packages, in the lock's order.
    pub fn new(mut package: Vec<LockedPackage>) -> Self {
        package.sort();
        Lock { format: 1, package }
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Lock`], [`Error::LockFormat`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::reading(path))?;
        let lock: Lock = toml::from_str(&text).map_err(Error::Lock)?;
        if lock.format != 1 {
            return Err(Error::LockFormat { found: lock.format });
        }
        Ok(lock)
    }

    /// The text of `image.lock`.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(self).expect("names and digests are TOML");
        format!("# Packages of the guest image. Written by the image builder; do not edit.\n{body}")
    }

    /// What differs in `found`, by suite and name.
    pub fn differences(&self, found: &Lock) -> Vec<Difference> {
        let same_name = |a: &LockedPackage, b: &LockedPackage| a.suite == b.suite && a.name == b.name;
        let mut differences = Vec::new();
        for locked in &self.package {
            let other = found.package.iter().find(|package| same_name(package, locked));
            if other != Some(locked) {
                differences.push(Difference { locked: Some(locked.clone()), found: other.cloned() });
            }
        }
        for package in &found.package {
            if !self.package.iter().any(|locked| same_name(package, locked)) {
                differences.push(Difference { locked: None, found: Some(package.clone()) });
            }
        }
        differences
    }
}

impl LockedPackage {
    /// Name of the file in the cache.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.deb", self.sha256)
    }
}

impl std::fmt::Display for LockedPackage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({}, sha256 {})", self.name, self.version, self.suite, self.sha256.short())
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.locked, &self.found) {
            (Some(locked), Some(found)) => write!(f, "locked {locked}, found {found}"),
            (Some(locked), None) => write!(f, "locked {locked}, found nothing"),
            (None, Some(found)) => write!(f, "not locked, found {found}"),
            (None, None) => f.write_str("nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> LockedPackage {
        LockedPackage {
            suite: "bookworm".into(),
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            sha256: casemate_crypto::hash::sha256(version.as_bytes()),
        }
    }

    #[test]
    fn differences_name_both_versions() {
        let locked = Lock::new(vec![package("a", "1"), package("b", "1"), package("c", "1")]);
        let found = Lock::new(vec![package("d", "1"), package("b", "2"), package("a", "1")]);
        let text: Vec<String> = locked.differences(&found).iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 3);
        assert!(text[0].starts_with("locked b 1 ") && text[0].contains("found b 2 "));
        assert!(text[1].starts_with("locked c 1 ") && text[1].ends_with("found nothing"));
        assert!(text[2].starts_with("not locked, found d 1 "));
    }

    #[test]
    fn order_of_packages_does_not_matter() {
        let one = Lock::new(vec![package("b", "1"), package("a", "1")]);
        assert_eq!(one.to_toml(), Lock::new(vec![package("a", "1"), package("b", "1")]).to_toml());
    }
}
