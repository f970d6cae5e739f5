//! What does `/dev/sev-guest` answer?
//!
//! The kernel encrypts the request for the security processor (AMD 56860, SEV-SNP Firmware ABI,
//! SNP_GUEST_REQUEST); the host carries it and learns nothing but that it was made.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use casemate_evidence::{ReportData, snp};

use crate::sys::{self, Failure, ReportRequest, Response};
use crate::{Attester, Error, Evidence, check_report, parse_table};

/// The kernel's device for requests to the security processor.
pub struct SevGuest {
    device: File,
    path: PathBuf,
}

impl SevGuest {
    /// Where the kernel puts the device.
    pub const DEVICE: &str = "/dev/sev-guest";

    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let device = File::options().read(true).write(true).open(path);
        let device = device.map_err(|source| Error::Io { path: path.into(), action: "opened", source })?;
        Ok(SevGuest { device, path: path.into() })
    }

    /// A report and the certificates that the host stores for its guests, or why there are none.
    ///
    /// # Errors
    /// As [`Attester::evidence`], and [`Error::Certificates`].
    pub fn extended_evidence(&self, report_data: &ReportData) -> Result<Evidence, Error> {
        let (report, table) = self.extended(report_data)?;
        Ok(Evidence::Snp { report, certificates: parse_table(&table)? })
    }

    fn extended(&self, report_data: &ReportData) -> Result<(Box<snp::Report>, Vec<u8>), Error> {
        let mut table = vec![0; CERTIFICATE_BYTES];
        let response = sys::extended_report(self.device.as_fd(), request(report_data), &mut table)
            .map_err(|failure| self.explain(failure))?;
        Ok((check_report(report_bytes(&response)?, report_data)?, table))
    }

    fn plain(&self, report_data: &ReportData) -> Result<Box<snp::Report>, Error> {
        let response = sys::report(self.device.as_fd(), &request(report_data))
            .map_err(|failure| self.explain(failure))?;
        check_report(report_bytes(&response)?, report_data)
    }

    fn explain(&self, failure: Failure) -> Error {
        if failure.exit_info == 0 {
            // Neither firmware nor VMM was reached: the file is no such device, or its module objects.
            return Error::Io {
                path: self.path.clone(),
                action: "asked for a report",
                source: failure.source,
            };
        }
        let status = FirmwareStatus::new(failure.exit_info, failure.certificate_bytes);
        Error::Refused { source: failure.source, status }
    }
}

impl Attester for SevGuest {
    /// Takes along what certificates the host has; a host that has none, or damaged ones, costs no report:
    /// a Verifier can fetch them elsewhere.
    fn evidence(&self, report_data: &ReportData) -> Result<Evidence, Error> {
        match self.extended(report_data) {
            Ok((report, table)) => {
                Ok(Evidence::Snp { report, certificates: parse_table(&table).unwrap_or_default() })
            }
            Err(_) => Ok(Evidence::Snp { report: self.plain(report_data)?, certificates: Vec::new() }),
        }
    }
}

/// Why a guest request failed, as firmware and VMM put it (`exitinfo2` of linux/sev-guest.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareStatus {
    /// Error of the security processor (AMD 56860, Status Codes); 0 if it did not object.
    pub firmware_error: u32,
    /// Error of the VMM (GHCB specification 56421, SNP Guest Request); 0 if it did not object.
    pub vmm_error: u32,
    /// Bytes that the host's certificates need, if that is why.
    pub certificate_bytes: u32,
}

impl FirmwareStatus {
    fn new(exit_info: u64, certificate_bytes: u32) -> Self {
        FirmwareStatus {
            firmware_error: exit_info as u32,
            vmm_error: (exit_info >> 32) as u32,
            certificate_bytes,
        }
    }
}

impl fmt::Display for FirmwareStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.firmware_error, self.vmm_error) {
            (NEVER_SENT, 0) => f.write_str("the kernel did not pass it on; its log says why"),
            (0, 1) => write!(
                f,
                "the host's certificates need {} bytes, at most {CERTIFICATE_BYTES} are read",
                self.certificate_bytes
            ),
            (0, 2) => f.write_str("the host is busy or throttles requests; retry in a second"),
            (0, code) => write!(f, "the VMM reported error {code:#x}; the host's log may say why"),
            (code, _) => write!(f, "the security processor reported {code:#x} ({})", firmware_meaning(code)),
        }
    }
}

fn request(report_data: &ReportData) -> ReportRequest {
    ReportRequest { user_data: *report_data.as_bytes(), vmpl: 0, reserved: [0; 28] }
}

/// MSG_REPORT_RSP: STATUS at 0, REPORT_SIZE at 4, the report at 0x20 (AMD 56860, MSG_REPORT_RSP).
fn report_bytes(response: &Response) -> Result<&[u8], Error> {
    let word =
        |offset: usize| u32::from_le_bytes(response[offset..offset + 4].try_into().expect("four bytes"));
    match word(0) {
        0 => {}
        0x16 => {
            return Err(Error::Status {
                found: 0x16,
                meaning: "invalid parameters: VMPL 0 cannot be asked from here",
            });
        }
        0x27 => {
            return Err(Error::Status { found: 0x27, meaning: "the key that was selected does not exist" });
        }
        found => return Err(Error::Status { found, meaning: "unknown status" }),
    }
    let found = word(4) as usize;
    if found != snp::Report::LEN {
        return Err(Error::ReportSize { found, expected: snp::Report::LEN });
    }
    Ok(&response[0x20..0x20 + snp::Report::LEN])
}

/// AMD 56860, Status Codes: those that a guest request can meet.
fn firmware_meaning(code: u32) -> &'static str {
    match code {
        0x01 => "INVALID_PLATFORM_STATE: the host has not initialised SNP",
        0x02 => "INVALID_GUEST_STATE: the guest is not running",
        0x03 => "INVALID_CONFIG: the platform's configuration is refused",
        0x12 => "HWERROR_PLATFORM: hardware error, restart the host",
        0x13 => "HWERROR_UNSAFE: hardware error, restart the host",
        0x14 => "UNSUPPORTED: the host's firmware is too old",
        0x15 => "INVALID_PARAM: the host altered the request",
        0x16 => "RESOURCE_LIMIT: the firmware ran out of resources",
        0x19 => "AEAD_OFLOW: the guest's message counter is used up, restart the guest",
        _ => "see the SEV-SNP firmware ABI, Status Codes",
    }
}

/// SEV_RET_NO_FW_CALL, as the kernel presets it before a request is sent.
const NEVER_SENT: u32 = 0xff;

/// SEV_FW_BLOB_MAX_SIZE: what the kernel's driver accepts at most.
const CERTIFICATE_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn response(change: impl FnOnce(&mut Response)) -> Response {
        let mut response = [0; 4000];
        response[4..8].copy_from_slice(&1184_u32.to_le_bytes());
        change(&mut response);
        response
    }

    #[test]
    fn only_a_whole_and_successful_response_has_a_report() {
        assert_eq!(report_bytes(&response(|bytes| bytes[0x20] = 7)).unwrap()[0], 7);
        for (offset, value, expected) in [
            (0, 0x16, "invalid parameters"),
            (0, 0x27, "does not exist"),
            (3, 1, "unknown status"),
            (4, 0xa1, "of 1185 bytes"),
            (6, 1, "of 66720 bytes"),
        ] {
            let refused = report_bytes(&response(|bytes| bytes[offset] = value)).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn statuses_say_who_objected() {
        let text = |exit_info| FirmwareStatus::new(exit_info, 20480).to_string();
        assert!(text(0x1_0000_0000).contains("20480 bytes"));
        assert!(text(0x2_0000_0000).contains("retry"));
        assert!(text(0x3_0000_0000).contains("VMM reported error 0x3"));
        assert!(text(0x19).contains("AEAD_OFLOW"));
        assert!(text(0xff).contains("did not pass it on"));
    }

    #[test]
    fn a_missing_device_and_a_file_that_is_none_are_told_apart() {
        let missing = SevGuest::open(Path::new("/dev/sev-guest-that-is-not-there"));
        assert!(matches!(missing, Err(Error::Io { action: "opened", .. })));
        let zero = SevGuest::open(Path::new("/dev/null")).unwrap();
        let error = zero.evidence(&ReportData::from([1; 64])).unwrap_err();
        assert!(matches!(error, Error::Io { action: "asked for a report", .. }), "{error}");
        let error = zero.extended_evidence(&ReportData::from([1; 64])).unwrap_err();
        assert!(matches!(error, Error::Io { action: "asked for a report", .. }), "{error}");
    }
}
