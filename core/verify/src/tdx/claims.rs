//! What does a TDX quote state, and how do people read it?

use casemate_canon::Short;
use casemate_evidence::Measurement;
use casemate_evidence::intel::{Fmspc, PckConfiguration, PlatformTcb, Ppid, SgxType};
use casemate_evidence::tdx::{ServiceTd, TdAttributes, TeeTcbSvn, Xfam};
use serde::Serialize;

use crate::intel::{Standing, configuration};
use crate::verdict::{Claims as Common, Code, Value, WorkloadSlot, printable};

/// What only TDX states.
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
    /// How the platform protects memory.
    pub sgx_type: SgxType,
    /// Versions of the platform's firmware.
    pub platform_tcb: PlatformTcb,
    /// How a platform of several packages was set up.
    pub configuration: Option<PckConfiguration>,
    /// TEE_TCB_SVN: the TDX module at launch.
    pub tee_tcb_svn: TeeTcbSvn,
    /// MRSEAM: measurement of the TDX module.
    pub mr_seam: Measurement,
    /// TDATTRIBUTES, all bits.
    pub td_attributes: TdAttributes,
    /// XFAM, all bits.
    pub xfam: Xfam,
    /// MRTD.
    pub mrtd: Measurement,
    /// RTMR 0 to 3.
    pub rtmr: [Measurement; 4],
    /// MRCONFIGID: what whoever started the guest put there.
    pub mr_config_id: Measurement,
    /// MROWNER.
    pub mr_owner: Measurement,
    /// MROWNERCONFIG.
    pub mr_owner_config: Measurement,
    /// Service TDs and the module that runs now; reports of TDX 1.5 only.
    #[serde(flatten)]
    pub service_td: Option<ServiceTd>,
}

impl Claims {
    /// What an accepted group says in one line, and the remark after its status.
    pub(crate) fn summary(&self, code: Code, common: &Common) -> (String, String) {
        match code {
            Code::Hardware => {
                let module = self.tee_tcb_svn.as_bytes();
                let text = format!(
                    "TDX quote v{}, FMSPC {}, TDX module {}.{}",
                    self.quote_version, self.fmspc, module[1], module[0]
                );
                (text, String::new())
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
            Code::Guest => (self.guest(), String::new()),
            Code::Platform => (configuration(self.configuration), String::new()),
            _ => (String::new(), String::new()),
        }
    }

    /// Where other systems name the workload, of a trust domain that does not name it as Casemate's do: dstack
    /// in MRCONFIGID (1, SHA-256 of `app-compose.json`, zeros), it and SecretVM in RTMR 3. Checks look at them
    /// where the policy has `[workload.registers]`.
    pub(crate) fn workload(&self, slot: &WorkloadSlot) -> Option<String> {
        if slot.digest.is_some_and(|digest| *digest.as_bytes() != [0; 32]) {
            return None;
        }
        let app = match &slot.value {
            Value::Bytes(bytes) if bytes.len() == 48 && bytes[0] == 1 && bytes[33..] == [0; 15] => {
                Some(format!("dstack app {}", Short::new(&bytes[1..33])))
            }
            _ => None,
        };
        let [.., rtmr3] = &self.rtmr;
        let measured = rtmr3.as_bytes().iter().any(|byte| *byte != 0);
        let measured = measured.then(|| format!("RTMR3 {}", rtmr3.short()));
        let parts: Vec<String> = [app, measured].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn guest(&self) -> String {
        let word = |on, yes, no| if on { yes } else { no };
        format!(
            "{}, {}, {}",
            word(self.td_attributes.debug(), "DEBUG", "no debug"),
            word(self.td_attributes.migratable(), "MIGRATABLE", "not migratable"),
            word(self.td_attributes.sept_ve_disable(), "no #VE on lost pages", "#VE ON LOST PAGES"),
        )
    }
}

/// A register as a value of a check.
pub(crate) fn register(found: &Measurement) -> Value {
    found.as_ref().into()
}
