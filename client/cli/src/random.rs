//! Where does chance come from?

/// The operating system's random numbers.
///
/// # Panics
/// When used, if the operating system has none: no key may be made then.
pub fn system() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// `N` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand_core::Rng::fill_bytes(&mut system(), &mut bytes);
    bytes
}
