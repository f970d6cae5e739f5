//! Whose vTPM may it be?

use casemate_evidence::gcp::Instance;
use serde::Deserialize;

use super::value::{ListOrWord, bit, bytes, list_or_any, text, vendor_roots, word};
use super::{Accept, BitRule, PolicyError};
use crate::appraise::rule::{accepts, flag};
use crate::expectations::LaunchMeasurement;
use crate::verdict::{Code, Node};

/// Which instances of Google's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GcpRules {
    pub google_roots: bool,
    projects: Accept<String>,
    zones: Accept<String>,
    instances: Accept<String>,
    production: BitRule,
}

impl GcpRules {
    pub(super) fn read(roots: &str, table: GcpTable) -> Result<Self, PolicyError> {
        Ok(Self {
            google_roots: vendor_roots("roots.google", roots)?,
            projects: list_or_any("gcp.projects", table.projects, text)?,
            zones: list_or_any("gcp.zones", table.zones, text)?,
            instances: list_or_any("gcp.instances", table.instances, text)?,
            production: bit("gcp.production", &table.production)?,
        })
    }

    /// What is asked of the instance that Google names.
    pub(crate) fn instance(&self, found: &Instance) -> Vec<Node> {
        let number = found.instance_number.to_string();
        let production = found.security.and_then(|security| security.is_production);
        vec![
            accepts(Code::GcpProject, &self.projects, &found.project, |text| text.clone().into()),
            accepts(Code::GcpZone, &self.zones, &found.zone, |text| text.clone().into()),
            accepts(Code::GcpInstanceNumber, &self.instances, &number, |text| text.clone().into()),
            flag(Code::GcpProduction, self.production, production),
        ]
    }
}

/// Which confidential VMs of Azure, above what their TEE's own rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AzureRules {
    pub paravisors: Accept<LaunchMeasurement>,
    pub secure_boot: BitRule,
    pub console: BitRule,
    pub vms: Accept<String>,
    pub quote_required: bool,
}

impl AzureRules {
    pub(super) fn read(table: AzureTable) -> Result<Self, PolicyError> {
        Ok(Self {
            paravisors: list_or_any("azure.paravisors", table.paravisors, bytes)?,
            secure_boot: bit("azure.secure_boot", &table.secure_boot)?,
            console: bit("azure.console", &table.console)?,
            vms: list_or_any("azure.vms", table.vms, text)?,
            quote_required: word(
                "azure.quote",
                &table.quote,
                "\"required\" or \"any\"",
                |word| match word {
                    "required" => Some(true),
                    "any" => Some(false),
                    _ => None,
                },
            )?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AzureTable {
    paravisors: ListOrWord,
    secure_boot: String,
    console: String,
    vms: ListOrWord,
    quote: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GcpTable {
    projects: ListOrWord,
    zones: ListOrWord,
    instances: ListOrWord,
    production: String,
}
