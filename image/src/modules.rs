//! Which kernel modules are loaded, and in which order?
//!
//! The order comes from `depends=` in the modules themselves, so neither depmod nor modprobe is needed,
//! here or in the guest. Soft dependencies are not followed: the recipe names those it wants.

use std::collections::BTreeMap;

use casemate_rootfs::Tree;

use crate::{Error, deb, elf, root::Packages};

/// A module ready to load.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// File name without folder, uncompressed: `dm-crypt.ko`.
    pub file: String,
    /// The object.
    pub bytes: Vec<u8>,
}

/// The modules of one kernel package.
pub(crate) struct Modules<'a> {
    packages: &'a mut Packages,
    /// Path in the package by module name, with `_` for `-`.
    paths: BTreeMap<String, Vec<u8>>,
}

impl<'a> Modules<'a> {
    /// Finds the modules under `lib/modules`.
    pub fn new(tree: &Tree, packages: &'a mut Packages) -> Self {
        let paths =
            tree.walk_all().into_iter().filter_map(|(path, ..)| Some((module_name(&path)?, path))).collect();
        Modules { packages, paths }
    }

    /// `wanted` in the given order, each after what it depends on; `loaded` are there already.
    pub fn in_order(
        &mut self,
        tree: &Tree,
        wanted: &[String],
        loaded: &[String],
    ) -> Result<Vec<(String, Module)>, Error> {
        let mut order = Vec::new();
        for name in wanted {
            self.visit(tree, &normal(name), loaded, &mut order, &mut Vec::new())?;
        }
        Ok(order)
    }

    fn visit(
        &mut self,
        tree: &Tree,
        name: &str,
        loaded: &[String],
        order: &mut Vec<(String, Module)>,
        path_here: &mut Vec<String>,
    ) -> Result<(), Error> {
        if loaded.iter().any(|known| known == name) || order.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        if path_here.iter().any(|open| open == name) {
            return Err(Error::ModuleLoop { name: name.into() });
        }
        let path = self.paths.get(name).ok_or_else(|| Error::MissingModule { name: name.into() })?;
        let path = String::from_utf8_lossy(path).into_owned();
        let bytes = self.packages.read(tree, &path)?;
        let bytes = deb::decompress(&path, &path, &bytes)?;
        path_here.push(name.to_owned());
        for dependency in elf::module_depends(&path, &bytes)? {
            self.visit(tree, &normal(&dependency), loaded, order, path_here)?;
        }
        path_here.pop();
        let file = path.rsplit('/').next().unwrap_or(&path);
        let file = file.find(".ko").map_or(file, |end| &file[..end + 3]).to_owned();
        order.push((name.to_owned(), Module { file, bytes }));
        Ok(())
    }
}

/// The kernel treats `-` and `_` in module names alike.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn module_name(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let file = path.contains("lib/modules/").then(|| path.rsplit('/').next())??;
    let end = file.find(".ko")?;
    matches!(&file[end..], ".ko" | ".ko.xz" | ".ko.zst" | ".ko.gz").then(|| normal(&file[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        let name = module_name(b"usr/lib/modules/6.12/kernel/drivers/md/dm-crypt.ko.xz");
        assert_eq!(name.as_deref(), Some("dm_crypt"));
        assert_eq!(module_name(b"usr/lib/modules/6.12/modules.order"), None);
        assert_eq!(module_name(b"usr/share/x.ko"), None);
    }
}
