//! Which check do devices fail that are not genuine?

use super::evidence::DevicesError;
use super::manifest::ManifestError;
use super::report::ReportError;
use crate::certificates::failed_path;
use crate::verdict::{Code, Node, broken};

/// One check per way of not being genuine.
pub(crate) fn not_genuine(error: &DevicesError) -> Box<Node> {
    use DevicesError as E;
    match error {
        E::ReportFormat { .. } => broken(Code::NvidiaReportFormat, error),
        E::Certificate { .. } => broken(Code::ChainFormat, error),
        E::Report { source, .. } => match &**source {
            ReportError::Path(path) => failed_path(path),
            ReportError::NoCertificates | ReportError::NotDevice { .. } => {
                broken(Code::NvidiaCertificate, error)
            }
            ReportError::KeyKind | ReportError::Signature(_) => broken(Code::NvidiaSignature, error),
            ReportError::FirmwareId { .. } => broken(Code::NvidiaFirmwareId, error),
            ReportError::Nonce { .. } => broken(Code::NvidiaNonce, error),
        },
        E::Twice { .. } => broken(Code::NvidiaDistinct, error),
        E::ManifestFormat { .. } => broken(Code::NvidiaManifestFormat, error),
        E::Manifest { source, .. } => match &**source {
            ManifestError::Path(path) => failed_path(path),
            ManifestError::NoCertificates | ManifestError::NotSigner { .. } => {
                broken(Code::NvidiaManifestSigner, error)
            }
            ManifestError::Digest { .. } | ManifestError::KeyKind | ManifestError::Signature(_) => {
                broken(Code::NvidiaManifestSignature, error)
            }
        },
    }
}
