//! Old sectors spliced into a new disk.
//!
//! Attack (issue: spliced old sectors, with the true result; peers C2: 4): the host keeps an old copy of the disk
//! and puts single sectors of it into the newest one.
//!
//! **Recorded outcome: not noticed.** AES-XTS has no memory and no authentication: the guest opens the volume and
//! reads old contents in the middle of a new file. `LIMITATIONS.md` says so. This test fails when that changes,
//! which is when volumes are covered by a Merkle tree.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use casemate_tests::findings::Findings;

use crate::running::Running;

const SECTOR: usize = 4096;
/// Where the encrypted data begins on the disk: 2 MiB into the partition, which begins at 1 MiB.
const DATA_AT: usize = 3 << 20;
const FILE_BYTES: usize = 1 << 20;
const SPLICED_BYTES: usize = 16 * SECTOR;

/// Writes a file of one letter and stops the app; returns a copy of its disk.
pub(crate) fn write_the_first_time(running: &Running, findings: &mut Findings) -> PathBuf {
    let target = &running.target;
    let (code, said) = target.shell(&write("a"));
    findings.holds("a file is written", code == 0, "exit code 0", &said);
    target.stop();
    let old = target.machine.scratch().join("sectors.img");
    fs::copy(target.disk(), &old).expect("room in scratch");
    old
}

/// Writes the same file again, in place, with another letter.
pub(crate) fn write_the_second_time(running: &Running, findings: &mut Findings) {
    let (code, said) = running.target.shell(&write("b"));
    findings.holds("the file is written again", code == 0, "exit code 0", &said);
}

/// Puts sectors of the old disk into the newest: some of the file's, and nothing else.
pub(crate) fn splice(running: &Running, old: &Path) {
    let path = running.target.disk();
    let (new, old) = (fs::read(&path).expect("the host's disk"), fs::read(old).expect("our copy"));
    // The file is a stretch of that many sectors which differ: it was rewritten whole and in place. What else
    // differs for so long was not there before.
    let differs = |at: &usize| new[*at..*at + SECTOR] != old[*at..*at + SECTOR];
    let was_there = |at: &usize| old[*at..*at + SECTOR].iter().any(|byte| *byte != 0);
    let mut run = Vec::new();
    let mut longest = Vec::new();
    for at in (DATA_AT..new.len() - SECTOR).step_by(SECTOR) {
        if differs(&at) && was_there(&at) {
            run.push(at);
        } else {
            run.clear();
        }
        if run.len() > longest.len() {
            longest.clone_from(&run);
        }
    }
    assert!(longest.len() >= FILE_BYTES / SECTOR / 2, "the file is not found: {} sectors", longest.len());
    let middle = longest[longest.len() / 2];
    let file = File::options().write(true).open(&path).expect("the host's disk");
    file.write_all_at(&old[middle..middle + SPLICED_BYTES], middle as u64).expect("the host's disk");
}

/// The guest has opened the volume and reads both letters.
pub(crate) fn read_what_was_spliced(running: &Running, findings: &mut Findings) {
    let count = |letter| {
        let line = format!("/bin/busybox tr -dc {letter} </data/spliced | /bin/busybox wc -c");
        running.target.shell(&line).1.trim().to_owned()
    };
    findings.same("old sectors in a new file: not noticed", count("a"), &SPLICED_BYTES.to_string());
    findings.same("the rest of the file", count("b"), &(FILE_BYTES - SPLICED_BYTES).to_string());
}

/// `conv=notrunc` keeps the file's blocks, `fsync` brings them to the disk.
fn write(letter: &str) -> String {
    format!(
        "/bin/busybox yes {letter} | /bin/busybox tr -d '\\n' | /bin/busybox head -c {FILE_BYTES} | \
         /bin/busybox dd of=/data/spliced bs=4096 iflag=fullblock conv=notrunc,fsync"
    )
}
