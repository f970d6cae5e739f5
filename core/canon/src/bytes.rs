//! Which fixed-size byte string is this?

use std::fmt;

/// Why a text does not name a byte string.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseBytesError {
    /// Another number of digits.
    #[error("{found} characters, expected {expected} hexadecimal digits")]
    Length {
        /// Characters found.
        found: usize,
        /// Digits expected.
        expected: usize,
    },
    /// A character that is no hexadecimal digit.
    #[error("not hexadecimal; expected digits 0-9 and a-f only")]
    NotHex,
}

/// The first six and the last four hexadecimal digits, for people.
#[derive(Clone, Copy)]
pub struct Short<'a>(&'a [u8]);

impl<'a> Short<'a> {
    /// Shortens `bytes`, which are shown whole if they have fewer than six.
    pub fn new(bytes: &'a [u8]) -> Self {
        Short(bytes)
    }
}

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = hex::encode(self.0);
        if self.0.len() < 6 {
            return f.write_str(&text);
        }
        write!(f, "{}..{}", &text[..6], &text[text.len() - 4..])
    }
}

/// Declares a byte string of fixed length as a type of its own.
///
/// It prints and serialises (serde) as lower-case hexadecimal, encodes as a CBOR byte string, and
/// orders byte by byte. Not for secrets: those live in `casemate_crypto::Secret`.
#[macro_export]
macro_rules! byte_type {
    ($(#[$meta:meta])* $vis:vis struct $name:ident([u8; $len:expr]);) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// These bytes, also in constants.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Six and four hexadecimal digits, for people.
            pub fn short(&self) -> $crate::Short<'_> {
                $crate::Short::new(&self.0)
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = std::array::TryFromSliceError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                Ok(Self(bytes.try_into()?))
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::reexport::hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ParseBytesError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if text.len() != 2 * $len {
                    return Err($crate::ParseBytesError::Length { found: text.len(), expected: 2 * $len });
                }
                let mut bytes = [0; $len];
                $crate::reexport::hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| $crate::ParseBytesError::NotHex)?;
                Ok(Self(bytes))
            }
        }

        impl<C> $crate::reexport::minicbor::Encode<C> for $name {
            fn encode<W: $crate::reexport::minicbor::encode::Write>(
                &self,
                e: &mut $crate::reexport::minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), $crate::reexport::minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> $crate::reexport::minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut $crate::reexport::minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, $crate::reexport::minicbor::decode::Error> {
                let at = d.position();
                Self::try_from(d.bytes()?).map_err(|_| {
                    $crate::reexport::minicbor::decode::Error::message(concat!(
                        "byte string of another length than ",
                        stringify!($len),
                        " for ",
                        stringify!($name)
                    ))
                    .at(at)
                })
            }
        }

        impl $crate::reexport::serde::Serialize for $name {
            fn serialize<S: $crate::reexport::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> $crate::reexport::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::reexport::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as $crate::reexport::serde::Deserialize>::deserialize(d)?;
                text.parse().map_err($crate::reexport::serde::de::Error::custom)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::{ParseBytesError, from_cbor, to_cbor};

    byte_type! {
        struct Four([u8; 4]);
    }

    #[test]
    fn bytes_are_what_was_given() {
        let four = Four::from_bytes([1, 2, 3, 4]);
        assert_eq!((four.as_bytes().len(), *four.as_bytes()), (Four::LEN, [1, 2, 3, 4]));
        assert_eq!(four.short().to_string(), "01020304", "too few to shorten");
    }

    #[test]
    fn text_goes_both_ways() {
        let four = Four::from([1, 2, 0xab, 0xff]);
        assert_eq!(four.to_string(), "0102abff");
        assert_eq!("0102abff".parse::<Four>().unwrap(), four);
    }

    #[test]
    fn another_length_is_refused_in_text_and_cbor() {
        assert_eq!("0102".parse::<Four>(), Err(ParseBytesError::Length { found: 4, expected: 8 }));
        assert!(from_cbor::<Four>(&to_cbor(&minicbor::bytes::ByteVec::from(vec![1, 2, 3])), 16).is_err());
    }

    #[test]
    fn letters_beyond_f_are_refused() {
        assert_eq!("0102abxy".parse::<Four>(), Err(ParseBytesError::NotHex));
    }
}
