//! The system calls that the standard library does not wrap.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// mount(2) of a filesystem without a source.
pub(crate) fn mount(kind: &CStr, target: &CStr) -> io::Result<()> {
    // SAFETY: three live strings that end in NUL, and no data; the kernel keeps none of them.
    let result = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// finit_module(2) without parameters.
pub(crate) fn insert_module(module: &File, compressed: bool) -> io::Result<()> {
    /// MODULE_INIT_COMPRESSED_FILE (linux/module.h).
    const COMPRESSED: libc::c_long = 4;
    let flags = if compressed { COMPRESSED } else { 0 };
    // SAFETY: a descriptor that lives until the call returns, and an empty string that ends in NUL.
    let result = unsafe {
        libc::syscall(libc::SYS_finit_module, libc::c_long::from(module.as_raw_fd()), c"".as_ptr(), flags)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
