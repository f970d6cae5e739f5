//! Do these bytes lie in a process's memory, in a file, in what passed?

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use memchr::memmem::Finder;

use crate::keys::Needle;

/// Looks for several needles at once.
#[derive(Debug)]
pub struct Search {
    needles: Vec<(String, Finder<'static>)>,
    longest: usize,
}

impl Search {
    /// A search for `needles`, each as bytes and as hexadecimal digits of either case.
    ///
    /// # Panics
    /// If one is too short to be found by itself.
    pub fn new(needles: &[Needle]) -> Self {
        let mut spelled = Vec::new();
        for (name, bytes) in needles {
            assert!(bytes.len() >= 16, "{name} is too short to search for");
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            spelled.push((name.clone(), bytes.clone()));
            spelled.push((format!("{name}, in digits"), digits.clone().into_bytes()));
            spelled.push((format!("{name}, in capital digits"), digits.to_uppercase().into_bytes()));
        }
        let longest = spelled.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0);
        let finder = |(name, bytes): (String, Vec<u8>)| (name, Finder::new(&bytes).into_owned());
        Search { needles: spelled.into_iter().map(finder).collect(), longest }
    }

    /// The needles in `bytes`.
    pub fn in_bytes(&self, bytes: &[u8]) -> BTreeSet<String> {
        let found = self.needles.iter().filter(|(_, finder)| finder.find(bytes).is_some());
        found.map(|(name, _)| name.clone()).collect()
    }

    /// The needles in the readable memory of a process.
    ///
    /// # Panics
    /// If its memory cannot be read: then nothing was searched.
    pub fn in_process(&self, id: i32) -> BTreeSet<String> {
        let maps = fs::read_to_string(format!("/proc/{id}/maps"))
            .unwrap_or_else(|error| panic!("the maps of process {id}: {error}"));
        let memory = File::open(format!("/proc/{id}/mem"))
            .unwrap_or_else(|error| panic!("the memory of process {id}: {error}; run the tests as root"));
        let mut found = BTreeSet::new();
        let mut searched_bytes = 0_u64;
        let mut chunk = vec![0; CHUNK_BYTES];
        for (begin, end) in readable(&maps) {
            let mut at = begin;
            while at < end {
                let length = usize::try_from(end - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
                // A region may have gone since; the next one begins elsewhere.
                let Ok(count) = memory.read_at(&mut chunk[..length], at) else { break };
                if count == 0 {
                    break;
                }
                found.extend(self.in_bytes(&chunk[..count]));
                searched_bytes += count as u64;
                // What lies across two chunks is found in the second.
                let overlap = if count == length && at + (count as u64) < end { self.longest } else { 0 };
                at += (count - overlap.min(count - 1)) as u64;
            }
        }
        assert!(searched_bytes > 1 << 20, "only {searched_bytes} bytes of process {id} could be read");
        found
    }

    /// The needles in every file below `folder`, as `needle in path`.
    pub fn in_files(&self, folder: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for path in files(folder) {
            for needle in self.in_file(&path) {
                found.insert(format!("{needle} in {}", path.display()));
            }
        }
        found
    }

    fn in_file(&self, path: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let Ok(mut file) = File::open(path) else { return found };
        let mut chunk = Vec::new();
        loop {
            let kept = chunk.len().min(self.longest);
            chunk.drain(..chunk.len() - kept);
            let read = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).unwrap_or(0);
            if read == 0 {
                return found;
            }
            found.extend(self.in_bytes(&chunk));
        }
    }
}

/// Every regular file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}

/// The readable stretches of `/proc/PID/maps`; the kernel's own pages are left out.
fn readable(maps: &str) -> Vec<(u64, u64)> {
    let stretch = |line: &str| {
        let mut fields = line.split_whitespace();
        let (begin, end) = fields.next()?.split_once('-')?;
        let readable = fields.next()?.starts_with('r');
        let name = fields.nth(3).unwrap_or_default();
        let ours = !matches!(name, "[vvar]" | "[vvar_vclock]" | "[vsyscall]" | "[vdso]");
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        (readable && ours).then_some((number(begin)?, number(end)?))
    };
    maps.lines().filter_map(stretch).collect()
}

const CHUNK_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_this_process_is_found_and_what_does_not_is_not() {
        let present: Vec<u8> = (0..64_u8).map(|number| number.wrapping_mul(37) ^ 0x5c).collect();
        let search = Search::new(&[("present".into(), present.clone())]);
        assert!(search.in_process(i32::try_from(std::process::id()).unwrap()).contains("present"));
        drop(present);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), vec![0; 5 << 20]).unwrap();
        assert!(search.in_files(folder.path()).is_empty());
    }

    #[test]
    fn needles_across_chunks_and_in_digits_are_found() {
        let needle: Vec<u8> = (100..140_u8).collect();
        let search = Search::new(&[("key".into(), needle.clone())]);
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; CHUNK_BYTES - 20];
        bytes.extend_from_slice(&needle);
        fs::write(folder.path().join("split"), &bytes).unwrap();
        let digits: String = needle.iter().map(|byte| format!("{byte:02X}")).collect();
        fs::write(folder.path().join("digits"), digits).unwrap();
        assert_eq!(search.in_files(folder.path()).len(), 2);
    }
}
