//! What is in a Debian package?
//!
//! A `.deb` (deb(5)) is an `ar` archive with `debian-binary`, `control.tar.*` and `data.tar.*`. Only the
//! data is read; maintainer scripts never run. Packages come from a lock, so this parser need not be fast.

use std::{io::Read, path::Path};

use crate::Error;

const MAGIC: &[u8] = b"!<arch>\n";
/// Size of an `ar` member header.
const HEADER: usize = 60;

/// The uncompressed `data.tar` of the package at `path`.
pub(crate) fn data(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    let refuse = |problem| Error::Deb { path: path.to_owned(), problem };
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| refuse("it does not begin with `!<arch>`"))?;
    while rest.len() >= HEADER {
        // ar(5): name 16, time 12, uid 6, gid 6, mode 8, size 10, magic 2.
        let name = std::str::from_utf8(&rest[..16]).map_err(|_| refuse("a member name is no text"))?;
        let name = name.trim_end().trim_end_matches('/');
        let size: usize = std::str::from_utf8(&rest[48..58])
            .ok()
            .and_then(|size| size.trim_end().parse().ok())
            .ok_or_else(|| refuse("a member size is no number"))?;
        let body = rest[HEADER..].get(..size).ok_or_else(|| refuse("it ends inside a member"))?;
        if name.starts_with("data.tar") {
            return decompress(&format!("{name} of {}", path.display()), name, body);
        }
        rest = &rest[HEADER + size..];
        rest = &rest[(size % 2).min(rest.len())..];
    }
    Err(refuse("it has no data.tar"))
}

/// Decompresses by the ending of `name`: `.xz`, `.zst`, `.gz` or none.
pub(crate) fn decompress(what: &str, name: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    type Source = Box<dyn std::error::Error + Send + Sync>;
    let mut out = Vec::new();
    let result: Result<(), Source> = match name.rsplit('.').next() {
        Some("xz") => {
            lzma_rs::xz_decompress(&mut &bytes[..], &mut out).map_err(|error| format!("{error:?}").into())
        }
        Some("zst") => zstd::stream::copy_decode(bytes, &mut out).map_err(Into::into),
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).map(drop).map_err(Into::into)
        }
        _ => {
            out.extend_from_slice(bytes);
            Ok(())
        }
    };
    result.map_err(|source| Error::Decompress { what: what.into(), source })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, body.len()).into_bytes();
        bytes.extend_from_slice(body);
        if body.len() % 2 == 1 {
            bytes.push(b'\n');
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        data(file.path())
    }

    #[test]
    fn data_is_found_after_odd_members() {
        let deb = [MAGIC, &member("debian-binary", b"2.0"), &member("data.tar", b"tar")].concat();
        assert_eq!(read(&deb).unwrap(), b"tar");
    }

    #[test]
    fn damaged_packages_are_refused() {
        let good = [MAGIC, &member("data.tar", b"tar")].concat();
        let mut size = good.clone();
        size[8 + 48] = b'9';
        for (bytes, expected) in [
            (&b"?"[..], "it does not begin with `!<arch>`"),
            (&good[..good.len() - 3], "it ends inside a member"),
            (&size, "it ends inside a member"),
            (MAGIC, "it has no data.tar"),
        ] {
            assert!(matches!(read(bytes), Err(Error::Deb { problem, .. }) if problem == expected));
        }
    }
}
