//! Where in these bytes are we, and is there enough left?
//!
//! A cursor over bytes of an adversary: every step is bounded by what is there, nothing is copied, and
//! nothing is allocated by a length that the bytes only claim.

/// The bytes end before a field does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ends too early: {needed} bytes needed at offset {offset}, {left} left; was it cut?")]
pub struct Truncated {
    /// Where the field begins.
    pub offset: usize,
    /// Its length in bytes.
    pub needed: usize,
    /// How many bytes are left there.
    pub left: usize,
}

/// A cursor; see the module.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// What is left, without taking it.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Truncated> {
        let rest = self.rest();
        match rest.get(..len) {
            Some(taken) => {
                self.position += len;
                Ok(taken)
            }
            None => Err(Truncated { offset: self.position, needed: len, left: rest.len() }),
        }
    }

    pub(crate) fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Truncated> {
        let taken = self.take(LENGTH)?;
        Ok(taken.try_into().expect("`take` gives as many bytes as it was asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16_be(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32_be(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64_be(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_never_past_the_end() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16_be(), Ok(0x0203));
        assert_eq!(reader.u16_le(), Ok(0x0504));
        assert_eq!(reader.position(), 5);
        assert_eq!(reader.take(usize::MAX), Err(Truncated { offset: 5, needed: usize::MAX, left: 2 }));
        assert_eq!(reader.u64_le(), Err(Truncated { offset: 5, needed: 8, left: 2 }));
        assert_eq!(reader.rest(), [6, 7]);
        assert_eq!(reader.take(2), Ok(&[6, 7][..]));
        assert!(reader.is_at_end());
        assert_eq!(reader.u8(), Err(Truncated { offset: 7, needed: 1, left: 0 }));
    }
}
