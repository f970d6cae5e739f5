//! Which bits did the guest's owner, the platform and the signer set?

use serde::Serialize;

/// POLICY: what the hypervisor asked for at launch and the firmware enforces (AMD 56860 §4.3, Guest
/// Policy). 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GuestPolicy(u64);

/// Why 64 bits are no guest policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyBitsError {
    /// Bit 17 is reserved and must be one.
    #[error("guest policy {found:#x} has bit 17 clear, but firmware requires it set; no firmware signs this")]
    ReservedOneClear {
        /// The 64 bits.
        found: u64,
    },
    /// Bits 26 to 63 are reserved and must be zero.
    #[error(
        "guest policy {found:#x} sets reserved bits (26 to 63); update Casemate if newer firmware defines them"
    )]
    ReservedSet {
        /// The 64 bits.
        found: u64,
    },
}

impl GuestPolicy {
    const RESERVED_ONE: u64 = 1 << 17;
    const DEFINED: u64 = (1 << 26) - 1;

    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyBitsError`], for reserved bits with the wrong value.
    pub const fn from_bits(bits: u64) -> Result<Self, PolicyBitsError> {
        if bits & Self::RESERVED_ONE == 0 {
            return Err(PolicyBitsError::ReservedOneClear { found: bits });
        }
        if bits & !Self::DEFINED != 0 {
            return Err(PolicyBitsError::ReservedSet { found: bits });
        }
        Ok(Self(bits))
    }

    /// The strictest common policy: ABI 0.0, SMT allowed, nothing else (0x30000).
    pub const fn confidential() -> Self {
        Self(Self::RESERVED_ONE | 1 << 16)
    }

    /// All 64 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// ABI_MINOR: the minimum ABI minor version.
    pub const fn abi_minor(self) -> u8 {
        self.0 as u8
    }

    /// ABI_MAJOR: the minimum ABI major version.
    pub const fn abi_major(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// SMT: the guest may run while simultaneous multithreading is on.
    pub const fn smt(self) -> bool {
        self.bit(16)
    }

    /// MIGRATE_MA: a migration agent may be associated and move the guest.
    pub const fn migrate_ma(self) -> bool {
        self.bit(18)
    }

    /// DEBUG: the host may read and write the guest's memory.
    pub const fn debug(self) -> bool {
        self.bit(19)
    }

    /// SINGLE_SOCKET: the guest may run on one socket only.
    pub const fn single_socket(self) -> bool {
        self.bit(20)
    }

    /// CXL_ALLOW: CXL devices or memory may be populated.
    pub const fn cxl_allow(self) -> bool {
        self.bit(21)
    }

    /// MEM_AES_256_XTS: memory encryption must be AES-256-XTS.
    pub const fn mem_aes_256_xts(self) -> bool {
        self.bit(22)
    }

    /// RAPL_DIS: running average power limit must be disabled.
    pub const fn rapl_dis(self) -> bool {
        self.bit(23)
    }

    /// CIPHERTEXT_HIDING_DRAM: ciphertext hiding must be enabled.
    pub const fn ciphertext_hiding(self) -> bool {
        self.bit(24)
    }

    /// PAGE_SWAP_DISABLE: the page move and swap commands are refused for this guest.
    pub const fn page_swap_disable(self) -> bool {
        self.bit(25)
    }

    const fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }
}

impl std::fmt::Debug for GuestPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GuestPolicy({:#x})", self.0)
    }
}

/// PLATFORM_INFO: how the machine is configured (AMD 56860 §7.3, ATTESTATION_REPORT). 64 bits.
///
/// Undefined bits are kept and not refused: firmware sets bits before a published revision defines
/// them, as bit 6 on Turin.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlatformInfo(u64);

impl PlatformInfo {
    /// Reads the field; every value is possible.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// All 64 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// SMT_EN: simultaneous multithreading is on.
    pub const fn smt_enabled(self) -> bool {
        self.bit(0)
    }

    /// TSME_EN: transparent memory encryption is on.
    pub const fn tsme_enabled(self) -> bool {
        self.bit(1)
    }

    /// ECC_EN: memory has error correction.
    pub const fn ecc_enabled(self) -> bool {
        self.bit(2)
    }

    /// RAPL_DIS: running average power limit is disabled.
    pub const fn rapl_disabled(self) -> bool {
        self.bit(3)
    }

    /// CIPHERTEXT_HIDING_DRAM_EN: the host cannot read ciphertext of guest memory.
    pub const fn ciphertext_hiding_enabled(self) -> bool {
        self.bit(4)
    }

    /// ALIAS_CHECK_COMPLETE: memory aliasing was looked for since reset and none exists (AMD-SB-3015,
    /// BadRAM). Firmware that predates the bit reports 0.
    pub const fn alias_check_complete(self) -> bool {
        self.bit(5)
    }

    /// IOMMU_WRITE_SAFE: the IOMMU cannot write memory of guests past the RMP check. Bit 6 is not in
    /// 56860 revision 1.58; AMD-SB-3016 introduces it. Firmware that predates the bit reports 0.
    pub const fn iommu_write_safe(self) -> bool {
        self.bit(6)
    }

    /// TIO_EN: SEV-TIO (trusted devices) is enabled.
    pub const fn tio_enabled(self) -> bool {
        self.bit(7)
    }

    const fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }
}

impl std::fmt::Debug for PlatformInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlatformInfo({:#x})", self.0)
    }
}

/// Which kind of key signs (SIGNING_KEY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum SigningKeyKind {
    /// Versioned chip endorsement key: derived from one chip's secret and its TCB version.
    #[serde(rename = "VCEK")]
    Vcek,
    /// Versioned loaded endorsement key: issued to a cloud provider, shared between its chips.
    #[serde(rename = "VLEK")]
    Vlek,
    /// The report is not signed.
    #[serde(rename = "none")]
    None,
}

impl SigningKeyKind {
    /// The name as AMD spells it.
    pub const fn name(self) -> &'static str {
        match self {
            SigningKeyKind::Vcek => "VCEK",
            SigningKeyKind::Vlek => "VLEK",
            SigningKeyKind::None => "none",
        }
    }
}

/// The flags at offset 0x48: who signs, and what is masked (AMD 56860 §7.3, ATTESTATION_REPORT). 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyInfo(u32);

/// Why 32 bits are no key information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagsError {
    /// Bits 5 to 31 are reserved and must be zero.
    #[error("flags {found:#x} set reserved bits (5 to 31); update Casemate if newer firmware defines them")]
    ReservedSet {
        /// The 32 bits.
        found: u32,
    },
    /// SIGNING_KEY holds a value without a meaning.
    #[error("SIGNING_KEY is {found}, expected 0 (VCEK), 1 (VLEK) or 7 (none)")]
    UnknownSigningKey {
        /// The 3-bit value.
        found: u32,
    },
}

impl KeyInfo {
    /// Reads the flags.
    ///
    /// # Errors
    /// [`FlagsError`].
    pub const fn from_bits(bits: u32) -> Result<Self, FlagsError> {
        if bits >> 5 != 0 {
            return Err(FlagsError::ReservedSet { found: bits });
        }
        match bits >> 2 {
            0 | 1 | 7 => Ok(Self(bits)),
            found => Err(FlagsError::UnknownSigningKey { found }),
        }
    }

    /// All 32 bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// AUTHOR_KEY_EN: AUTHOR_KEY_DIGEST holds a digest.
    pub const fn author_key_enabled(self) -> bool {
        self.0 & 1 == 1
    }

    /// MASK_CHIP_KEY: the firmware wrote zeros instead of a signature.
    pub const fn mask_chip_key(self) -> bool {
        self.0 >> 1 & 1 == 1
    }

    /// SIGNING_KEY.
    pub const fn signing_key(self) -> SigningKeyKind {
        match self.0 >> 2 {
            0 => SigningKeyKind::Vcek,
            1 => SigningKeyKind::Vlek,
            _ => SigningKeyKind::None, // 7, by construction
        }
    }
}

impl std::fmt::Debug for KeyInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyInfo({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_policy_bits_are_refused_one_by_one() {
        assert_eq!(
            GuestPolicy::from_bits(0x10000),
            Err(PolicyBitsError::ReservedOneClear { found: 0x10000 })
        );
        for bit in 26..64 {
            let bits = 0x30000 | 1 << bit;
            assert_eq!(GuestPolicy::from_bits(bits), Err(PolicyBitsError::ReservedSet { found: bits }));
        }
    }

    #[test]
    fn each_policy_bit_has_one_name() {
        let named = |bit: u32| {
            let policy = GuestPolicy::from_bits(1 << 17 | 1 << bit).unwrap();
            [
                policy.smt(),
                policy.migrate_ma(),
                policy.debug(),
                policy.single_socket(),
                policy.cxl_allow(),
                policy.mem_aes_256_xts(),
                policy.rapl_dis(),
                policy.ciphertext_hiding(),
                policy.page_swap_disable(),
            ]
        };
        for (index, bit) in [16, 18, 19, 20, 21, 22, 23, 24, 25].into_iter().enumerate() {
            let mut expected = [false; 9];
            expected[index] = true;
            assert_eq!(named(bit), expected, "bit {bit}");
        }
    }

    #[test]
    fn reserved_flags_and_unknown_signing_keys_are_refused() {
        for bit in 5..32 {
            assert_eq!(KeyInfo::from_bits(1 << bit), Err(FlagsError::ReservedSet { found: 1 << bit }));
        }
        for value in 2..=6 {
            assert_eq!(KeyInfo::from_bits(value << 2), Err(FlagsError::UnknownSigningKey { found: value }));
        }
        assert_eq!(KeyInfo::from_bits(7 << 2).unwrap().signing_key(), SigningKeyKind::None);
    }
}
