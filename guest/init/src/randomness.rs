//! What is random in this guest?

use casemate_guest_sys::entropy;
use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::environment::EnvironmentError;

/// The kernel's generator, once it holds something that the host does not know.
pub type Randomness = UnwrapErr<SysRng>;

/// Seeds the kernel's generator from the processor.
///
/// Nothing that the host could offer counts: no virtio-rng, no boot loader seed, no clock.
///
/// # Errors
/// [`EnvironmentError::NoEntropy`], and the kernel's refusal.
pub fn seed() -> Result<Randomness, EnvironmentError> {
    let seed = entropy::from_processor().ok_or(EnvironmentError::NoEntropy)?;
    entropy::add(&seed, SEED_BITS)?;
    // The generator answers from here on: one failing call would be a broken kernel.
    let mut probe = [0; 16];
    getrandom::fill(&mut probe).map_err(|_| EnvironmentError::NoRandomness)?;
    Ok(UnwrapErr(SysRng))
}

/// Mixes in what the seats sealed to this guest: unknown to the host, even if the processor's entropy
/// were not.
///
/// # Errors
/// The kernel's refusal.
pub fn add_from_seats(seed: &[u8; 32]) -> Result<(), EnvironmentError> {
    Ok(entropy::add(seed, SEED_BITS)?)
}

const SEED_BITS: u32 = 256;
