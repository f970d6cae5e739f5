//! Which bytes are this root filesystem, and which digest names them?
//!
//! Container layers (tar) are merged as the OCI image specification says, written as an uncompressed
//! erofs image by this crate's own writer, and covered by a dm-verity tree. The same layers give the
//! same bytes on every machine, so anybody can recompute the root hash that a manifest names. Nothing
//! is extracted: names, owners, modes and device numbers go from the archive into the image.
//!
//! ```
//! use casemate_rootfs::{Limits, Metadata, Tree, write_image};
//!
//! let mut tree = Tree::new(Limits::default());
//! tree.add_file(b"etc/hostname", Metadata::file(0o644), b"notes\n".to_vec())?;
//! let mut disk = Vec::new();
//! let image = write_image(&tree, &mut [std::io::empty()], &mut disk)?;
//! assert_eq!(disk.len() as u64, image.size_bytes);
//! println!("{} over {} blocks", image.root_hash, image.data_blocks);
//! # Ok::<(), casemate_rootfs::Error>(())
//! ```
//!
//! It does not say whether a layer is the one that was asked for: compare its digest first. It does
//! not compress, decompress or fetch. Decisions: `docs/decisions/0002-erofs-writer.md`.
#![forbid(unsafe_code)]

pub mod cpio;
mod erofs;
mod error;
mod image;
mod layer;
mod path;
mod tree;
pub mod verity;

pub use error::{Error, PathProblem};
pub use image::{Image, write_image};
pub use layer::identity;
pub use tree::{Content, Kind, Limits, Metadata, Tree};
