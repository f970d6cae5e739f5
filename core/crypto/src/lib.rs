//! With which mathematics?
//!
//! Hashing, key derivation and sealing are RustCrypto everywhere. Signatures, where speed counts,
//! go through the small [`Provider`] trait: AWS-LC natively, RustCrypto for the guest, wasm32 and
//! contracts. Both pass the same tests, and which one runs never changes an answer.
//!
//! ```
//! use casemate_crypto::sign::SigningKey;
//!
//! let key = SigningKey::from_bytes(&[7; 32])?;
//! let signature = key.sign(b"a record");
//! key.public().verify(b"a record", &signature)?;
//! # Ok::<(), casemate_crypto::sign::Error>(())
//! ```
//!
//! It knows no protocol: what is signed, derived or sealed, and for whom, stands in the crates that ask.
#![forbid(unsafe_code)]

pub mod hash;
pub mod kdf;
pub mod seal;
pub mod secret;
pub mod sign;

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod provider;
mod rust_crypto;

#[cfg(feature = "aws-lc")]
pub use aws_lc::AwsLc;
pub use provider::{Curve, P384PublicKey, P384Signature, PreparedP384, Provider, PssSalt, provider};
pub use rust_crypto::RustCrypto;
