//! What does a confidential VM of Azure state, and how do people read it?

use std::collections::BTreeMap;

use casemate_crypto::hash::Sha256;
use casemate_evidence::azure::Scalar;
use serde::Serialize;

use crate::expectations::LaunchMeasurement;
use crate::tpm;
use crate::verdict::{Claims as Common, Code, Details, Platform, Value, printable};

/// What only a confidential VM of Azure states: its TEE, its paravisor, its vTPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Which TEE.
    pub tee_platform: Platform,
    /// What the chip measured: firmware and paravisor.
    pub paravisor: LaunchMeasurement,
    /// What the TEE states.
    pub tee: Details,
    /// `vm-configuration`, as the paravisor states it.
    pub vm_configuration: BTreeMap<String, Scalar>,
    /// 64 bytes that the guest had put into the runtime data.
    pub user_data: Value,
    /// SHA-256 of the `SubjectPublicKeyInfo` of the vTPM's attestation key.
    pub key_digest: Sha256,
    /// What the vTPM quotes, if a quote came along.
    pub tpm: Option<tpm::Claims>,
}

impl Claims {
    /// What an accepted group says in one line, and the remark after its status.
    pub(crate) fn summary(&self, code: Code, common: &Common) -> (String, String) {
        match code {
            Code::Hardware => {
                let (tee, remark) = self.tee.summary(code, common);
                (format!("Azure confidential VM; {tee}"), remark)
            }
            Code::Tpm => match &self.tpm {
                Some(tpm) => (tpm.quoted(), String::new()),
                None => ("no quote came along".to_owned(), String::new()),
            },
            Code::Paravisor => {
                let short = self.paravisor.short();
                let vm = match self.vm_configuration.get("vmUniqueId") {
                    Some(Scalar::Text(id)) => format!(", VM {}", printable(id)),
                    _ => String::new(),
                };
                (format!("measurement {short}{vm}"), String::new())
            }
            _ => self.tee.summary(code, common),
        }
    }
}
