//! Where does the guest's randomness come from, if not from its host?
//!
//! The kernel's generator is the only one that the guest draws from. What it is seeded with must
//! include something that the host does not know: the processor's RDSEED or RDRAND, which the host can neither
//! read nor choose on SEV-SNP and TDX, and what the seats seal to the guest. What the host offers
//! (virtio-rng, boot loader seed) counts for nothing.

use std::{
    fs::{File, OpenOptions},
    path::Path,
};

use crate::{Error, sys};

/// 32 bytes from the processor, or nothing where it has no such instruction.
pub fn from_processor() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    for chunk in seed.chunks_exact_mut(8) {
        chunk.copy_from_slice(&sys::processor_random()?.to_ne_bytes());
    }
    Some(seed)
}

/// Mixes `bytes` into the kernel's generator, counts `credit_bits` of them as unknown to anyone else
/// and makes the generator reseed from its pool at once.
///
/// # Errors
/// [`Error::Call`].
pub fn add(bytes: &[u8], credit_bits: u32) -> Result<(), Error> {
    let device = Path::new("/dev/urandom");
    let file = OpenOptions::new().write(true).open(device).map_err(Error::call("open", device))?;
    add_to(&file, bytes, credit_bits).map_err(Error::call("RNDADDENTROPY", device))
}

fn add_to(file: &File, bytes: &[u8], credit_bits: u32) -> std::io::Result<()> {
    let credit = credit_bits.min(bytes.len() as u32 * 8);
    // struct rand_pool_info (linux/random.h): entropy_count, buf_size, buf.
    let mut information = Vec::with_capacity(8 + bytes.len());
    information.extend_from_slice(&credit.to_ne_bytes());
    information.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
    information.extend_from_slice(bytes);
    let result = sys::ioctl_buffer(file, RNDADDENTROPY, &mut information);
    information.fill(0);
    result?;
    sys::ioctl_none(file, RNDRESEEDCRNG)
}

// linux/random.h: _IOW('R', 0x03, int[2]) and _IO('R', 0x07).
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seeds_differ() {
        if let (Some(first), Some(second)) = (from_processor(), from_processor()) {
            assert_ne!(first, second);
        }
    }

    #[test]
    fn a_file_that_is_no_generator_takes_no_entropy() {
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        assert_eq!(add_to(&null, &[1; 32], 8).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
