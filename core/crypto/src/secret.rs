//! Which bytes must never be shown?

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

/// `N` secret bytes: zeroed on drop, compared in constant time, hidden from `Debug`, without `Display`
/// and without any serialisation. Whoever needs the bytes says [`Secret::expose`].
#[derive(Clone)]
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// `N` fresh bytes from `rng`.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Box::new([0; N]);
        rng.fill_bytes(&mut bytes[..]);
        Secret(bytes)
    }

    /// Moves `bytes` in and zeroes the caller's copy.
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let secret = Secret(Box::new(*bytes));
        bytes.zeroize();
        secret
    }

    /// A secret of exactly `N` bytes, or `None` if `bytes` has another length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != N {
            return None;
        }
        let mut copy = Box::new([0; N]);
        copy.copy_from_slice(bytes);
        Some(Secret(copy))
    }

    /// The bytes, for the one computation that needs them.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// XORs `other` into this secret.
    pub fn xor(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *mine ^= theirs;
        }
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0[..].ct_eq(&other.0[..]).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> std::fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({N} bytes, hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(
            format!("{:?}", Secret::<4>::from_slice(&[1, 2, 3, 4]).unwrap()),
            "Secret(4 bytes, hidden)"
        );
    }

    #[test]
    fn taking_zeroes_the_original() {
        let mut bytes = [7; 4];
        let secret = Secret::take(&mut bytes);
        assert_eq!((bytes, secret.expose()), ([0; 4], &[7; 4]));
    }

    #[test]
    fn another_length_is_no_secret() {
        assert!(Secret::<4>::from_slice(&[1, 2, 3]).is_none());
    }
}
