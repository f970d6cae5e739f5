//! The system calls themselves. Everything unsafe is here.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
};

/// `finit_module(2)` with no parameters and no flags.
pub(crate) fn finit_module(module: &File) -> io::Result<()> {
    let parameters: &CStr = c"";
    // SAFETY: the descriptor is open for the duration of the borrow, `parameters` is a NUL-terminated
    // string that the kernel copies, and the call touches no other memory of this process.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), parameters.as_ptr(), 0_i32) };
    check(result as i32)
}

/// `ioctl(2)` that reads no memory and writes one `u64`.
pub(crate) fn ioctl_read_u64(file: &File, request: libc::c_ulong) -> io::Result<u64> {
    let mut value = 0_u64;
    // SAFETY: callers in this crate pass only requests that write exactly one u64 (BLKGETSIZE64);
    // `value` lives across the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, &raw mut value) };
    check(result)?;
    Ok(value)
}

/// `ioctl(2)` that takes no argument.
pub(crate) fn ioctl_none(file: &File, request: libc::c_ulong) -> io::Result<()> {
    // SAFETY: callers in this crate pass only requests that ignore their argument (BLKFLSBUF,
    // RNDRESEEDCRNG), so no memory is read or written through it.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request as _, 0) })
}

/// `ioctl(2)` on a buffer that begins with its own total length, as `struct dm_ioctl` does.
///
/// `buffer.len()` must be what its length field says; [`crate::device_mapper`] writes both at once.
pub(crate) fn ioctl_buffer(file: &File, request: libc::c_ulong, buffer: &mut [u8]) -> io::Result<()> {
    // SAFETY: the kernel reads and writes at most the length that the buffer states (`data_size` in
    // dm_ioctl, `buf_size` in rand_pool_info), which the two callers set from `buffer.len()`; the
    // buffer is borrowed mutably across the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request as _, buffer.as_mut_ptr()) })
}

/// Makes the child of `command` change its root before it executes its program.
pub(crate) fn chroot_child(command: &mut Command, root: CString) {
    // SAFETY: the closure runs between fork and exec. It makes two system calls, allocates nothing,
    // takes no lock and touches no memory but the string it owns, which was made before the fork.
    unsafe {
        command.pre_exec(move || {
            check(libc::chroot(root.as_ptr()))?;
            check(libc::chdir(c"/".as_ptr()))
        });
    }
}

/// 64 bits of RDSEED, of RDRAND where the processor lacks that, or nothing where it has neither or is
/// out of entropy.
#[cfg(target_arch = "x86_64")]
pub(crate) fn processor_random() -> Option<u64> {
    let (seed, random) =
        (std::arch::is_x86_feature_detected!("rdseed"), std::arch::is_x86_feature_detected!("rdrand"));
    let mut value = 0;
    // Both fail when drained; Intel's guide (DRNG 5.2.1, 5.3.1.1) asks for a bounded number of retries.
    for _ in 0..RETRIES {
        let done = match (seed, random) {
            // SAFETY: the processor has RDSEED, checked above; the intrinsic writes one u64.
            (true, _) => unsafe { core::arch::x86_64::_rdseed64_step(&mut value) },
            // SAFETY: the processor has RDRAND, checked above; the intrinsic writes one u64.
            (false, true) => unsafe { core::arch::x86_64::_rdrand64_step(&mut value) },
            (false, false) => return None,
        };
        if done == 1 {
            return Some(value);
        }
        std::hint::spin_loop();
    }
    None
}

/// Nothing: only x86-64 processors are known here.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn processor_random() -> Option<u64> {
    None
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(target_arch = "x86_64")]
const RETRIES: usize = 128;
