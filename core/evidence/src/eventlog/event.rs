//! What is one entry of the log?

use casemate_crypto::hash::HashAlgorithm;

use super::efi;

/// TCG_PCR_EVENT2, or TCG_PCClientPCREvent with its one digest (PFP §10.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it begins in the log.
    pub offset: usize,
    /// PCR, or the measurement register of a CCEL (1 to 4 for RTMR 0 to 3).
    pub register: u32,
    /// What kind of event.
    pub kind: EventType,
    /// What was extended, in each bank; empty for the header of a crypto-agile log.
    pub digests: Vec<EventDigest>,
    /// What the firmware says that it measured. Only what [`coverage`](Self::coverage) names is bound to the
    /// register.
    pub data: Vec<u8>,
}

/// A digest, by TPM_ALG_ID: banks of hash functions that Casemate does not know are kept, not replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDigest {
    /// TPM_ALG_ID.
    pub algorithm: u16,
    /// The digest.
    pub bytes: Vec<u8>,
}

/// TCG_EVENTTYPE (PFP §10.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(pub u32);

/// How much of an event's data its digest covers. What it does not cover, whoever handed over the log may
/// have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coverage {
    /// All of it.
    Whole,
    /// Of a variable, what it holds: neither its name nor its vendor.
    VariableContent,
    /// Of a text, what follows its first word: GRUB's commands without `grub_cmd: `.
    AfterPrefix,
    /// All but the last byte: the zero that ends a text, or the byte too many that shim logs.
    AllButLastByte,
    /// Of a tagged event, what the tag holds.
    TaggedContent,
    /// None of it: the digest is that of something else, such as a loaded image.
    Nothing,
}

macro_rules! event_types {
    ($($(#[$meta:meta])* $name:ident = $number:literal;)*) => {
        impl EventType {
            $($(#[$meta])* pub const $name: EventType = EventType($number);)*

            /// The name in the specification, as `EV_SEPARATOR`; `None` if it has none.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(concat!("EV_", stringify!($name))),)*
                    _ => None,
                }
            }
        }
    };
}

event_types! {
    /// Reserved for certificates before booting.
    PREBOOT_CERT = 0x0000_0000;
    /// Power-on self-test code.
    POST_CODE = 0x0000_0001;
    /// Reserved.
    UNUSED = 0x0000_0002;
    /// Extends nothing: information only.
    NO_ACTION = 0x0000_0003;
    /// The end of one stage, or an error.
    SEPARATOR = 0x0000_0004;
    /// A text that a BIOS measured.
    ACTION = 0x0000_0005;
    /// Content behind a tag.
    EVENT_TAG = 0x0000_0006;
    /// The static root of trust itself.
    S_CRTM_CONTENTS = 0x0000_0007;
    /// The version of the static root of trust.
    S_CRTM_VERSION = 0x0000_0008;
    /// Processor microcode.
    CPU_MICROCODE = 0x0000_0009;
    /// Configuration of the platform.
    PLATFORM_CONFIG_FLAGS = 0x0000_000A;
    /// Devices of the platform.
    TABLE_OF_DEVICES = 0x0000_000B;
    /// A hash made by who could not log more.
    COMPACT_HASH = 0x0000_000C;
    /// Initial program loader: what boot loaders and kernels measure.
    IPL = 0x0000_000D;
    /// Data of an initial program loader.
    IPL_PARTITION_DATA = 0x0000_000E;
    /// Code of a component that is not the host.
    NONHOST_CODE = 0x0000_000F;
    /// Configuration of a component that is not the host.
    NONHOST_CONFIG = 0x0000_0010;
    /// Information on a component that is not the host; on clouds, the technology of the guest.
    NONHOST_INFO = 0x0000_0011;
    /// Events that were left out.
    OMIT_BOOT_DEVICE_EVENTS = 0x0000_0012;
    /// Power-on self-test code, with a description.
    POST_CODE2 = 0x0000_0013;
    /// Base of the events of EFI.
    EFI_EVENT_BASE = 0x8000_0000;
    /// A variable that configures a driver: secure boot and its keys.
    EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001;
    /// A variable that says what is booted.
    EFI_VARIABLE_BOOT = 0x8000_0002;
    /// An application that was loaded.
    EFI_BOOT_SERVICES_APPLICATION = 0x8000_0003;
    /// A driver of boot services that was loaded: option ROMs.
    EFI_BOOT_SERVICES_DRIVER = 0x8000_0004;
    /// A driver of runtime services that was loaded.
    EFI_RUNTIME_SERVICES_DRIVER = 0x8000_0005;
    /// The partition table of the boot disk.
    EFI_GPT_EVENT = 0x8000_0006;
    /// A text that EFI firmware measured.
    EFI_ACTION = 0x8000_0007;
    /// Firmware: where it lies.
    EFI_PLATFORM_FIRMWARE_BLOB = 0x8000_0008;
    /// Tables that firmware hands over.
    EFI_HANDOFF_TABLES = 0x8000_0009;
    /// Firmware, with a description.
    EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000_000A;
    /// Tables that firmware hands over, with a description.
    EFI_HANDOFF_TABLES2 = 0x8000_000B;
    /// As [`EFI_VARIABLE_BOOT`](Self::EFI_VARIABLE_BOOT), digest over the content only.
    EFI_VARIABLE_BOOT2 = 0x8000_000C;
    /// The partition table, without what differs from disk to disk.
    EFI_GPT_EVENT2 = 0x8000_000D;
    /// A root of trust in hardware began the boot.
    EFI_HCRTM_EVENT = 0x8000_0010;
    /// The entry of a signature database that let an image start.
    EFI_VARIABLE_AUTHORITY = 0x8000_00E0;
    /// Firmware of a device, by SPDM.
    EFI_SPDM_FIRMWARE_BLOB = 0x8000_00E1;
    /// Configuration of a device, by SPDM.
    EFI_SPDM_FIRMWARE_CONFIG = 0x8000_00E2;
    /// Policy of devices, by SPDM.
    EFI_SPDM_DEVICE_POLICY = 0x8000_00E3;
    /// Authority of devices, by SPDM.
    EFI_SPDM_DEVICE_AUTHORITY = 0x8000_00E4;
}

impl Event {
    /// The digest in the bank of `algorithm`.
    pub fn digest(&self, algorithm: HashAlgorithm) -> Option<&[u8]> {
        let id = algorithm_id(algorithm);
        self.digests.iter().find(|digest| digest.algorithm == id).map(|digest| digest.bytes.as_slice())
    }

    /// How much of the data every digest of a known hash function covers; [`Coverage::Nothing`] if there is
    /// no such digest, or if two of them disagree.
    pub fn coverage(&self) -> Coverage {
        let mut known = self
            .digests
            .iter()
            .filter_map(|digest| Some((algorithm_of(digest.algorithm)?, digest.bytes.as_slice())))
            .map(|(algorithm, digest)| self.coverage_by(algorithm, digest));
        let Some(first) = known.next() else { return Coverage::Nothing };
        if known.all(|coverage| coverage == first) { first } else { Coverage::Nothing }
    }

    fn coverage_by(&self, algorithm: HashAlgorithm, digest: &[u8]) -> Coverage {
        let covers = |bytes: &[u8]| algorithm.digest(bytes).as_bytes() == digest;
        if covers(&self.data) {
            return Coverage::Whole;
        }
        let may_have_one_more =
            [EventType::IPL, EventType::ACTION, EventType::EFI_ACTION, EventType::EFI_VARIABLE_AUTHORITY];
        if let (true, Some((_, all_but_last))) =
            (may_have_one_more.contains(&self.kind), self.data.split_last())
            && covers(all_but_last)
        {
            return Coverage::AllButLastByte;
        }
        match self.kind {
            EventType::EFI_VARIABLE_DRIVER_CONFIG
            | EventType::EFI_VARIABLE_BOOT
            | EventType::EFI_VARIABLE_BOOT2
            | EventType::EFI_VARIABLE_AUTHORITY => match efi::variable_parts(&self.data) {
                Ok(parts) if covers(parts.content) => Coverage::VariableContent,
                _ => Coverage::Nothing,
            },
            EventType::EVENT_TAG => match tagged_content(&self.data) {
                Some(content) if covers(content) => Coverage::TaggedContent,
                _ => Coverage::Nothing,
            },
            EventType::IPL | EventType::ACTION | EventType::EFI_ACTION => {
                let text = self.data.strip_suffix(&[0]).unwrap_or(&self.data);
                // GRUB measures a command by itself and logs it as `grub_cmd: ...` (grub-core/commands/tpm.c).
                let after = text.windows(2).position(|pair| pair == b": ").map(|at| &text[at + 2..]);
                match after {
                    Some(content) if covers(content) => Coverage::AfterPrefix,
                    _ => Coverage::Nothing,
                }
            }
            _ => Coverage::Nothing,
        }
    }
}

impl std::fmt::Display for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// What follows tag and length of an EV_EVENT_TAG (TCG_PCClientTaggedEvent).
pub(super) fn tagged_content(data: &[u8]) -> Option<&[u8]> {
    let (header, content) = data.split_at_checked(8)?;
    let stated = u32::from_le_bytes(header[4..8].try_into().expect("8 bytes were split off"));
    (usize::try_from(stated).ok()? == content.len()).then_some(content)
}

/// TPM_ALG_ID (TPM2 Part 2 §6.3).
pub(super) fn algorithm_of(id: u16) -> Option<HashAlgorithm> {
    HashAlgorithm::ALL.into_iter().find(|algorithm| algorithm_id(*algorithm) == id)
}

pub(super) const fn algorithm_id(algorithm: HashAlgorithm) -> u16 {
    match algorithm {
        HashAlgorithm::Sha1 => 0x0004,
        HashAlgorithm::Sha256 => 0x000B,
        HashAlgorithm::Sha384 => 0x000C,
        HashAlgorithm::Sha512 => 0x000D,
    }
}
