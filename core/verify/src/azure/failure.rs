//! Which check does evidence of Azure fail that is not genuine?

use casemate_evidence::azure::HclReportError;

use super::{AuthenticateError, BindingError};
use crate::tpm;
use crate::verdict::{Code, Comparison, Node, broken, not_genuine as failed};

pub(crate) fn unreadable_report(error: &HclReportError) -> Box<Node> {
    broken(Code::AzureFormat, error)
}

pub(crate) fn missing_quote() -> Box<Node> {
    failed(Code::AzureTdxQuote, "missing", Comparison::Equal, "the TDX quote of the VM")
}

/// One check per way of not being genuine, or not of one machine.
pub(crate) fn not_genuine(error: &AuthenticateError) -> Box<Node> {
    use AuthenticateError as E;
    match error {
        E::Report(error) => unreadable_report(error),
        E::Binding(error) => broken_binding(error),
        E::OtherKey { found, expected } => {
            failed(Code::AzureOtherKey, found.as_ref(), Comparison::Equal, expected.as_ref())
        }
        E::Tpm(error) => tpm::not_genuine(error),
    }
}

fn broken_binding(error: &BindingError) -> Box<Node> {
    match error {
        BindingError::ReportType { .. } | BindingError::OtherReport => broken(Code::AzureOtherReport, error),
        BindingError::ReportData { found, expected } => {
            failed(Code::AzureBinding, &found.as_bytes()[..], Comparison::Equal, &expected.as_bytes()[..])
        }
        BindingError::RuntimeData(_) => broken(Code::AzureRuntimeData, error),
        BindingError::NoAttestationKey => broken(Code::AzureAttestationKey, error),
    }
}
