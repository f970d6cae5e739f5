//! How does Python reach the verifier?
//!
//! One function, which `python/casemate/__init__.py` hides: a request in JSON and files, and JSON back. What
//! both may say is in `casemate_intake`; there are no rules here.

use casemate_intake::File;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// Answers a call, in JSON, while other threads of Python go on.
#[pyfunction]
fn call(py: Python<'_>, request: &str, files: Vec<(String, PyBackedBytes)>) -> String {
    py.detach(|| {
        let files: Vec<_> = files.iter().map(|(name, bytes)| File { name, bytes }).collect();
        casemate_intake::call(request.as_bytes(), &files, casemate_crypto::provider())
    })
}

#[pymodule]
fn _casemate(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(call, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
