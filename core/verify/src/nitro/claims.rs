//! What does a document of AWS state, and how do people read it?

use std::collections::BTreeMap;

use casemate_evidence::nitro::Kind;
use serde::Serialize;

use crate::verdict::{Claims as Common, Code, Value, printable};

/// What only a document of AWS states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Whose registers it states.
    pub kind: Kind,
    /// The instance, and the enclave in it.
    pub module_id: String,
    /// When it was made, by AWS's clock, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// PCRs by index.
    pub pcrs: BTreeMap<u8, Value>,
    /// A key that the attested software chose.
    pub public_key: Value,
    /// Bytes that it chose.
    pub user_data: Value,
    /// Whether an enclave runs in debug mode.
    pub debug: bool,
}

impl Claims {
    /// What an accepted group says in one line, and the remark after its status.
    pub(crate) fn summary(&self, code: Code, common: &Common) -> (String, String) {
        let text = match code {
            Code::Hardware => match self.kind {
                Kind::Enclave => "AWS Nitro enclave".to_owned(),
                Kind::Instance => "AWS EC2 instance (NitroTPM)".to_owned(),
            },
            Code::Signer => {
                let (module, root) = (printable(&self.module_id), printable(&common.root_name));
                format!("AWS for {module}, chain to root \"{root}\"")
            }
            Code::Guest => match (self.kind, self.debug) {
                (Kind::Enclave, true) => "DEBUG".to_owned(),
                (Kind::Enclave, false) => "no debug".to_owned(),
                (Kind::Instance, _) => String::new(),
            },
            _ => String::new(),
        };
        (text, String::new())
    }
}
