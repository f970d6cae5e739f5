//! What may run?
//!
//! `[workload]` names digests and apps as Casemate does. `[workload.registers]` may stand beside it: values by which
//! other systems name the workload, and which their guests check or measure before they start it.

use casemate_evidence::Measurement;
use casemate_record::{AppId, WorkloadDigest};
use serde::Deserialize;

use super::value::{ListOrWord, bytes, list_or_any, list_or_none, non_empty, word};
use super::{Accept, PolicyError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkloadRules {
    pub digests: DigestRule,
    pub apps: Vec<AppId>,
    pub registers: Option<WorkloadRegisterRules>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DigestRule {
    Any,
    Expected,
    Only(Vec<WorkloadDigest>),
    None,
}

/// Signed values that name a workload; each list must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkloadRegisterRules {
    pub mr_config_id: Accept<Measurement>,
    pub rtmr3: Accept<Measurement>,
    pub measurement: Accept<Measurement>,
}

impl WorkloadRules {
    pub(super) fn read(table: WorkloadTable) -> Result<Self, PolicyError> {
        const FIELD: &str = "workload.digests";
        let digests = match table.digests {
            ListOrWord::Word(text) => {
                word(FIELD, &text, "a list, \"expected\", \"any\" or \"none\"", |word| match word {
                    "any" => Some(DigestRule::Any),
                    "expected" => Some(DigestRule::Expected),
                    "none" => Some(DigestRule::None),
                    _ => None,
                })?
            }
            ListOrWord::List(list) => DigestRule::Only(non_empty(FIELD, "any", list, bytes)?),
        };
        let apps = list_or_none("workload.apps", table.apps, bytes)?;
        if digests == DigestRule::None && apps.is_empty() {
            return Err(PolicyError::NoWorkload);
        }
        let registers = table.registers.map(WorkloadRegisterRules::read).transpose()?;
        Ok(Self { digests, apps, registers })
    }
}

impl WorkloadRegisterRules {
    fn read(table: RegistersTable) -> Result<Self, PolicyError> {
        Ok(Self {
            mr_config_id: list_or_any("workload.registers.mr_config_id", table.mr_config_id, bytes)?,
            rtmr3: list_or_any("workload.registers.rtmr3", table.rtmr3, bytes)?,
            measurement: list_or_any("workload.registers.measurement", table.measurement, bytes)?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadTable {
    digests: ListOrWord,
    apps: ListOrWord,
    registers: Option<RegistersTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistersTable {
    mr_config_id: ListOrWord,
    rtmr3: ListOrWord,
    measurement: ListOrWord,
}
