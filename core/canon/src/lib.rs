//! One way to write each value down.
//!
//! Digests, signatures and seals are computed over bytes, so every value that is hashed, signed or
//! sent has exactly one encoding: deterministic CBOR (RFC 8949 §4.2.1), read back only if it is the
//! encoding this crate would have written. Byte strings with a meaning are types.
//!
//! ```
//! casemate_canon::byte_type! {
//!     /// What the hardware measured.
//!     pub struct Measurement([u8; 48]);
//! }
//!
//! let found = Measurement::from([7; 48]);
//! let bytes = casemate_canon::to_cbor(&found);
//! assert_eq!(casemate_canon::from_cbor::<Measurement>(&bytes, 64)?, found);
//! assert_eq!(found.short().to_string(), "070707..0707");
//! # Ok::<(), casemate_canon::Error>(())
//! ```
//!
//! It gives values no meaning: who checks a digest stands where the digest is used.
#![forbid(unsafe_code)]

mod bytes;
mod cbor;

pub use bytes::{ParseBytesError, Short};
pub use cbor::{Error, from_cbor, to_cbor};

#[doc(hidden)]
pub mod reexport {
    pub use hex;
    pub use minicbor;
    pub use serde;
}
