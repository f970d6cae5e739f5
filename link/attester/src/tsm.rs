//! What does the kernel's report folder answer?
//!
//! configfs-tsm (Linux Documentation/ABI/testing/configfs-tsm): a folder per request, with files to write
//! the report data to and to read the answer from: of provider `sev_guest` a report, and in `auxblob` the
//! host's certificates; of `tdx_guest` a quote, and no `auxblob` on hardware.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use casemate_evidence::bundle::{Bundle, IntelCollateral};
use casemate_evidence::{ReportData, snp};

use crate::{Attester, Error, Evidence, check_quote, check_report, parse_table};

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
    let answer = match text(&provider)?.as_str() {
        "sev_guest" => snp,
        "tdx_guest" => tdx,
        found => return Err(Error::Provider { path: provider, found: found.into() }),
    };
    let inblob = entry.join("inblob");
    let written = fs::File::options().write(true).open(&inblob).and_then(|mut file| {
        // One write: the kernel counts each as a new generation.
        match io::Write::write(&mut file, report_data.as_bytes())? {
            64 => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    });
    written.map_err(|source| Error::Io { path: inblob, action: "written", source })?;
    let outblob = read(&entry.join("outblob"))?;
    let auxblob = read_optional(&entry.join("auxblob"))?;
    let generation = entry.join("generation");
    match text(&generation)?.as_str() {
        "1" => {}
        found => return Err(Error::Generation { path: generation, found: found.into() }),
    }
    answer(outblob, &auxblob, report_data)
}

fn snp(report: Vec<u8>, table: &[u8], asked: &ReportData) -> Result<Evidence, Error> {
    if report.len() != snp::Report::LEN {
        return Err(Error::ReportSize { found: report.len(), expected: snp::Report::LEN });
    }
    let certificates = if table.is_empty() { Vec::new() } else { parse_table(table)? };
    Ok(Evidence::Snp { report: check_report(&report, asked)?, certificates })
}

fn tdx(quote: Vec<u8>, carried: &[u8], asked: &ReportData) -> Result<Evidence, Error> {
    check_quote(&quote, asked)?;
    let collateral = if carried.is_empty() { None } else { read_collateral(carried)? };
    Ok(Evidence::Tdx { quote, collateral })
}

/// Of an evidence bundle, the form in which collateral travels.
fn read_collateral(bytes: &[u8]) -> Result<Option<Box<IntelCollateral>>, Error> {
    Ok(Bundle::parse(bytes)?.intel_collateral().cloned().map(Box::new))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    // The kernel bounds each blob at 32 KiB (TSM_REPORT_OUTBLOB_MAX).
    fs::read(path).map_err(|source| Error::Io { path: path.into(), action: "read", source })
}

/// Empty where nothing came along, or the kernel shows no such file.
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
    use casemate_evidence::bundle::{BundleError, Item};
    use casemate_evidence::intel::{Body, QuoteBuilder, QuoteVersion};
    use casemate_evidence::{sgx, tdx};

    const ASKED: [u8; 64] = [1; 64];

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

    /// An entry of a trust domain, with this quote.
    fn trust_domain(quote: &[u8]) -> tempfile::TempDir {
        let entry = entry(0);
        fs::write(entry.path().join("provider"), "tdx_guest\n").unwrap();
        fs::write(entry.path().join("outblob"), quote).unwrap();
        fs::remove_file(entry.path().join("auxblob")).unwrap(); // as on hardware
        entry
    }

    /// A quote whose signatures nobody has made: the attester checks none.
    fn quote(body: Body) -> Vec<u8> {
        let builder = QuoteBuilder {
            version: QuoteVersion::V4,
            body,
            header_svns: [0, 0],
            user_data: [0; 20],
            attestation_key: [3; 64].into(),
            quoting_enclave: enclave(),
            qe_authentication_data: Vec::new(),
            certificates_pem: Vec::new(),
        };
        builder.finish(&[4; 64].into(), &[5; 64].into())
    }

    fn enclave() -> sgx::ReportBuilder {
        sgx::ReportBuilder::new([1; 32].into(), [2; 32].into())
    }

    fn of_trust_domain(report_data: [u8; 64]) -> Vec<u8> {
        let mut report = tdx::ReportBuilder::new([5; 16].into());
        report.report_data = report_data.into();
        quote(Body::Tdx(report.finish()))
    }

    fn collateral() -> IntelCollateral {
        let bytes = || vec![7].into();
        IntelCollateral {
            tcb_info: bytes(),
            tcb_info_signature: [8; 64].into(),
            tcb_info_signer: bytes(),
            qe_identity: bytes(),
            qe_identity_signature: [9; 64].into(),
            qe_identity_signer: bytes(),
            root: bytes(),
            root_revocation_list: bytes(),
            pck_revocation_list: bytes(),
            pck_chain: Vec::new(),
        }
    }

    fn ask(entry: &tempfile::TempDir) -> Result<Evidence, Error> {
        request(entry.path(), &ReportData::from(ASKED))
    }

    #[test]
    fn a_trust_domain_gets_the_quote_that_it_asked_for() {
        let good = of_trust_domain(ASKED);
        let entry = trust_domain(&good);
        let evidence = ask(&entry).unwrap();
        assert_eq!(fs::read(entry.path().join("inblob")).unwrap(), ASKED);
        assert_eq!(evidence.report(), good);
        assert!(matches!(evidence, Evidence::Tdx { collateral: None, .. }));

        let bundle = Bundle::new([Item::IntelCollateral(collateral())]);
        fs::write(entry.path().join("auxblob"), bundle.to_bytes()).unwrap();
        let Evidence::Tdx { collateral: carried, .. } = ask(&entry).unwrap() else { panic!("of TDX") };
        assert_eq!(*carried.unwrap(), collateral());
    }

    #[test]
    fn each_wrong_answer_to_a_trust_domain_is_refused_for_itself() {
        let refused = |quote: &[u8]| ask(&trust_domain(quote)).unwrap_err();
        assert!(matches!(refused(&of_trust_domain([2; 64])), Error::OtherReportData { .. }));
        assert!(matches!(refused(&quote(Body::Sgx(enclave().finish()))), Error::QuoteOfEnclave));
        assert!(matches!(refused(b"no quote"), Error::Quote(_)));
        assert!(matches!(refused(&[]), Error::Quote(_)), "a host without a quoting service");
        let entry = trust_domain(&of_trust_domain(ASKED));
        fs::write(entry.path().join("auxblob"), b"no bundle").unwrap();
        assert!(matches!(ask(&entry).unwrap_err(), Error::Collateral(BundleError::Encoding(_))));
        let entry = trust_domain(&of_trust_domain(ASKED));
        fs::write(entry.path().join("generation"), "2\n").unwrap();
        assert!(matches!(ask(&entry).unwrap_err(), Error::Generation { .. }));
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
            matches!(write("provider", "arm_cca\n"), Error::Provider { found, .. } if &*found == "arm_cca")
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
