//! What does this app's owner accept?
//!
//! `casemate.policy.toml` beside the compose file, in the format of `docs/reference/policy.md`. The
//! key service appraises guests under this very file, and knows no image: so the file lists the
//! measurement of each image that may have keys.

use std::path::{Path, PathBuf};

use casemate_crypto::hash::Sha256;
use casemate_evidence::Measurement;
use casemate_verify::{Policy, Section};

use crate::{Error, files};

/// The file's name.
pub const FILE_NAME: &str = "casemate.policy.toml";

/// A policy file.
#[derive(Debug)]
pub struct PolicyFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes, which records name by digest.
    pub text: String,
    /// What it says.
    pub policy: Policy,
}

/// Largest policy file, in bytes: it travels with the owner's record.
const MAXIMUM_BYTES: u64 = 64 << 10;

impl PolicyFile {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Policy`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = files::read_text(path, MAXIMUM_BYTES)?;
        Self::parse(path, text)
    }

    /// Writes a new policy file for one image.
    ///
    /// # Errors
    /// [`Error::PolicyExists`], [`Error::File`].
    pub fn create(
        path: &Path,
        image: &Image,
        simulated_root: Option<Sha256>,
        also: &[Section],
    ) -> Result<Self, Error> {
        if path.exists() {
            return Err(Error::PolicyExists { path: path.to_owned() });
        }
        let text = starting_text(image, simulated_root);
        let text = also.iter().fold(text, |text, section| Policy::with_section(&text, *section));
        let file = Self::parse(path, text)?;
        files::write(path, file.text.as_bytes())?;
        Ok(file)
    }

    /// The policy in `text`, which stands at `path` or would.
    ///
    /// # Errors
    /// [`Error::Policy`].
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self, Error> {
        match Policy::parse(&text) {
            Ok(policy) => Ok(PolicyFile { path: path.to_owned(), text, policy }),
            Err(source) => Err(Error::Policy { path: path.to_owned(), source: Box::new(source) }),
        }
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
}

/// What a policy lists of an image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Name and version, for people.
    pub name: String,
    /// Its measurement on the shape in use.
    pub measurement: Measurement,
}

/// The policy to begin with: what `casemate-verify` recommends, for this image alone.
pub fn starting_text(image: &Image, simulated_root: Option<Sha256>) -> String {
    let roots: Vec<Sha256> = simulated_root.into_iter().collect();
    let rule = format!("measurements = [\"{}\"]  # {}", image.measurement, image.name);
    Policy::example(&roots)
        .lines()
        .map(|line| if line.starts_with("measurements = ") { rule.as_str() } else { line })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// What a seat of this machine demands besides the owner's policy: genuine, current, undebugged
/// hardware (or this machine's simulated one), whatever image the owner allows.
pub fn seat_floor_text(simulated_root: Option<Sha256>) -> String {
    let roots: Vec<Sha256> = simulated_root.into_iter().collect();
    Policy::example(&roots)
        .lines()
        .map(|line| match line.starts_with("measurements = ") {
            true => "measurements = \"any\"             # the owner's policy names the images",
            false => line,
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image { name: "casemate-lite 2026.11".into(), measurement: Measurement::from([0xab; 48]) }
    }

    #[test]
    fn the_starting_policy_is_one_and_names_the_image() {
        for root in [None, Some(Sha256::from([7; 32]))] {
            let text = starting_text(&image(), root);
            let policy = Policy::parse(&text).unwrap();
            assert_eq!(policy.lists_simulated_roots(), root.is_some());
            assert!(text.contains(&format!("measurements = [\"{}\"]", "ab".repeat(48))));
            assert!(!text.contains("measurements = \"expected\""));
        }
    }

    #[test]
    fn the_floor_is_a_policy() {
        let text = seat_floor_text(Some(Sha256::from([7; 32])));
        assert!(Policy::parse(&text).unwrap().lists_simulated_roots());
        assert!(text.contains("measurements = \"any\""));
    }

    #[test]
    fn an_existing_policy_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        PolicyFile::create(&path, &image(), None, &[]).unwrap();
        assert!(matches!(PolicyFile::create(&path, &image(), None, &[]), Err(Error::PolicyExists { .. })));
        assert!(PolicyFile::read(&path).is_ok());
    }
}
