//! Which kernel modules does the guest load?

use std::{fs, io::ErrorKind, path::Path};

use crate::{Error, sys};

/// Loads the modules that `order` lists, one absolute path per line, in that order.
///
/// A module that is loaded already is no error.
///
/// # Errors
/// [`Error::Call`] with the module, or the list, as its subject.
pub fn load_all(order: &Path) -> Result<usize, Error> {
    let list = fs::read_to_string(order).map_err(Error::call("read", order))?;
    let mut count = 0;
    for line in list.lines().filter(|line| !line.is_empty()) {
        load(Path::new(line))?;
        count += 1;
    }
    Ok(count)
}

/// Loads those modules of the list that have something to drive on this machine.
///
/// Modules that answer `ENODEV` or `ENXIO` are left out, and so is a missing list.
///
/// # Errors
/// [`Error::Call`] with the module, or the list, as its subject.
pub fn load_available(list: &Path) -> Result<usize, Error> {
    let text = match fs::read_to_string(list) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        result => result.map_err(Error::call("read", list))?,
    };
    let mut count = 0;
    for path in text.lines().filter(|line| !line.is_empty()).map(Path::new) {
        let file = fs::File::open(path).map_err(Error::call("open", path))?;
        match sys::finit_module(&file) {
            Ok(()) => count += 1,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => count += 1,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) => {}
            Err(error) => return Err(Error::call("finit_module", path)(error)),
        }
    }
    Ok(count)
}

/// Loads one uncompressed module without parameters.
///
/// # Errors
/// [`Error::Call`] with the module as its subject.
pub fn load(path: &Path) -> Result<(), Error> {
    let file = fs::File::open(path).map_err(Error::call("open", path))?;
    match sys::finit_module(&file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(Error::call("finit_module", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_list_is_named() {
        let error = load_all(Path::new("/nonexistent/order")).unwrap_err();
        assert!(error.to_string().starts_with("read /nonexistent/order: "), "{error}");
    }

    #[test]
    fn a_missing_list_of_optional_modules_is_empty() {
        assert_eq!(load_available(Path::new("/nonexistent/optional")).unwrap(), 0);
    }

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        let path = std::env::temp_dir().join(format!("casemate-no-module-{}", std::process::id()));
        fs::write(&path, b"no module").unwrap();
        let error = load(&path).unwrap_err();
        fs::remove_file(&path).unwrap();
        assert!(error.to_string().contains("finit_module"), "{error}");
    }
}
