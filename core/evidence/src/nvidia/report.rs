//! What did an NVIDIA device answer?
//!
//! Source: DMTF DSP0274 1.1.0, "GET_MEASUREMENTS request message format" and "Successful MEASUREMENTS
//! response message format"; DSP0274 "DMTF measurement specification format". Numbers are little-endian.

use super::opaque::{Opaque, OpaqueError};
use crate::Measurement;
use crate::reader::{Reader, Truncated};

/// A request and the device's answer, well formed; nothing about its signature is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    bytes: Vec<u8>,
    nonce: [u8; 32],
    slot: u8,
    device_nonce: [u8; 32],
    measurements: Vec<(u8, Measurement)>,
    opaque: Opaque,
    signature: [u8; 96],
}

/// Why bytes are no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Longer than any in use.
    #[error("{found} bytes, a report has at most {maximum}", maximum = Report::MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// The bytes end within a field.
    #[error("the report {0}")]
    Truncated(#[from] Truncated),
    /// Another version of SPDM.
    #[error("the {message} is of SPDM version {found:#04x}, expected 0x11")]
    Version {
        /// Request or response.
        message: &'static str,
        /// Version found.
        found: u8,
    },
    /// Another message.
    #[error("the {message} has code {found:#04x}, expected {expected:#04x}")]
    Code {
        /// Request or response.
        message: &'static str,
        /// Code found.
        found: u8,
        /// Code of the message.
        expected: u8,
    },
    /// A request that does not ask for a signature.
    #[error("the request's attributes are {found:#04x}, expected 0x01: a signature is asked for")]
    NotSigned {
        /// Attributes.
        found: u8,
    },
    /// A request that does not ask for all measurements.
    #[error("the request asks for measurement {found:#04x}, expected 0xff: all of them")]
    NotAll {
        /// The operation.
        found: u8,
    },
    /// A slot that SPDM does not have.
    #[error("certificate slot {found}, expected 0 to 7")]
    Slot {
        /// Slot found.
        found: u8,
    },
    /// Parameters of the answer.
    #[error("parameters of the response are {found:02x?}, expected 00 and the slot {slot}")]
    Parameters {
        /// Both.
        found: [u8; 2],
        /// Slot of the request.
        slot: u8,
    },
    /// The count of blocks differs from their number.
    #[error("the response counts {stated} measurements and holds {found}")]
    Count {
        /// As stated.
        stated: u8,
        /// As found.
        found: usize,
    },
    /// Blocks are numbered upwards, each once, from 1.
    #[error("measurement {found} follows {previous}; they stand in ascending order, from 1")]
    Order {
        /// Index found.
        found: u8,
        /// Index before, or 0.
        previous: u8,
    },
    /// A measurement of another body than DMTF.
    #[error("measurement {index} is of specification {found:#04x}, expected 0x01 (DMTF)")]
    Specification {
        /// Index.
        index: u8,
        /// Specification found.
        found: u8,
    },
    /// A block whose lengths do not agree, or of no SHA-384.
    #[error("measurement {index} has lengths {block} and {value}, expected 51 and 48 (SHA-384)")]
    Length {
        /// Index.
        index: u8,
        /// Length of the block.
        block: u16,
        /// Length of the value.
        value: u16,
    },
    /// A raw bit stream, or a kind that DMTF does not define.
    #[error("measurement {index} is of kind {found:#04x}, expected a digest of kind 0 to 7")]
    Kind {
        /// Index.
        index: u8,
        /// Kind found.
        found: u8,
    },
    /// NVIDIA's own fields.
    #[error(transparent)]
    Opaque(#[from] OpaqueError),
    /// Bytes follow the signature.
    #[error("{found} bytes follow the signature; at most one zero may")]
    Trailing {
        /// How many.
        found: usize,
    },
}

impl Report {
    /// Greatest length accepted, in bytes; those in use have 4 kB.
    pub const MAXIMUM_LEN: usize = 64 * 1024;

    /// Length of the request, with which a report begins: header, nonce and slot.
    pub const REQUEST_LEN: usize = 4 + 32 + 1;

    /// Reads a report. One zero byte may follow it: tools hand it over as a text of C.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > Self::MAXIMUM_LEN {
            return Err(ReportError::TooLong { found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let (nonce, slot) = read_request(&mut reader)?;
        read_header(&mut reader, "response", MEASUREMENTS)?;
        let parameters: [u8; 2] = reader.array()?;
        if parameters != [0, slot] {
            return Err(ReportError::Parameters { found: parameters, slot });
        }
        let count = reader.u8()?;
        let [low, middle, high] = reader.array()?;
        let record = reader.take(u32::from_le_bytes([low, middle, high, 0]) as usize)?;
        let measurements = read_measurements(record)?;
        if measurements.len() != usize::from(count) {
            return Err(ReportError::Count { stated: count, found: measurements.len() });
        }
        let device_nonce = reader.array()?;
        let length = reader.u16_le()?;
        let opaque = Opaque::parse(reader.take(usize::from(length))?)?;
        let signature = reader.array()?;
        let end = reader.position();
        match reader.rest() {
            [] | [0] => {}
            rest => return Err(ReportError::Trailing { found: rest.len() }),
        }
        let bytes = bytes[..end].to_vec();
        Ok(Self { bytes, nonce, slot, device_nonce, measurements, opaque, signature })
    }

    /// The report's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the signature covers: the request, and the answer up to the signature.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - self.signature.len()]
    }

    /// ECDSA on P-384 over SHA-384: r, then s, big-endian.
    pub fn signature(&self) -> &[u8; 96] {
        &self.signature
    }

    /// What the asker chose.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// What the device chose.
    pub fn device_nonce(&self) -> &[u8; 32] {
        &self.device_nonce
    }

    /// Which of the device's certificate chains.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// The measurements by index, which begins with 1.
    pub fn measurements(&self) -> &[(u8, Measurement)] {
        &self.measurements
    }

    /// The measurement of an index, which begins with 1.
    pub fn measurement(&self, index: u8) -> Option<&Measurement> {
        self.measurements.iter().find_map(|(found, value)| (*found == index).then_some(value))
    }

    /// What the device says besides.
    pub fn opaque(&self) -> &Opaque {
        &self.opaque
    }
}

/// Nonce and slot.
fn read_request(reader: &mut Reader) -> Result<([u8; 32], u8), ReportError> {
    read_header(reader, "request", GET_MEASUREMENTS)?;
    match reader.u8()? {
        SIGNATURE_REQUESTED => {}
        found => return Err(ReportError::NotSigned { found }),
    }
    match reader.u8()? {
        ALL_MEASUREMENTS => {}
        found => return Err(ReportError::NotAll { found }),
    }
    let nonce = reader.array()?;
    match reader.u8()? {
        slot @ 0..=7 => Ok((nonce, slot)),
        found => Err(ReportError::Slot { found }),
    }
}

fn read_header(reader: &mut Reader, message: &'static str, code: u8) -> Result<(), ReportError> {
    match reader.u8()? {
        SPDM_1_1 => {}
        found => return Err(ReportError::Version { message, found }),
    }
    match reader.u8()? {
        found if found == code => Ok(()),
        found => Err(ReportError::Code { message, found, expected: code }),
    }
}

fn read_measurements(record: &[u8]) -> Result<Vec<(u8, Measurement)>, ReportError> {
    let mut reader = Reader::new(record);
    let mut measurements = Vec::new();
    let mut previous = 0;
    while !reader.is_at_end() {
        let (index, specification) = (reader.u8()?, reader.u8()?);
        if index <= previous {
            return Err(ReportError::Order { found: index, previous });
        }
        if specification != DMTF {
            return Err(ReportError::Specification { index, found: specification });
        }
        let block = reader.u16_le()?;
        let (kind, value) = (reader.u8()?, reader.u16_le()?);
        if (block, value) != (51, 48) {
            return Err(ReportError::Length { index, block, value });
        }
        if kind > 7 {
            return Err(ReportError::Kind { index, found: kind });
        }
        measurements.push((index, reader.array::<48>()?.into()));
        previous = index;
    }
    Ok(measurements)
}

pub(super) const SPDM_1_1: u8 = 0x11;
pub(super) const GET_MEASUREMENTS: u8 = 0xE0;
pub(super) const MEASUREMENTS: u8 = 0x60;
pub(super) const SIGNATURE_REQUESTED: u8 = 1;
pub(super) const ALL_MEASUREMENTS: u8 = 0xFF;
pub(super) const DMTF: u8 = 1;
