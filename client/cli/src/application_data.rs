//! Over which bytes did a service of the guest ask for this evidence?

use std::path::Path;

use casemate_release::report_data::{self, MAXIMUM_CHOSEN_BYTES};

use crate::{Error, files};

/// The bytes that `argument` names: a file's, or hexadecimal. A file counts first.
///
/// # Errors
/// [`Error::File`], [`Error::FileTooLarge`], [`Error::NotApplicationData`] for what is neither,
/// [`Error::ApplicationData`] for bytes over which no guest gives evidence.
pub fn bytes(argument: &str) -> Result<Vec<u8>, Error> {
    let path = Path::new(argument);
    let bytes = if path.is_file() {
        files::read(path, MAXIMUM_CHOSEN_BYTES as u64)?
    } else {
        hex::decode(argument)
            .map_err(|_| Error::NotApplicationData { found: argument.chars().take(40).collect() })?
    };
    report_data::application(&bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_from_a_file_or_from_digits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("68656c6c6f");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(bytes(&path.display().to_string()).unwrap(), b"hello");
        assert_eq!(bytes("68656C6c6f").unwrap(), b"hello");
        assert!(matches!(bytes("hello"), Err(Error::NotApplicationData { found }) if found == "hello"));
        assert!(matches!(bytes(""), Err(Error::ApplicationData(_))));
        assert!(matches!(bytes("43534d3173657373"), Err(Error::ApplicationData(_))));
        std::fs::write(&path, vec![0; MAXIMUM_CHOSEN_BYTES + 1]).unwrap();
        assert!(matches!(bytes(&path.display().to_string()), Err(Error::FileTooLarge { .. })));
    }
}
