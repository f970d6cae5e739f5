//! Which check does a document fail that is not genuine?

use casemate_evidence::nitro::DocumentError as FormatError;

use super::DocumentError;
use crate::certificates::failed_path;
use crate::verdict::{Code, Comparison, Node, Value, broken, not_genuine as failed};

pub(crate) fn unreadable_document(error: &FormatError) -> Box<Node> {
    broken(Code::NitroFormat, error)
}

/// One check per way of not being genuine.
pub(crate) fn not_genuine(error: &DocumentError) -> Box<Node> {
    use DocumentError as E;
    match error {
        E::Certificate(error) => broken(Code::ChainFormat, error),
        E::Path(error) => failed_path(error),
        E::KeyKind => broken(Code::NitroKey, error),
        E::Signature(_) => failed(Code::NitroSignature, "does not verify", Comparison::Equal, Value::Nothing),
        E::NoImage => broken(Code::NitroImage, error),
    }
}
