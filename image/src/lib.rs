//! Which files does a guest boot from, and can anybody make them again?
//!
//! A recipe names Debian packages, the files kept from them and the kernel modules to load; a lock pins
//! each package by version and SHA-256. From both, and from the guest's own programs, [`build`] makes a
//! folder with firmware, kernel, initrd, root image and `image.toml`, byte for byte the same in every
//! place. It needs Debian's `apt` and `cargo`, no root rights, and runs no maintainer script.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use casemate_image::{BuildOptions, GuestPrograms, LockMode, Recipe, Silent, build};
//!
//! let workspace = Path::new(".");
//! let recipe = Recipe::read(&workspace.join("image/recipes/lite.toml"))?;
//! let options = BuildOptions {
//!     output: "out/image".into(),
//!     cache: "out/cache".into(),
//!     lock: workspace.join("image/image.lock"),
//!     lock_mode: LockMode::Enforced,
//!     programs: GuestPrograms::Build { workspace: workspace.into(), target: "target".into() },
//! };
//! let built = build(&recipe, &options, &mut Silent)?;
//! println!("{} {}", built.description.name, built.description.root_hash);
//! # Ok::<(), casemate_image::Error>(())
//! ```
//!
//! It does not measure: `casemate_measure::image` does, from what [`build`] wrote.
#![forbid(unsafe_code)]

mod apt;
mod build;
mod deb;
mod elf;
mod error;
mod initramfs;
mod lock;
mod modules;
pub mod oci;
mod programs;
mod progress;
mod recipe;
mod root;

pub use build::{BuildOptions, BuiltImage, build, lock, verify};
pub use error::Error;
pub use lock::{Difference, Lock, LockMode, LockedPackage};
pub use programs::{GuestPrograms, ProgramPaths, build_program};
pub use progress::{Progress, Silent, Step};
pub use recipe::{Recipe, RecipeFirmware, RecipeKernel, RecipeRoot};
