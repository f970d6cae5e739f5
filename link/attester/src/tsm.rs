//! What does the kernel's report folder answer?
//!
//! configfs-tsm (Linux Documentation/ABI/testing/configfs-tsm): a folder per request, with files to write
//! the report data to and to read the report from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use casemate_evidence::{ReportData, snp};

use crate::{Attester, Error, Evidence, check_report, parse_table};

/// The configfs folder in which requests are made.
pub struct Tsm {
    folder: PathBuf,
}

impl Tsm {
    /// Where configfs shows it.
    pub const FOLDER: &str = "/sys/kernel/config/tsm/report";

    /// Uses the folder at `path`.
    pub fn at(path: &Path) -> Self {
        Tsm { folder: path.into() }
    }
}

impl Attester for Tsm {
    fn evidence(&self, report_data: &ReportData) -> Result<Evidence, Error> {
        static REQUESTS: AtomicU32 = AtomicU32::new(0);
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        let entry = Entry::create(self.folder.join(format!("casemate-{}-{number}", std::process::id())))?;
        request(&entry.0, report_data)
    }
}

/// A request's folder, removed when done.
struct Entry(PathBuf);

impl Entry {
    fn create(path: PathBuf) -> Result<Self, Error> {
        // ENXIO: no module provides reports.
        fs::create_dir(&path).map_err(|source| Error::Io {
            path: path.clone(),
            action: "created",
            source,
        })?;
        Ok(Entry(path))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Left behind, it costs the kernel one empty entry and changes no answer.
        let _ = fs::remove_dir(&self.0);
    }
}

fn request(entry: &Path, report_data: &ReportData) -> Result<Evidence, Error> {
    let provider = entry.join("provider");
    let name = text(&provider)?;
    if name != "sev_guest" {
        return Err(Error::Provider { path: provider, found: name.into() });
    }
    let inblob = entry.join("inblob");
    let written = fs::File::options().write(true).open(&inblob).and_then(|mut file| {
        // One write: the kernel counts each as a new generation.
        match io::Write::write(&mut file, report_data.as_bytes())? {
            64 => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    });
    written.map_err(|source| Error::Io { path: inblob, action: "written", source })?;
    let report = read(&entry.join("outblob"))?;
    let table = read_optional(&entry.join("auxblob"))?;
    let generation = entry.join("generation");
    match text(&generation)?.as_str() {
        "1" => {}
        found => return Err(Error::Generation { path: generation, found: found.into() }),
    }
    if report.len() != snp::Report::LEN {
        return Err(Error::ReportSize { found: report.len(), expected: snp::Report::LEN });
    }
    let certificates = if table.is_empty() { Vec::new() } else { parse_table(&table)? };
    Ok(Evidence::Snp { report: check_report(&report, report_data)?, certificates })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    // The kernel bounds each blob at 32 KiB (TSM_REPORT_OUTBLOB_MAX).
    fs::read(path).map_err(|source| Error::Io { path: path.into(), action: "read", source })
}

/// Empty where the host stores no certificates, or the kernel shows no such file.
fn read_optional(path: &Path) -> Result<Vec<u8>, Error> {
    match read(path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn text(path: &Path) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&read(path)?).trim_end().chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as the kernel shows it after one request, `outblob` of the given length.
    fn entry(outblob: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in
            [("provider", "sev_guest\n"), ("inblob", ""), ("generation", "1\n"), ("auxblob", "")]
        {
            fs::write(folder.path().join(name), contents).unwrap();
        }
        fs::write(folder.path().join("outblob"), vec![0; outblob]).unwrap();
        folder
    }

    fn refusal(change: impl FnOnce(&Path)) -> Error {
        let entry = entry(snp::Report::LEN);
        change(entry.path());
        request(entry.path(), &ReportData::from([1; 64])).unwrap_err()
    }

    #[test]
    fn each_wrong_file_is_refused_for_itself() {
        assert!(matches!(refusal(|_| {}), Error::Report(_)), "1184 zero bytes are no report");
        let write = |name: &'static str, text: &'static str| {
            refusal(move |entry| fs::write(entry.join(name), text).unwrap())
        };
        assert!(
            matches!(write("provider", "tdx_guest\n"), Error::Provider { found, .. } if &*found == "tdx_guest")
        );
        assert!(matches!(write("generation", "2\n"), Error::Generation { found, .. } if &*found == "2"));
        assert!(matches!(write("outblob", "short"), Error::ReportSize { found: 5, expected: 1184 }));
        assert!(matches!(write("auxblob", "no table"), Error::Certificates(_)));
        for name in ["provider", "inblob", "outblob", "generation"] {
            let error = refusal(|entry| fs::remove_file(entry.join(name)).unwrap());
            assert!(matches!(&error, Error::Io { path, .. } if path.ends_with(name)), "{error}");
        }
    }

    #[test]
    fn without_a_provider_there_is_no_evidence() {
        let error = Tsm::at(Path::new("/nowhere")).evidence(&ReportData::from([1; 64])).unwrap_err();
        assert!(matches!(error, Error::Io { action: "created", .. }));
    }
}
