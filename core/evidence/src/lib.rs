//! What do the bytes say?
//!
//! Parsers of evidence and of the certificates that endorse it. Each takes bytes from an adversary and
//! returns every field, or the reason why it is not that kind of evidence.
//!
//! ```
//! use casemate_evidence::snp;
//!
//! let nothing = [0; 100];
//! assert_eq!(snp::Report::parse(&nothing), Err(snp::ReportError::Length { found: 100 }));
//! ```
//!
//! Parsing proves nothing: who signed the bytes, and whether that is good enough, is asked in
//! `casemate_verify`. Each kind of evidence is a module. `intel` reads the quotes in
//! which `sgx` and `tdx` reports come; else no module knows another.
#![forbid(unsafe_code)]

pub mod azure;
pub mod bundle;
pub mod eventlog;
pub mod gcp;
pub mod ima;
pub mod intel;
pub mod nitro;
pub mod nvidia;
pub mod sgx;
pub mod snp;
pub mod tdx;
pub mod tpm;
pub mod x509;

mod reader;

pub use reader::Truncated;

casemate_canon::byte_type! {
    /// What the hardware measured at launch: 48 bytes, a SHA-384 chain on SNP and TDX.
    pub struct Measurement([u8; 48]);
}

casemate_canon::byte_type! {
    /// 64 bytes that the guest chose when it asked for the evidence.
    ///
    /// Signed, but proves freshness only if it commits to the Verifier's nonce.
    pub struct ReportData([u8; 64]);
}

casemate_canon::byte_type! {
    /// 32 bytes that the host chose at launch and the hardware recorded; Casemate puts the workload
    /// digest there.
    pub struct HostData([u8; 32]);
}

casemate_canon::byte_type! {
    /// Which chip: 64 bytes, of which Turin uses the first 8; all zero if the platform masks it.
    pub struct ChipId([u8; 64]);
}

impl ChipId {
    /// Whether the platform hides the chip (MASK_CHIP_ID, or a VLEK that is not bound to a chip).
    pub fn is_masked(&self) -> bool {
        self.as_bytes().iter().all(|byte| *byte == 0)
    }
}
