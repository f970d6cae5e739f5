//! Intel DCAP: quotes, the certificates of the keys that sign them, and Intel's judgement of platforms.
//!
//! One container serves SGX and TDX: [`Quote`]. Sources: "Intel TDX DCAP Quoting Library API" (quotes of
//! version 4 and 5), "Intel SGX ECDSA QuoteGenReference" (version 3), "SGX PCK Certificate and CRL Profile
//! Specification" 1.4, and the Provisioning Certification Service API, version 4 (TCB info, enclave
//! identities).

mod builder;
pub(crate) mod bytes;
mod enclave_identity;
mod evaluation_numbers;
mod json;
mod pck;
mod quote;
mod tcb_info;

pub use builder::{CollateralBuilder, LevelBuilder, ModuleBuilder, QuoteBuilder, pck_extension};
pub use enclave_identity::{EnclaveIdentity, EnclaveKind, EnclaveLevel, Masked};
pub use evaluation_numbers::{EvaluationNumber, EvaluationNumbers};
pub use json::CollateralError;
pub use pck::{Fmspc, Pck, PckConfiguration, PckError, PlatformTcb, Ppid, SgxType};
pub use quote::{
    Body, Certification, ENCLAVE_QUOTE_KEY_TYPE, INTEL_QE_VENDOR, PckName, Quote, QuoteError, QuoteSignature,
    QuoteVersion,
};
pub use tcb_info::{ModuleIdentity, TcbInfo, TcbLevel, TcbStatus, TdxModule, Tee};
