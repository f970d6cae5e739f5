//! How do a request and its files cross the border as one run of bytes?
//!
//! Each part is its length, 32 bits little-endian, and its bytes: first the request, then name and content of
//! each file in turn.

use casemate_intake::File;

/// A request and its files.
#[derive(Debug)]
pub struct Frame<'a> {
    /// JSON.
    pub request: &'a [u8],
    /// What it is about.
    pub files: Vec<File<'a>>,
}

/// Why bytes are no frame.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A part is longer than what is left.
    #[error("a part needs {expected} bytes, {found} are left")]
    Short {
        /// Bytes it needs.
        expected: usize,
        /// Bytes left.
        found: usize,
    },
    /// A name that is not UTF-8.
    #[error("the name of file {index} is not UTF-8")]
    Name {
        /// Which file, from 0.
        index: usize,
    },
}

impl<'a> Frame<'a> {
    /// Reads a frame; the parts stay where they are.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut rest = bytes;
        let request = part(&mut rest)?;
        let mut files = Vec::new();
        while !rest.is_empty() {
            let name =
                std::str::from_utf8(part(&mut rest)?).map_err(|_| FrameError::Name { index: files.len() })?;
            files.push(File { name, bytes: part(&mut rest)? });
        }
        Ok(Self { request, files })
    }
}

fn part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], FrameError> {
    let length = u32::from_le_bytes(*take::<4>(rest)?);
    let expected = usize::try_from(length).unwrap_or(usize::MAX);
    let (found, after) =
        rest.split_at_checked(expected).ok_or(FrameError::Short { expected, found: rest.len() })?;
    *rest = after;
    Ok(found)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], FrameError> {
    let (found, after) =
        rest.split_first_chunk().ok_or(FrameError::Short { expected: N, found: rest.len() })?;
    *rest = after;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(parts: &[&[u8]]) -> Vec<u8> {
        let length = |part: &[u8]| u32::try_from(part.len()).expect("a short part").to_le_bytes();
        parts.iter().flat_map(|part| [&length(part)[..], part].concat()).collect()
    }

    #[test]
    fn parts_come_back_as_they_were() {
        let bytes = write(&[b"{}", b"report.bin", &[1, 2, 3], b"", b""]);
        let frame = Frame::parse(&bytes).expect("a frame");
        assert_eq!(frame.request, b"{}");
        let files: Vec<_> = frame.files.iter().map(|file| (file.name, file.bytes)).collect();
        assert_eq!(files, [("report.bin", &[1, 2, 3][..]), ("", &[])]);
    }

    #[test]
    fn worked_bytes_of_the_reference_hold() {
        // docs/reference/question.md
        let bytes = [2, 0, 0, 0, 0x7B, 0x7D, 1, 0, 0, 0, 0x61, 2, 0, 0, 0, 0xCC, 0xDD];
        let frame = Frame::parse(&bytes).expect("a frame");
        assert_eq!(frame.request, b"{}");
        assert_eq!((frame.files[0].name, frame.files[0].bytes), ("a", &[0xCC, 0xDD][..]));
    }

    #[test]
    fn each_way_to_be_no_frame_has_its_own_error() {
        assert_eq!(Frame::parse(&[]).unwrap_err(), FrameError::Short { expected: 4, found: 0 });
        assert_eq!(
            Frame::parse(&[2, 0, 0, 0, b'{']).unwrap_err(),
            FrameError::Short { expected: 2, found: 1 }
        );
        assert_eq!(
            Frame::parse(&[0xFF; 4]).unwrap_err(),
            FrameError::Short { expected: 0xFFFF_FFFF, found: 0 }
        );
        let without_content = write(&[b"{}", b"report.bin"]);
        assert_eq!(Frame::parse(&without_content).unwrap_err(), FrameError::Short { expected: 4, found: 0 });
        assert_eq!(Frame::parse(&write(&[b"{}", &[0xFF], b""])).unwrap_err(), FrameError::Name { index: 0 });
    }

    proptest! {
        #[test]
        fn there_is_always_an_answer_in_json(bytes: Vec<u8>) {
            let reply = crate::answer(&bytes);
            prop_assert!(reply.starts_with('{') && reply.ends_with('}'), "{reply}");
        }
    }
}
