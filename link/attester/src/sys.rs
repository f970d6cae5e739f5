//! The one system call: a guest request to `/dev/sev-guest` (linux/sev-guest.h).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `struct snp_report_req`: 96 bytes.
#[repr(C)]
pub(crate) struct ReportRequest {
    pub(crate) user_data: [u8; 64],
    pub(crate) vmpl: u32,
    pub(crate) reserved: [u8; 28],
}

/// `struct snp_ext_report_req`.
#[repr(C)]
struct ExtendedRequest {
    data: ReportRequest,
    certs_address: u64,
    certs_len: u32,
}

/// `struct snp_guest_request_ioctl`: 32 bytes.
#[repr(C)]
struct GuestRequest {
    msg_version: u8,
    req_data: u64,
    resp_data: u64,
    /// Low half: firmware error; high half: VMM error.
    exit_info: u64,
}

/// `struct snp_report_resp`.
pub(crate) type Response = [u8; 4000];

/// What a failed request left behind.
pub(crate) struct Failure {
    pub(crate) source: io::Error,
    pub(crate) exit_info: u64,
    /// Bytes that the host's certificates need, where it refused for want of space; otherwise as asked.
    pub(crate) certificate_bytes: u32,
}

/// SNP_GET_REPORT.
pub(crate) fn report(device: BorrowedFd<'_>, request: &ReportRequest) -> Result<Box<Response>, Failure> {
    let mut response = Box::new([0; 4000]);
    let mut ioctl = GuestRequest {
        msg_version: 1,
        req_data: std::ptr::from_ref(request) as u64,
        resp_data: response.as_mut_ptr() as u64,
        exit_info: 0,
    };
    // SAFETY: `ioctl` is a `struct snp_guest_request_ioctl`; its addresses point to a live
    // `struct snp_report_req`, which the kernel reads, and to 4000 writable bytes, the size of
    // `struct snp_report_resp`, both borrowed until the call returns. The kernel keeps neither.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), SNP_GET_REPORT as libc::Ioctl, &raw mut ioctl) };
    if result < 0 {
        let source = io::Error::last_os_error();
        return Err(Failure { source, exit_info: ioctl.exit_info, certificate_bytes: 0 });
    }
    Ok(response)
}

/// SNP_GET_EXT_REPORT: as [`report`], and the host's certificate table goes to `certificates`, whose length
/// is a multiple of 4096 and at most 16 KiB (SEV_FW_BLOB_MAX_SIZE).
pub(crate) fn extended_report(
    device: BorrowedFd<'_>,
    request: ReportRequest,
    certificates: &mut [u8],
) -> Result<Box<Response>, Failure> {
    let mut response = Box::new([0; 4000]);
    let mut request = ExtendedRequest {
        data: request,
        certs_address: certificates.as_mut_ptr() as u64,
        certs_len: certificates.len() as u32,
    };
    let mut ioctl = GuestRequest {
        msg_version: 1,
        req_data: &raw mut request as u64,
        resp_data: response.as_mut_ptr() as u64,
        exit_info: 0,
    };
    // SAFETY: as in `report`; `request` is a `struct snp_ext_report_req`, which the kernel reads and
    // writes, and names `certs_len` writable bytes that are borrowed until the call returns.
    let result =
        unsafe { libc::ioctl(device.as_raw_fd(), SNP_GET_EXT_REPORT as libc::Ioctl, &raw mut ioctl) };
    if result < 0 {
        let source = io::Error::last_os_error();
        return Err(Failure { source, exit_info: ioctl.exit_info, certificate_bytes: request.certs_len });
    }
    Ok(response)
}

/// `_IOWR('S', number, struct snp_guest_request_ioctl)` (asm-generic/ioctl.h).
const fn request_number(number: u64) -> u64 {
    3 << 30 | (size_of::<GuestRequest>() as u64) << 16 | (b'S' as u64) << 8 | number
}

const SNP_GET_REPORT: u64 = request_number(0);
const SNP_GET_EXT_REPORT: u64 = request_number(2);

const _: () = {
    assert!(size_of::<ReportRequest>() == 96);
    assert!(size_of::<GuestRequest>() == 32);
    assert!(std::mem::offset_of!(GuestRequest, exit_info) == 24);
    assert!(std::mem::offset_of!(ExtendedRequest, certs_address) == 96);
    assert!(SNP_GET_REPORT == 0xc020_5300);
};
