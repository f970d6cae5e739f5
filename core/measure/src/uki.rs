//! What does systemd's stub put into PCR 11?
//!
//! Source: systemd-stub(7), "TPM PCR Notes", and `unified_section` of systemd's sources: for each known
//! section of a unified kernel image, first its name with the closing NUL, then its content. Boot phases
//! come after (systemd-pcrphase.service(8)).

use casemate_crypto::hash::{Digest, HashAlgorithm};

use crate::pe::PeFile;

/// PCR 11 in the bank of `algorithm` after the stub of `image` ran, and after these boot phases, such as
/// `enter-initrd`.
pub fn pcr_11(image: &PeFile, algorithm: HashAlgorithm, phases: &[&str]) -> Digest {
    let mut register = Digest::filled(algorithm, 0);
    for name in MEASURED_SECTIONS {
        let found = image.sections().iter().find(|section| section.name() == name.as_bytes());
        let Some(section) = found else { continue };
        let with_nul = [name.as_bytes(), &[0]].concat();
        for part in [&with_nul[..], section.content()] {
            register = register.extend(algorithm.digest(part).as_bytes());
        }
    }
    phases
        .iter()
        .fold(register, |register, phase| register.extend(algorithm.digest(phase.as_bytes()).as_bytes()))
}

/// In the stub's order, which is not the file's. `.pcrsig` is left out: it signs the outcome.
const MEASURED_SECTIONS: [&str; 13] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey",
    ".profile", ".dtbauto", ".hwids",
];
