//! What does a TPM's quote state, and how do people read it?

use std::collections::BTreeMap;

use casemate_crypto::hash::Sha256;
use casemate_evidence::gcp::Instance;
use casemate_evidence::tpm::ClockInfo;
use serde::Serialize;

use super::quote::GenuineQuote;
use crate::verdict::{Claims as Common, Code, Value, printable};

/// What only a TPM states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// SHA-256 of the attestation key's `SubjectPublicKeyInfo`.
    pub key_digest: Sha256,
    /// Who vouches for the key.
    pub voucher: &'static str,
    /// Clock and counters.
    pub clock: ClockInfo,
    /// firmwareVersion, as the TPM's maker numbers it: 16 digits.
    pub firmware_version: String,
    /// qualifiedSigner.
    pub qualified_signer: String,
    /// The quoted PCRs, by bank and index.
    pub pcrs: BTreeMap<&'static str, BTreeMap<u8, Value>>,
    /// The instance that Google names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
}

impl Claims {
    /// Of a genuine quote.
    pub(crate) fn of(
        quote: &GenuineQuote,
        key_digest: Sha256,
        voucher: &'static str,
        instance: Option<Instance>,
    ) -> Self {
        let mut pcrs: BTreeMap<&'static str, BTreeMap<u8, Value>> = BTreeMap::new();
        for (bank, index, value) in quote.pcrs().iter() {
            pcrs.entry(bank.name()).or_default().insert(index, value.as_bytes().into());
        }
        let attest = quote.attest();
        Self {
            key_digest,
            voucher,
            clock: attest.clock,
            firmware_version: format!("{:016x}", attest.firmware_version),
            qualified_signer: attest.qualified_signer.to_string(),
            pcrs,
            instance,
        }
    }

    /// What an accepted group says in one line, and the remark after its status.
    pub(crate) fn summary(&self, code: Code, common: &Common) -> (String, String) {
        let text = match code {
            Code::Hardware => match &self.instance {
                Some(instance) => {
                    let Instance { instance, project, zone, .. } = instance;
                    let [instance, project, zone] = [instance, project, zone].map(|text| printable(text));
                    format!("Google Cloud instance {instance} of {project} in {zone}")
                }
                None => "TPM 2.0".to_owned(),
            },
            Code::Signer => {
                let root = printable(&common.root_name);
                match self.voucher {
                    "authority" => {
                        format!("attestation key {}, chain to root \"{root}\"", self.key_digest.short())
                    }
                    _ => format!("attestation key {}, enrolled by the Verifier", self.key_digest.short()),
                }
            }
            Code::Tpm => self.quoted(),
            _ => String::new(),
        };
        (text, String::new())
    }

    /// What was quoted, and since when.
    pub(crate) fn quoted(&self) -> String {
        let banks: Vec<String> =
            self.pcrs.iter().map(|(bank, values)| format!("{} PCRs of {bank}", values.len())).collect();
        let ClockInfo { reset_count, restart_count, safe, .. } = self.clock;
        let safe = if safe { "" } else { ", CLOCK NOT SAFE" };
        format!("quote of {}; {reset_count} resets, {restart_count} restarts{safe}", banks.join(", "))
    }
}
