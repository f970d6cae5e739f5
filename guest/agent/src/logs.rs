//! What did a service say lately?
//!
//! Per service two files on the encrypted disk, each at most half of the bound: lines go to `current`,
//! which becomes `previous` when it is full. They leave the guest only sealed to the owner, and only
//! where the manifest grants it; the console and the relay, which the host reads, never see them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use casemate_api::agent::{LogLine, Stream};

/// Most bytes that the logs of one service take on the disk.
pub const MAXIMUM_BYTES: u64 = 8 << 20;
/// Longest line in bytes; what is longer becomes several.
pub const MAXIMUM_LINE_BYTES: usize = 16 << 10;

/// The log of one service.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    current: File,
    written_bytes: u64,
    half_bytes: u64,
}

impl Log {
    /// Opens or begins the log in `folder`, which may take `maximum_bytes` on disk.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(folder: &Path, maximum_bytes: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let current = append(&folder.join(CURRENT))?;
        let written_bytes = current.metadata()?.len();
        Ok(Log { folder: folder.to_owned(), current, written_bytes, half_bytes: maximum_bytes / 2 })
    }

    /// Adds a line, read at `time_ms`.
    ///
    /// # Errors
    /// What the file system says; the line is then lost.
    pub fn write(&mut self, time_ms: u64, stream: Stream, line: &[u8]) -> io::Result<()> {
        let mark = match stream {
            Stream::Output => 'o',
            Stream::Error => 'e',
        };
        let mut entry = format!("{time_ms} {mark} ").into_bytes();
        entry.extend_from_slice(&line[..line.len().min(MAXIMUM_LINE_BYTES)]);
        entry.push(b'\n');
        if self.written_bytes + entry.len() as u64 > self.half_bytes {
            self.rotate()?;
        }
        self.current.write_all(&entry)?;
        self.written_bytes += entry.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        fs::rename(self.folder.join(CURRENT), self.folder.join(PREVIOUS))?;
        self.current = append(&self.folder.join(CURRENT))?;
        self.written_bytes = 0;
        Ok(())
    }
}

/// The last `tail` lines in `folder` that were read after `since_ms` and together have at most
/// `maximum_bytes`, oldest first.
///
/// # Errors
/// What the file system says; a log that was never begun is empty.
pub fn read(
    folder: &Path,
    tail: usize,
    since_ms: Option<u64>,
    maximum_bytes: usize,
) -> io::Result<Vec<LogLine>> {
    let mut lines = Vec::new();
    let mut room = maximum_bytes;
    for name in [CURRENT, PREVIOUS] {
        let text = end_of(&folder.join(name), maximum_bytes as u64)?;
        for entry in text.split(|byte| *byte == b'\n').rev().filter(|entry| !entry.is_empty()) {
            let Some(line) = parse(entry) else { continue };
            let size = line.text.len() + LINE_OVERHEAD_BYTES;
            if lines.len() >= tail || since_ms.is_some_and(|since| line.time_ms <= since) || size > room {
                lines.reverse();
                return Ok(lines);
            }
            room -= size;
            lines.push(line);
        }
    }
    lines.reverse();
    Ok(lines)
}

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
/// What the encoding of a line adds to its text, rounded up.
const LINE_OVERHEAD_BYTES: usize = 16;

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn end_of(path: &Path, maximum_bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(maximum_bytes);
    file.seek(SeekFrom::Start(skipped))?;
    let mut text = Vec::new();
    file.take(maximum_bytes).read_to_end(&mut text)?;
    if skipped > 0 {
        let first_whole = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
        text.drain(..first_whole);
    }
    Ok(text)
}

/// `<unix milliseconds> <o|e> <text>`.
fn parse(entry: &[u8]) -> Option<LogLine> {
    let mut fields = entry.splitn(3, |byte| *byte == b' ');
    let time_ms = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let stream = match fields.next()? {
        b"o" => Stream::Output,
        b"e" => Stream::Error,
        _ => return None,
    };
    Some(LogLine { time_ms, stream, text: String::from_utf8_lossy(fields.next()?).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), MAXIMUM_BYTES).unwrap();
        log.write(1, Stream::Output, b"one").unwrap();
        log.write(2, Stream::Error, b"two words").unwrap();
        log.write(3, Stream::Output, b"").unwrap();
        log.write(4, Stream::Output, b"not \xff utf-8").unwrap();
        let lines = read(folder.path(), 10, None, 1 << 20).unwrap();
        assert_eq!(texts(&lines), ["one", "two words", "", "not \u{fffd} utf-8"]);
        assert_eq!(lines[1], LogLine { time_ms: 2, stream: Stream::Error, text: "two words".into() });
        assert_eq!(texts(&read(folder.path(), 2, None, 1 << 20).unwrap()), ["", "not \u{fffd} utf-8"]);
        assert_eq!(texts(&read(folder.path(), 9, Some(2), 1 << 20).unwrap()), ["", "not \u{fffd} utf-8"]);
        assert_eq!(texts(&read(folder.path(), 9, None, 60).unwrap()), ["", "not \u{fffd} utf-8"]);
    }

    #[test]
    fn a_chatty_service_stays_within_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), 10_000).unwrap();
        for time_ms in 0..1000 {
            log.write(time_ms, Stream::Output, &[b'x'; 90]).unwrap();
        }
        let size = |name| fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size(CURRENT) + size(PREVIOUS) <= 10_000);
        let lines = read(folder.path(), 1000, None, 1 << 20).unwrap();
        assert!(lines.len() > 50 && lines.last().unwrap().time_ms == 999, "{}", lines.len());
        assert!(lines.windows(2).all(|pair| pair[0].time_ms + 1 == pair[1].time_ms));
    }

    #[test]
    fn a_log_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        Log::open(folder.path(), 1000).unwrap().write(1, Stream::Output, b"before").unwrap();
        Log::open(folder.path(), 1000).unwrap().write(2, Stream::Output, b"after").unwrap();
        assert_eq!(texts(&read(folder.path(), 9, None, 1 << 20).unwrap()), ["before", "after"]);
    }

    #[test]
    fn only_root_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("web");
        Log::open(&inner, 1000).unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(inner.join(CURRENT)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_log_never_begun_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("none"), 9, None, 100).unwrap(), []);
    }
}
