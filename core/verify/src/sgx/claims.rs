//! What does an SGX quote state, and how do people read it?

use casemate_crypto::hash::Sha256;
use casemate_evidence::intel::{Fmspc, PckConfiguration, PlatformTcb, Ppid, SgxType};
use casemate_evidence::sgx::Attributes;
use serde::Serialize;

use crate::intel::{Standing, configuration};
use crate::verdict::{Claims as Common, Code, printable};

/// What only SGX states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Version of the quote.
    pub quote_version: u16,
    /// What Intel says of the platform.
    pub standing: Standing,
    /// Which platform.
    pub ppid: Ppid,
    /// Which processor.
    pub fmspc: Fmspc,
    /// How the platform protects enclave memory.
    pub sgx_type: SgxType,
    /// Versions of the platform's firmware.
    pub platform_tcb: PlatformTcb,
    /// How a platform of several packages was set up.
    pub configuration: Option<PckConfiguration>,
    /// MRENCLAVE.
    pub mr_enclave: Sha256,
    /// MRSIGNER.
    pub mr_signer: Sha256,
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// ATTRIBUTES.
    pub attributes: Attributes,
}

impl Claims {
    /// What an accepted group says in one line, and the remark after its status.
    pub(crate) fn summary(&self, code: Code, common: &Common) -> (String, String) {
        match code {
            Code::Hardware => {
                (format!("SGX quote v{}, FMSPC {}", self.quote_version, self.fmspc), String::new())
            }
            Code::Signer => {
                let root = printable(&common.root_name);
                let text = format!(
                    "{} of platform {}, chain to root \"{root}\"",
                    common.signer.key,
                    self.ppid.short()
                );
                (text, String::new())
            }
            Code::Firmware => self.standing.summary(),
            Code::Guest => {
                let debug = if self.attributes.debug() { "DEBUG" } else { "no debug" };
                let text = format!(
                    "{debug}, signer {}, product {}, SVN {}",
                    self.mr_signer.short(),
                    self.isv_prod_id,
                    self.isv_svn
                );
                (text, String::new())
            }
            Code::Platform => (configuration(self.configuration), String::new()),
            _ => (String::new(), String::new()),
        }
    }
}
