//! What does an SEV-SNP report state, and how do people read it?

use casemate_evidence::snp::{GuestPolicy, PlatformInfo, Product, SigningKeyKind, Silicon, Tcb, Vmpl};
use casemate_evidence::{ChipId, HostData};
use serde::Serialize;

use crate::verdict::{Claims as Common, Code, printable};

/// What only SEV-SNP states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Version of the report.
    pub report_version: u32,
    /// Product line.
    pub product: Product,
    /// Design of the processor, if the report names a known one.
    pub silicon: Option<Silicon>,
    /// Which kind of key signed.
    pub signing_key: SigningKeyKind,
    /// The chip, unless masked.
    pub chip_id: Option<ChipId>,
    /// The oldest of reported and launch-time firmware, part by part.
    pub tcb: Tcb,
    /// The policy's floor for this processor.
    pub minimum_tcb: Option<Tcb>,
    /// Which privilege level asked for the report.
    pub vmpl: Vmpl,
    /// POLICY of the guest, all bits.
    pub guest_policy: u64,
    /// PLATFORM_INFO, all bits.
    pub platform_info: u64,
    /// HOST_DATA.
    pub host_data: HostData,
}

impl Claims {
    /// What an accepted group says in one line, and the remark after its status.
    pub(crate) fn summary(&self, code: Code, common: &Common) -> (String, String) {
        match code {
            Code::Hardware => {
                (format!("SEV-SNP report v{}, product {}", self.report_version, self.product), String::new())
            }
            Code::Signer => {
                let chip =
                    self.chip_id.map_or("a masked chip".to_owned(), |chip| format!("chip {}", chip.short()));
                let root = printable(&common.root_name);
                (format!("{} of {chip}, chain to root \"{root}\"", self.signing_key.name()), String::new())
            }
            Code::Firmware => (self.tcb.to_string(), self.minimum_tcb.map_or_else(String::new, floor)),
            Code::Guest => (self.guest(), String::new()),
            Code::Platform => (self.platform(), String::new()),
            _ => (String::new(), String::new()),
        }
    }

    fn guest(&self) -> String {
        let debug_and_migration = GuestPolicy::from_bits(self.guest_policy).map_or_else(
            |_| String::new(),
            |policy| {
                let word = |on, yes, no| if on { yes } else { no };
                format!(
                    "{}, {}, ",
                    word(policy.debug(), "DEBUG", "no debug"),
                    word(policy.migrate_ma(), "MIGRATION", "no migration")
                )
            },
        );
        format!("{debug_and_migration}VMPL {}", self.vmpl)
    }

    fn platform(&self) -> String {
        let platform = PlatformInfo::from_bits(self.platform_info);
        format!(
            "SMT {}, alias check {}",
            if platform.smt_enabled() { "on" } else { "off" },
            if platform.alias_check_complete() { "complete" } else { "not reported" }
        )
    }
}

fn floor(floor: Tcb) -> String {
    let parts = [floor.fmc, Some(floor.bootloader), Some(floor.tee), Some(floor.snp), Some(floor.microcode)];
    let parts: Vec<_> = parts.iter().flatten().map(u8::to_string).collect();
    format!("policy minimum {}", parts.join("/"))
}
