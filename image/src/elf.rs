//! What does this object link to, and what does this module depend on?

use object::{
    Object as _, ObjectSection as _,
    elf::{DT_NEEDED, FileHeader64, PT_INTERP},
    read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _, SectionHeader as _},
};

use crate::Error;

/// Whether these bytes claim to be ELF.
pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Libraries named by `DT_NEEDED`.
pub(crate) fn needed(file: &str, bytes: &[u8]) -> Result<Vec<String>, Error> {
    needed_of(bytes).map_err(|source| Error::Elf { file: file.into(), source })
}

/// Whether the kernel must start a dynamic linker for it.
pub(crate) fn has_interpreter(file: &str, bytes: &[u8]) -> Result<bool, Error> {
    let has = || -> object::Result<bool> {
        let header = FileHeader64::<object::Endianness>::parse(bytes)?;
        let endian = header.endian()?;
        Ok(header.program_headers(endian, bytes)?.iter().any(|segment| segment.p_type(endian) == PT_INTERP))
    };
    has().map_err(|source| Error::Elf { file: file.into(), source })
}

/// Modules named by `depends=` in a kernel module's `.modinfo`, in order.
pub(crate) fn module_depends(file: &str, bytes: &[u8]) -> Result<Vec<String>, Error> {
    let read = || -> object::Result<Vec<u8>> {
        let elf = ElfFile64::<object::Endianness>::parse(bytes)?;
        match elf.section_by_name(".modinfo") {
            Some(section) => Ok(section.data()?.to_vec()),
            None => Ok(Vec::new()),
        }
    };
    let modinfo = read().map_err(|source| Error::Elf { file: file.into(), source })?;
    let depends = modinfo.split(|byte| *byte == 0).find_map(|record| record.strip_prefix(b"depends="));
    let text = String::from_utf8_lossy(depends.unwrap_or_default()).into_owned();
    Ok(text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn needed_of(bytes: &[u8]) -> object::Result<Vec<String>> {
    let header = FileHeader64::<object::Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let mut names = Vec::new();
    for section in sections.iter() {
        let Some((entries, link)) = section.dynamic(endian, bytes)? else { continue };
        let strings = sections.strings(endian, bytes, link)?;
        for entry in entries {
            if entry.d_tag(endian) == DT_NEEDED {
                names.push(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned());
            }
        }
    }
    Ok(names)
}
