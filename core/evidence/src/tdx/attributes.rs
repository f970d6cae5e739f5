//! How was this trust domain configured?
//!
//! Source: TDX Module 1.5 ABI Specification (348551), ATTRIBUTES and XFAM of TD_PARAMS.

use serde::{Serialize, Serializer};

/// ATTRIBUTES of a trust domain; only bits that the specification defines are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdAttributes(u64);

/// XFAM: which extended processor features the trust domain may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xfam(u64);

/// Bits that no known version of the TDX module defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "ATTRIBUTES {found:#018x} sets reserved bits {reserved:#x}; the TDX module may be newer: update Casemate"
)]
pub struct AttributesError {
    /// The field.
    pub found: u64,
    /// Which of its bits are reserved.
    pub reserved: u64,
}

macro_rules! bits {
    ($($(#[$meta:meta])* $name:ident = $bit:literal;)*) => {
        impl TdAttributes {
            const DEFINED: u64 = $(1 << $bit)|*;

            $($(#[$meta])*
            pub fn $name(self) -> bool {
                self.0 & 1 << $bit != 0
            })*
        }
    };
}

bits! {
    /// DEBUG: the host can read and change the trust domain.
    debug = 0;
    /// HGS_PLUS_PROF: hardware guided scheduling, which profiles the trust domain.
    hgs_plus_prof = 4;
    /// PERF_PROF: the host may profile with performance monitoring.
    perf_prof = 5;
    /// PMT_PROF: the host may profile with platform telemetry.
    pmt_prof = 6;
    /// ICSSD: the trust domain may use instruction-count based single-step defense.
    icssd = 16;
    /// LASS: linear address space separation is demanded.
    lass = 27;
    /// SEPT_VE_DISABLE: no exception when the host takes a page away, which a guest could be fooled with.
    sept_ve_disable = 28;
    /// MIGRATABLE: a migration service TD can move the trust domain to another machine.
    migratable = 29;
    /// PKS: supervisor protection keys.
    pks = 30;
    /// KL: key locker.
    key_locker = 31;
    /// TPA: the trust domain provides attestation to others.
    tpa = 62;
    /// PERFMON: performance monitoring inside the trust domain.
    perfmon = 63;
}

impl TdAttributes {
    /// Reads the field.
    ///
    /// # Errors
    /// [`AttributesError`] if reserved bits are set.
    pub const fn from_bits(bits: u64) -> Result<Self, AttributesError> {
        let reserved = bits & !Self::DEFINED;
        if reserved == 0 { Ok(Self(bits)) } else { Err(AttributesError { found: bits, reserved }) }
    }

    /// All bits.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl Xfam {
    /// Reads the field; any bit may be set, policies say which.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// All bits, numbered as in XCR0 and IA32_XSS.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl Serialize for TdAttributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#018x}", self.0))
    }
}

impl Serialize for Xfam {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#018x}", self.0))
    }
}
