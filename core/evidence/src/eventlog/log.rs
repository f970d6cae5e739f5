//! Which events, in which order, and where does the log end?

use super::event::{Event, EventDigest, EventType, algorithm_of};
use crate::reader::{Reader, Truncated};

/// An event log, well formed; it proves nothing until it replays to registers that somebody signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    /// Whose registers it speaks of.
    pub kind: LogKind,
    /// Which format, by its first event.
    pub format: Format,
    /// The events in their order, the header of a crypto-agile log among them.
    pub events: Vec<Event>,
    /// Bytes that hold events.
    pub used: usize,
    /// What follows them.
    pub end: LogEnd,
}

/// Whose registers the log speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// PCRs of a TPM.
    Tpm,
    /// Measurement registers of a confidential guest: 1 to 4 stand for RTMR 0 to 3.
    Ccel,
}

/// Which format the events have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// TCG_PCClientPCREvent: one SHA-1 digest each (TPM 1.2, and firmware that still writes it).
    Sha1,
    /// TCG_PCR_EVENT2, behind a header that lists the banks.
    CryptoAgile(SpecId),
}

/// TCG_EfiSpecIDEvent (PFP §10.4.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecId {
    /// platformClass: 0 client, 1 server.
    pub platform_class: u32,
    /// specVersionMajor.specVersionMinor, and specErrata.
    pub version: (u8, u8, u8),
    /// uintnSize: 1 for 32 bits, 2 for 64.
    pub uintn_size: u8,
    /// The banks, each once.
    pub banks: Vec<Bank>,
    /// vendorInfo, as far as it lies in the event: some firmware counts it in the header and not in the
    /// event's size.
    pub vendor_info: Vec<u8>,
    /// vendorInfoSize.
    pub vendor_info_size: u8,
}

/// A bank that the log has digests for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bank {
    /// TPM_ALG_ID.
    pub algorithm: u16,
    /// Length of its digests in bytes.
    pub digest_len: u16,
}

/// What follows the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEnd {
    /// Nothing.
    Exact,
    /// The rest of the memory that holds the log, all 0xFF or all 0x00.
    Padding {
        /// How many bytes.
        len: usize,
        /// Which byte.
        byte: u8,
    },
    /// Fewer bytes than any event has: the log was cut, or is followed by what is none.
    Fragment {
        /// How many bytes.
        len: usize,
    },
}

/// Why bytes are no event log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Larger than any log.
    #[error("{found} bytes, at most {} are accepted", EventLog::MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// More events than any boot has.
    #[error("more than {} events", EventLog::MAXIMUM_EVENTS)]
    TooManyEvents,
    /// Not one event.
    #[error("no event at all; is this an event log?")]
    Empty,
    /// An event ends after the log does.
    #[error("event {event}: {source}")]
    Truncated {
        /// Number of the event, from 0.
        event: usize,
        /// Where.
        source: Truncated,
    },
    /// A register that does not exist.
    #[error("event {event} extends register {found}, expected {expected}")]
    Register {
        /// Number of the event.
        event: usize,
        /// Its register.
        found: u32,
        /// What exists.
        expected: &'static str,
    },
    /// Another number of digests than the header lists banks.
    #[error("event {event} has {found} digests, the header lists {expected} banks")]
    DigestCount {
        /// Number of the event.
        event: usize,
        /// Its digests.
        found: u32,
        /// Banks in the header.
        expected: usize,
    },
    /// A digest for a bank that the header does not list.
    #[error("event {event} has a digest of algorithm {found:#06x}, which the header does not list")]
    UnknownBank {
        /// Number of the event.
        event: usize,
        /// TPM_ALG_ID.
        found: u16,
    },
    /// Two digests for one bank.
    #[error("event {event} has two digests of algorithm {found:#06x}")]
    DuplicateDigest {
        /// Number of the event.
        event: usize,
        /// TPM_ALG_ID.
        found: u16,
    },
    /// The header lists no bank, or more than TPMs have.
    #[error("the header lists {found} banks, expected 1 to {}", SpecId::MAXIMUM_BANKS)]
    BankCount {
        /// Number of banks.
        found: u32,
    },
    /// The header lists a bank twice.
    #[error("the header lists algorithm {found:#06x} twice")]
    DuplicateBank {
        /// TPM_ALG_ID.
        found: u16,
    },
    /// The header gives a known hash function digests of another length.
    #[error("the header gives algorithm {algorithm:#06x} digests of {found} bytes")]
    DigestLength {
        /// TPM_ALG_ID.
        algorithm: u16,
        /// digestSize.
        found: u16,
    },
    /// A log of a confidential guest in the format of TPM 1.2.
    #[error("a CCEL begins with the header of a crypto-agile log, this one does not")]
    NotCryptoAgile,
    /// The header's event has a digest, although nothing is extended for it.
    #[error("the header's digest is not zero")]
    HeaderDigest,
    /// The header's event holds more than the header.
    #[error("{found} bytes follow the vendor information in the header")]
    HeaderTrailing {
        /// How many.
        found: usize,
    },
}

impl SpecId {
    /// Greatest number of banks accepted.
    pub const MAXIMUM_BANKS: u32 = 16;

    /// PFP §10.4.5.1.
    pub(super) const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
}

impl EventLog {
    /// Greatest length accepted, in bytes.
    pub const MAXIMUM_LEN: usize = 4 * 1024 * 1024;
    /// Greatest number of events accepted.
    pub const MAXIMUM_EVENTS: usize = 16 * 1024;

    /// Reads the log of a TPM, in either format.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        Self::read(bytes, LogKind::Tpm)
    }

    /// Reads the log of a confidential guest: the memory that its CCEL table names, whole or cut.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn parse_ccel(bytes: &[u8]) -> Result<Self, LogError> {
        Self::read(bytes, LogKind::Ccel)
    }

    /// TPM_ALG_ID of each bank.
    pub fn banks(&self) -> Vec<Bank> {
        match &self.format {
            Format::Sha1 => vec![SHA1_BANK],
            Format::CryptoAgile(header) => header.banks.clone(),
        }
    }

    fn read(bytes: &[u8], kind: LogKind) -> Result<Self, LogError> {
        if bytes.len() > Self::MAXIMUM_LEN {
            return Err(LogError::TooLong { found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let first =
            read_sha1_event(&mut reader).map_err(|source| LogError::Truncated { event: 0, source })?;
        let header = SpecId::read(&first)?;
        let (format, smallest) = match header {
            Some(header) => {
                let digests: usize = header.banks.iter().map(|bank| 2 + usize::from(bank.digest_len)).sum();
                (Format::CryptoAgile(header), 4 + 4 + 4 + digests + 4)
            }
            None if kind == LogKind::Ccel => return Err(LogError::NotCryptoAgile),
            None => (Format::Sha1, SHA1_EVENT_LEN),
        };
        let mut events = vec![first];
        if format == Format::Sha1 {
            check_register(0, &events[0], kind)?;
        } else {
            // PFP §10.4.5.1: the digest is 20 zeros, and extended nowhere.
            let header = events[0].digests.drain(..);
            if header.into_iter().any(|digest| digest.bytes != [0; 20]) {
                return Err(LogError::HeaderDigest);
            }
        }
        let end = loop {
            if let Some(end) = end_of_log(reader.rest(), smallest) {
                break end;
            }
            let event = events.len();
            if event == Self::MAXIMUM_EVENTS {
                return Err(LogError::TooManyEvents);
            }
            let next = match &format {
                Format::Sha1 => {
                    read_sha1_event(&mut reader).map_err(|source| LogError::Truncated { event, source })?
                }
                Format::CryptoAgile(header) => read_event(&mut reader, event, &header.banks)?,
            };
            check_register(event, &next, kind)?;
            events.push(next);
        };
        Ok(Self { kind, format, events, used: reader.position(), end })
    }
}

/// What `rest` is, if it holds no further event. `smallest` is the length of an event without data.
fn end_of_log(rest: &[u8], smallest: usize) -> Option<LogEnd> {
    let Some(&byte) = rest.first() else { return Some(LogEnd::Exact) };
    let len = rest.len();
    // 0xFFFFFFFF is no register, and an event of zeros has no digest: neither begins an event.
    if [0x00, 0xFF].contains(&byte) && rest.iter().all(|other| *other == byte) {
        return Some(LogEnd::Padding { len, byte });
    }
    (len < smallest).then_some(LogEnd::Fragment { len })
}

/// Events that extend nothing name any register (PFP §10.4.1: since 1.06, 0xFFFFFFFF).
fn check_register(number: usize, event: &Event, kind: LogKind) -> Result<(), LogError> {
    let (known, expected) = match kind {
        LogKind::Tpm => (0..=23, "a PCR, 0 to 23"),
        LogKind::Ccel => (1..=4, "1 to 4, for RTMR 0 to 3"),
    };
    if event.kind == EventType::NO_ACTION || known.contains(&event.register) {
        Ok(())
    } else {
        Err(LogError::Register { event: number, found: event.register, expected })
    }
}

/// TCG_PCClientPCREvent.
fn read_sha1_event(reader: &mut Reader<'_>) -> Result<Event, Truncated> {
    let offset = reader.position();
    let register = reader.u32_le()?;
    let kind = EventType(reader.u32_le()?);
    let digest = reader.take(20)?.to_vec();
    let data = read_data(reader)?;
    let digests = vec![EventDigest { algorithm: SHA1_BANK.algorithm, bytes: digest }];
    Ok(Event { offset, register, kind, digests, data })
}

/// TCG_PCR_EVENT2: exactly one digest per bank, in any order.
fn read_event(reader: &mut Reader<'_>, event: usize, banks: &[Bank]) -> Result<Event, LogError> {
    let truncated = |source| LogError::Truncated { event, source };
    let offset = reader.position();
    let register = reader.u32_le().map_err(truncated)?;
    let kind = EventType(reader.u32_le().map_err(truncated)?);
    let found = reader.u32_le().map_err(truncated)?;
    if usize::try_from(found) != Ok(banks.len()) {
        return Err(LogError::DigestCount { event, found, expected: banks.len() });
    }
    let mut digests: Vec<EventDigest> = Vec::with_capacity(banks.len());
    for _ in banks {
        let found = reader.u16_le().map_err(truncated)?;
        let bank = banks.iter().find(|bank| bank.algorithm == found);
        let bank = bank.ok_or(LogError::UnknownBank { event, found })?;
        if digests.iter().any(|earlier| earlier.algorithm == found) {
            return Err(LogError::DuplicateDigest { event, found });
        }
        let bytes = reader.take(bank.digest_len.into()).map_err(truncated)?.to_vec();
        digests.push(EventDigest { algorithm: found, bytes });
    }
    let data = read_data(reader).map_err(truncated)?;
    Ok(Event { offset, register, kind, digests, data })
}

fn read_data(reader: &mut Reader<'_>) -> Result<Vec<u8>, Truncated> {
    let len = reader.u32_le()?;
    Ok(reader.take(usize::try_from(len).unwrap_or(usize::MAX))?.to_vec())
}

impl SpecId {
    /// The header, if the first event is one.
    fn read(first: &Event) -> Result<Option<Self>, LogError> {
        let Some(rest) = first.data.strip_prefix(Self::SIGNATURE) else { return Ok(None) };
        if first.kind != EventType::NO_ACTION {
            return Ok(None);
        }
        let truncated = |source| LogError::Truncated { event: 0, source };
        let mut reader = Reader::new(rest);
        let platform_class = reader.u32_le().map_err(truncated)?;
        let [minor, major, errata, uintn_size] = reader.array().map_err(truncated)?;
        let found = reader.u32_le().map_err(truncated)?;
        if !(1..=Self::MAXIMUM_BANKS).contains(&found) {
            return Err(LogError::BankCount { found });
        }
        let mut banks: Vec<Bank> = Vec::new();
        for _ in 0..found {
            let algorithm = reader.u16_le().map_err(truncated)?;
            let digest_len = reader.u16_le().map_err(truncated)?;
            if banks.iter().any(|bank| bank.algorithm == algorithm) {
                return Err(LogError::DuplicateBank { found: algorithm });
            }
            let expected = algorithm_of(algorithm).map(|known| known.digest_len());
            if expected.is_some_and(|expected| expected != usize::from(digest_len)) {
                return Err(LogError::DigestLength { algorithm, found: digest_len });
            }
            banks.push(Bank { algorithm, digest_len });
        }
        let vendor_info_size = reader.u8().map_err(truncated)?;
        let vendor_info = reader.rest().to_vec();
        match vendor_info.len().checked_sub(vendor_info_size.into()) {
            Some(0) => {}
            // Counted in the header, left out of the event.
            None if vendor_info.is_empty() => {}
            Some(found) => return Err(LogError::HeaderTrailing { found }),
            None => {
                let (offset, needed) = (reader.position(), vendor_info_size.into());
                let source = Truncated { offset, needed, left: vendor_info.len() };
                return Err(truncated(source));
            }
        }
        let version = (major, minor, errata);
        Ok(Some(Self { platform_class, version, uintn_size, banks, vendor_info, vendor_info_size }))
    }
}

const SHA1_BANK: Bank = Bank { algorithm: 0x0004, digest_len: 20 };
const SHA1_EVENT_LEN: usize = 4 + 4 + 20 + 4;
