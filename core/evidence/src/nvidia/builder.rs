//! How is a device's report written?
//!
//! The layout of [`Report`](super::Report), in the other direction, for tests and simulated devices. What it
//! builds is as good as the key that signs it.

use super::report::{ALL_MEASUREMENTS, DMTF, GET_MEASUREMENTS, MEASUREMENTS, SIGNATURE_REQUESTED, SPDM_1_1};
use crate::Measurement;

/// Every part of a report but its signature.
#[derive(Debug, Clone)]
pub struct ReportBuilder {
    /// Version of the request.
    pub request_version: u8,
    /// Code of the request.
    pub request_code: u8,
    /// Attributes of the request.
    pub attributes: u8,
    /// Which measurements are asked for.
    pub operation: u8,
    /// What the asker chose.
    pub nonce: [u8; 32],
    /// Which of the device's certificate chains.
    pub slot: u8,
    /// Version of the response.
    pub response_version: u8,
    /// Code of the response.
    pub response_code: u8,
    /// Parameters of the response.
    pub response_parameters: [u8; 2],
    /// Count of the blocks in place of their number.
    pub count: Option<u8>,
    /// Length of the blocks in place of the right one, in bytes.
    pub record_length: Option<u32>,
    /// The measurements.
    pub blocks: Vec<BlockBuilder>,
    /// What the device chose.
    pub device_nonce: [u8; 32],
    /// Length of the opaque data in place of the right one, in bytes.
    pub opaque_length: Option<u16>,
    /// NVIDIA's fields by kind.
    pub opaque: Vec<(u16, Vec<u8>)>,
}

/// A measurement.
#[derive(Debug, Clone)]
pub struct BlockBuilder {
    /// Index, from 1.
    pub index: u8,
    /// Whose specification.
    pub specification: u8,
    /// Length of what follows, in bytes.
    pub block_length: u16,
    /// Kind of the value.
    pub kind: u8,
    /// Length of the value, in bytes.
    pub value_length: u16,
    /// The value.
    pub value: Measurement,
}

impl ReportBuilder {
    /// An answer to `nonce` with these measurements from index 1 on.
    pub fn new(nonce: [u8; 32], measurements: &[Measurement]) -> Self {
        Self {
            request_version: SPDM_1_1,
            request_code: GET_MEASUREMENTS,
            attributes: SIGNATURE_REQUESTED,
            operation: ALL_MEASUREMENTS,
            nonce,
            slot: 0,
            response_version: SPDM_1_1,
            response_code: MEASUREMENTS,
            response_parameters: [0, 0],
            count: None,
            record_length: None,
            blocks: (1..).zip(measurements).map(|(index, value)| BlockBuilder::new(index, *value)).collect(),
            device_nonce: [0xD1; 32],
            opaque_length: None,
            opaque: Vec::new(),
        }
    }

    /// What the device signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.request_version, self.request_code, self.attributes, self.operation];
        bytes.extend(self.nonce);
        bytes.extend([self.slot, self.response_version, self.response_code]);
        bytes.extend(self.response_parameters);
        let record: Vec<u8> = self.blocks.iter().flat_map(BlockBuilder::to_bytes).collect();
        bytes.push(self.count.unwrap_or(self.blocks.len() as u8));
        bytes.extend(&self.record_length.unwrap_or(record.len() as u32).to_le_bytes()[..3]);
        bytes.extend(record);
        bytes.extend(self.device_nonce);
        let opaque: Vec<u8> = self
            .opaque
            .iter()
            .flat_map(|(kind, value)| {
                [&kind.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value].concat()
            })
            .collect();
        bytes.extend(self.opaque_length.unwrap_or(opaque.len() as u16).to_le_bytes());
        bytes.extend(opaque);
        bytes
    }

    /// The report with its signature: r, then s.
    pub fn finish(&self, signature: &[u8; 96]) -> Vec<u8> {
        [self.signed_bytes().as_slice(), signature].concat()
    }
}

impl BlockBuilder {
    /// A digest at an index.
    pub fn new(index: u8, value: Measurement) -> Self {
        Self { index, specification: DMTF, block_length: 51, kind: 1, value_length: 48, value }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.index, self.specification];
        bytes.extend(self.block_length.to_le_bytes());
        bytes.push(self.kind);
        bytes.extend(self.value_length.to_le_bytes());
        bytes.extend(self.value.as_bytes());
        bytes
    }
}
