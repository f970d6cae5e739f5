//! With which mathematics?
//!
//! Hashing, key derivation and sealing are RustCrypto everywhere. Signatures, where speed counts,
//! go through the small [`Provider`] trait: AWS-LC natively, RustCrypto for the guest, wasm32 and
//! contracts. Both pass the same tests, and which one runs never changes an answer.
//!
//! It knows no protocol: what is signed, derived or sealed, and for whom, stands in the crates that ask.
#![forbid(unsafe_code)]

pub mod hash;
