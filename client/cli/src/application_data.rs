//! Over which bytes did a service of the guest ask for this evidence?

use std::path::Path;

use casemate_evidence::ReportData;
use casemate_release::report_data::{self, MAXIMUM_CHOSEN_BYTES};

use crate::{Error, files};

/// The report data for the bytes that `argument` names: a file's, or hexadecimal. A file counts first.
///
/// # Errors
/// [`Error::File`], [`Error::FileTooLarge`], [`Error::NotApplicationData`] for what is neither,
/// [`Error::ApplicationData`] for bytes over which no guest gives evidence.
pub fn report_data(argument: &str) -> Result<ReportData, Error> {
    let path = Path::new(argument);
    let bytes = if path.is_file() {
        files::read(path, MAXIMUM_CHOSEN_BYTES as u64)?
    } else {
        hex::decode(argument)
            .map_err(|_| Error::NotApplicationData { found: argument.chars().take(40).collect() })?
    };
    Ok(report_data::application(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_from_a_file_or_from_digits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("68656c6c6f");
        std::fs::write(&path, "hello").unwrap();
        let expected = report_data::application(b"hello").unwrap();
        assert_eq!(report_data(&path.display().to_string()).unwrap(), expected);
        assert_eq!(report_data("68656C6c6f").unwrap(), expected);
        assert!(matches!(report_data("hello"), Err(Error::NotApplicationData { found }) if found == "hello"));
        assert!(matches!(report_data(""), Err(Error::ApplicationData(_))));
        assert!(matches!(report_data("43534d3173657373"), Err(Error::ApplicationData(_))));
        std::fs::write(&path, vec![0; MAXIMUM_CHOSEN_BYTES + 1]).unwrap();
        assert!(matches!(report_data(&path.display().to_string()), Err(Error::FileTooLarge { .. })));
    }
}
