//! With which policy does one verify a deployment of another system?
//!
//! The policy for strangers, with the values that were computed from the deployment's public files in the place of
//! `"any"`.

use casemate_evidence::Measurement;
use casemate_record::WorkloadDigest;

use super::example;

/// What a deployment's public files come to. An empty list: nothing was computed, and anything is accepted there.
#[derive(Debug, Clone, Default)]
pub struct Deployment {
    /// Where it is from, and what was computed, one line each; they stand in the file as comments.
    pub remarks: Vec<String>,
    /// Launch measurements of its image, as `image.measurements` lists them.
    pub measurements: Vec<Measurement>,
    /// HOST_DATA, where it names the workload.
    pub digests: Vec<WorkloadDigest>,
    /// MRCONFIGID, where it names the workload.
    pub mr_config_ids: Vec<Measurement>,
    /// RTMR 3, where it names the workload.
    pub rtmr3: Vec<Measurement>,
    /// Launch measurements that name the workload: on SEV-SNP, by the kernel's command line.
    pub workload_measurements: Vec<Measurement>,
}

impl Deployment {
    fn names_workload_by_register(&self) -> bool {
        [&self.mr_config_ids, &self.rtmr3, &self.workload_measurements].iter().any(|list| !list.is_empty())
    }

    fn registers(&self) -> String {
        format!(
            "\n[workload.registers]               # values by which others name the workload\n\
             mr_config_id = {}\nrtmr3 = {}\nmeasurement = {}\n",
            list(&self.mr_config_ids),
            list(&self.rtmr3),
            list(&self.workload_measurements)
        )
    }
}

pub(super) fn text(deployment: &Deployment) -> String {
    let mut text: String = deployment
        .remarks
        .iter()
        .map(|line| format!("# {}\n", line.replace(|character: char| character.is_control(), " ")))
        .collect();
    for line in example::hardware_only().lines() {
        match line {
            "measurements = \"any\"" => text += &format!("measurements = {}", list(&deployment.measurements)),
            "digests = \"any\"" => text += &format!("digests = {}", list(&deployment.digests)),
            "[collateral]" if deployment.names_workload_by_register() => {
                text.truncate(text.trim_end().len());
                text += &format!("\n{}\n[collateral]", deployment.registers());
            }
            line => text += line,
        }
        text.push('\n');
    }
    text
}

fn list(values: &[impl std::fmt::Display]) -> String {
    match values {
        [] => "\"any\"".to_owned(),
        [one] => format!("[\"{one}\"]"),
        several => {
            let lines: String = several.iter().map(|value| format!("    \"{value}\",\n")).collect();
            format!("[\n{lines}]")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Accept, MeasurementRule, Policy};

    #[test]
    fn what_was_not_computed_is_not_asked_for() {
        let text = text(&Deployment::default());
        assert_eq!(text, Policy::hardware_only());
    }

    #[test]
    fn each_value_stands_in_its_place() {
        let value = |byte| Measurement::from([byte; 48]);
        let text = text(&Deployment {
            remarks: vec!["an app\nversion = 2".to_owned()],
            measurements: vec![value(1), value(2)],
            digests: vec![[3; 32].into()],
            mr_config_ids: vec![value(4)],
            rtmr3: vec![value(5), value(6)],
            workload_measurements: vec![value(7)],
        });
        let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(matches!(&policy.measurements, MeasurementRule::Only(list) if list.len() == 2));
        assert_eq!(policy.workload.digests, crate::policy::DigestRule::Only(vec![[3; 32].into()]));
        let registers = policy.workload.registers.unwrap();
        assert_eq!(registers.mr_config_id, Accept::Only(vec![value(4)]));
        assert_eq!(registers.rtmr3, Accept::Only(vec![value(5), value(6)]));
        assert_eq!(registers.measurement, Accept::Only(vec![value(7)]));
    }
}
