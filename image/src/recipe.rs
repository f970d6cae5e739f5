//! What goes into an image?

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Contents of a recipe file (TOML); specified in `docs/reference/image.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Format of the recipe; 1.
    pub format: u32,
    /// Name of the image.
    pub name: String,
    /// Version of the image.
    pub version: String,
    /// Kernel and modules.
    pub kernel: RecipeKernel,
    /// Firmware.
    pub firmware: RecipeFirmware,
    /// Root filesystem.
    pub root: RecipeRoot,
}

/// Kernel and modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeKernel {
    /// Debian suite.
    pub suite: String,
    /// Package, or one that depends on exactly one versioned kernel package.
    pub package: String,
    /// Modules that must load, in this order; dependencies are added before each.
    pub modules: Vec<String>,
    /// Modules that may fail to load because the machine lacks the device.
    pub optional_modules: Vec<String>,
    /// Modules of the simulation segment.
    pub simulation_modules: Vec<String>,
}

/// Firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeFirmware {
    /// Debian suite.
    pub suite: String,
    /// Package.
    pub package: String,
    /// Path in the package.
    pub file: String,
}

/// Root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeRoot {
    /// Debian suite.
    pub suite: String,
    /// Packages that files are taken from; dependencies are not followed.
    pub packages: Vec<String>,
    /// Files that are taken, with what symbolic links lead to and the libraries that executables need.
    pub keep: Vec<String>,
    /// Directories made, mode 0755 (`tmp` and `var/tmp` 1777).
    pub directories: Vec<String>,
    /// Files of our own.
    pub files: Vec<RecipeFile>,
    /// Symbolic links of our own.
    #[serde(default)]
    pub symlinks: Vec<RecipeSymlink>,
}

/// A file written out in the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    /// Where it stands.
    pub path: String,
    /// Permissions.
    pub mode: u16,
    /// What it says.
    pub content: String,
}

/// A symbolic link written out in the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeSymlink {
    /// Where it stands.
    pub path: String,
    /// Where it leads.
    pub target: String,
}

impl Recipe {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Recipe`], [`Error::RecipeFormat`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::reading(path))?;
        Recipe::parse(&text)
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// [`Error::Recipe`], [`Error::RecipeFormat`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let recipe: Recipe = toml::from_str(text).map_err(Error::Recipe)?;
        if recipe.format != 1 {
            return Err(Error::RecipeFormat { found: recipe.format });
        }
        Ok(recipe)
    }

    /// Every package with its suite, in the order of use; the versioned kernel package is not among them.
    pub(crate) fn packages(&self) -> Vec<(&str, &str)> {
        let root = self.root.packages.iter().map(|name| (self.root.suite.as_str(), name.as_str()));
        [
            (self.firmware.suite.as_str(), self.firmware.package.as_str()),
            (self.kernel.suite.as_str(), self.kernel.package.as_str()),
        ]
        .into_iter()
        .chain(root)
        .collect()
    }
}
