//! How is an enclave's report laid out?
//!
//! The layout of [`Report`], in the other direction: for the software TEE's Quoting Enclave and for tests.

use casemate_crypto::hash::Sha256;

use super::report::{Attributes, Report, at};
use crate::ReportData;

/// Every field of a report; meanings are those of [`Report`]'s methods.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // each field is documented at the method of the same name
pub struct ReportBuilder {
    pub cpu_svn: [u8; 16],
    pub misc_select: [u8; 4],
    pub isv_ext_prod_id: [u8; 16],
    pub attributes: Attributes,
    pub mr_enclave: Sha256,
    pub mr_signer: Sha256,
    pub config_id: [u8; 64],
    pub isv_prod_id: u16,
    pub isv_svn: u16,
    pub config_svn: u16,
    pub isv_family_id: [u8; 16],
    pub report_data: ReportData,
}

impl ReportBuilder {
    /// A report of a plain 64-bit enclave with zeros where nothing is known.
    pub fn new(mr_enclave: Sha256, mr_signer: Sha256) -> Self {
        Self {
            cpu_svn: [0; 16],
            misc_select: [0; 4],
            isv_ext_prod_id: [0; 16],
            attributes: Attributes { flags: 0b101, xfrm: 0xE7 },
            mr_enclave,
            mr_signer,
            config_id: [0; 64],
            isv_prod_id: 0,
            isv_svn: 0,
            config_svn: 0,
            isv_family_id: [0; 16],
            report_data: ReportData::from([0; 64]),
        }
    }

    /// The report.
    pub fn finish(&self) -> Report {
        let mut bytes = [0; Report::LEN];
        let mut put =
            |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(at::CPU_SVN, &self.cpu_svn);
        put(at::MISC_SELECT, &self.misc_select);
        put(at::ISV_EXT_PROD_ID, &self.isv_ext_prod_id);
        put(at::ATTRIBUTES, &self.attributes.to_bytes());
        put(at::MR_ENCLAVE, self.mr_enclave.as_ref());
        put(at::MR_SIGNER, self.mr_signer.as_ref());
        put(at::CONFIG_ID, &self.config_id);
        put(at::ISV_PROD_ID, &self.isv_prod_id.to_le_bytes());
        put(at::ISV_SVN, &self.isv_svn.to_le_bytes());
        put(at::CONFIG_SVN, &self.config_svn.to_le_bytes());
        put(at::ISV_FAMILY_ID, &self.isv_family_id);
        put(at::REPORT_DATA, self.report_data.as_ref());
        Report::parse(&bytes).expect("no field reaches into reserved bytes")
    }
}

impl From<&Report> for ReportBuilder {
    fn from(report: &Report) -> Self {
        Self {
            cpu_svn: report.cpu_svn(),
            misc_select: report.misc_select(),
            isv_ext_prod_id: report.isv_ext_prod_id(),
            attributes: report.attributes(),
            mr_enclave: report.mr_enclave(),
            mr_signer: report.mr_signer(),
            config_id: report.config_id(),
            isv_prod_id: report.isv_prod_id(),
            isv_svn: report.isv_svn(),
            config_svn: report.config_svn(),
            isv_family_id: report.isv_family_id(),
            report_data: report.report_data(),
        }
    }
}
