//! What do the structures say that a TPM 2.0 signed?
//!
//! Source: TCG "Trusted Platform Module Library", Part 2 (Structures), version 1.59 (ISO/IEC 11889-2),
//! called TPM2 Part 2 below; numbers are big-endian. Certificates: TCG "EK Credential Profile for TPM
//! Family 2.0", level 0, version 2.5. Why these structures are read here and not by a library:
//! `docs/decisions/0007-reading-tpm-structures.md`.

mod attest;
mod certificate;
mod error;
mod pcr;
mod public;
mod signature;
mod tools;

pub use attest::{Attest, AttestType, Attested, ClockInfo};
pub use certificate::{CertificateError, KeyUse, TcgCertificate, TpmIdentity};
pub use error::TpmError;
pub use pcr::{PcrSelection, PcrValues, PcrValuesError};
pub use public::{Name, ObjectAttributes, Public, Scheme, UniqueKey, qualified_name};
pub use signature::Signature;
pub use tools::{PcrFileError, read_pcr_file, read_pcr_json};

/// Greatest number of PCRs that any selection names: 24 in every TPM of a PC (TCG PC Client Platform TPM
/// Profile, 3.8 "PCR attributes"), and up to 32 by the size of the bitmap that is accepted here.
pub const PCR_COUNT: u8 = 32;
