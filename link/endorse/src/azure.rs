//! Which certificates does the host of this Azure VM keep, and which report do they endorse?
//!
//! The report is inside what the VM's paravisor keeps in the vTPM. Source of the certificates: Azure Trusted Hardware Identity Management (THIM), "How do I request collateral in a
//! confidential virtual machine?". The answer is of the machine that asks, and of no other.

use casemate_evidence::azure::{HclReport, ReportType};
use casemate_evidence::bundle::Bundle;
use casemate_evidence::snp::Report;
use casemate_evidence::x509::Certificate;
use casemate_verify::snp::EndorsementsError;
use serde::Deserialize;

use crate::cache::Cache;
use crate::error::Error;
use crate::item::{Item, Key};
use crate::service::{Etiquette, Service};

/// The host below an SEV-SNP VM of Azure.
#[derive(Debug, Clone)]
pub struct AzureHost {
    address: String,
    service: Service,
}

/// The members that are used; the rest says how long the host itself keeps them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    vcek_cert: String,
    certificate_chain: String,
}

impl AzureHost {
    /// Where a VM reaches its host.
    pub const ADDRESS: &'static str = "http://169.254.169.254";

    /// The host at `base`. Plain HTTP does no harm: the answer is verified.
    ///
    /// # Errors
    /// [`Error::Network`] if this machine cannot set up TLS.
    pub fn at(base: &str, etiquette: Etiquette) -> Result<Self, Error> {
        let address = format!("{}/metadata/THIM/amd/certification", base.trim_end_matches('/'));
        let service = Service::new(&address, etiquette)?;
        Ok(Self { address, service })
    }

    /// What it answers: VCEK, ASK and ARK; nothing about their signatures is known.
    async fn fetch(&self) -> Result<Vec<Item>, Error> {
        let body = self.service.fetch(&self.address, MAXIMUM_ANSWER_LEN, &[("Metadata", "true")]).await?.body;
        let failed = |source| Error::AzureHost { address: self.address.clone(), source };
        let answer: Answer = serde_json::from_slice(&body).map_err(failed)?;
        let unreadable = |error| Error::Unreadable {
            origin: self.address.clone(),
            source: EndorsementsError::Unreadable(error),
        };
        let leaf = Certificate::parse_pem(&answer.vcek_cert).map_err(unreadable)?;
        let chain = Certificate::parse_pem(&answer.certificate_chain).map_err(unreadable)?;
        Ok(leaf.iter().chain(&chain).map(Item::amd_certificate).collect())
    }
}

/// The SEV-SNP report in a bundle: by itself, or inside Azure's; `None` if there is none that can be read.
pub fn snp_report(bundle: &Bundle) -> Option<Report> {
    if let Some(bytes) = bundle.snp_report() {
        return Report::parse(bytes).ok();
    }
    let azure = HclReport::parse(bundle.azure_report()?).ok()?;
    match azure.report_type {
        ReportType::Snp => Report::parse(&azure.tee_report).ok(),
        ReportType::Tdx => None,
    }
}

impl Cache {
    /// Keeps the certificates that the host of this Azure VM has of it, and says where each belongs.
    ///
    /// # Errors
    /// [`Error`], the first that applies.
    pub async fn fetch_from_azure_host(&self, host: &AzureHost, now_ms: u64) -> Result<Vec<Key>, Error> {
        self.import(&host.fetch().await?, now_ms).into_iter().collect()
    }
}

const MAXIMUM_ANSWER_LEN: usize = 64 * 1024;
