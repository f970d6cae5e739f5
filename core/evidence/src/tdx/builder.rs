//! How is a trust domain's report laid out?
//!
//! The layout of [`Report`], in the other direction: for the software TEE and for tests, so that it is
//! written down once.

use super::attributes::{TdAttributes, Xfam};
use super::report::{Report, ServiceTd, TeeTcbSvn, at};
use crate::{Measurement, ReportData};

/// Every field of a report; meanings are those of [`Report`]'s methods.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // each field is documented at the method of the same name
pub struct ReportBuilder {
    pub tee_tcb_svn: TeeTcbSvn,
    pub mr_seam: Measurement,
    pub mr_signer_seam: Measurement,
    pub seam_attributes: [u8; 8],
    pub td_attributes: TdAttributes,
    pub xfam: Xfam,
    pub mr_td: Measurement,
    pub mr_config_id: [u8; 48],
    pub mr_owner: [u8; 48],
    pub mr_owner_config: [u8; 48],
    pub rtmr: [Measurement; 4],
    pub report_data: ReportData,
    pub service_td: Option<ServiceTd>,
}

impl ReportBuilder {
    /// A report of TDX 1.0 of a plain confidential guest: SEPT_VE_DISABLE, the features that Casemate's
    /// host grants, zeros where nothing is known.
    pub fn new(tee_tcb_svn: TeeTcbSvn) -> Self {
        let zero = Measurement::from([0; 48]);
        Self {
            tee_tcb_svn,
            mr_seam: zero,
            mr_signer_seam: zero,
            seam_attributes: [0; 8],
            td_attributes: TdAttributes::from_bits(1 << 28).expect("a defined bit"),
            xfam: Xfam::from_bits(0x6_00E7),
            mr_td: zero,
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rtmr: [zero; 4],
            report_data: ReportData::from([0; 64]),
            service_td: None,
        }
    }

    /// The report.
    pub fn finish(&self) -> Report {
        let mut bytes = [0; Report::LEN_1_5];
        let mut put =
            |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(at::TEE_TCB_SVN, self.tee_tcb_svn.as_ref());
        put(at::MR_SEAM, self.mr_seam.as_ref());
        put(at::MR_SIGNER_SEAM, self.mr_signer_seam.as_ref());
        put(at::SEAM_ATTRIBUTES, &self.seam_attributes);
        put(at::TD_ATTRIBUTES, &self.td_attributes.bits().to_le_bytes());
        put(at::XFAM, &self.xfam.bits().to_le_bytes());
        put(at::MR_TD, self.mr_td.as_ref());
        put(at::MR_CONFIG_ID, &self.mr_config_id);
        put(at::MR_OWNER, &self.mr_owner);
        put(at::MR_OWNER_CONFIG, &self.mr_owner_config);
        for (index, register) in self.rtmr.iter().enumerate() {
            put(at::RTMR + index * Measurement::LEN, register.as_ref());
        }
        put(at::REPORT_DATA, self.report_data.as_ref());
        let length = match self.service_td {
            Some(ServiceTd { tee_tcb_svn_2, mr_service_td }) => {
                put(at::TEE_TCB_SVN_2, tee_tcb_svn_2.as_ref());
                put(at::MR_SERVICE_TD, mr_service_td.as_ref());
                Report::LEN_1_5
            }
            None => Report::LEN_1_0,
        };
        Report::parse(&bytes[..length]).expect("a builder's field types hold only what a report may carry")
    }
}

impl From<&Report> for ReportBuilder {
    fn from(report: &Report) -> Self {
        Self {
            tee_tcb_svn: report.tee_tcb_svn(),
            mr_seam: report.mr_seam(),
            mr_signer_seam: report.mr_signer_seam(),
            seam_attributes: report.seam_attributes(),
            td_attributes: report.td_attributes(),
            xfam: report.xfam(),
            mr_td: report.mr_td(),
            mr_config_id: report.mr_config_id(),
            mr_owner: report.mr_owner(),
            mr_owner_config: report.mr_owner_config(),
            rtmr: [0, 1, 2, 3].map(|index| report.rtmr(index)),
            report_data: report.report_data(),
            service_td: report.service_td(),
        }
    }
}
