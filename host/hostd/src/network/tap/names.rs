//! What are a VM's link, namespace and table called, and which user is its QEMU?
//!
//! Every name says whose it is: six digits of the state folder, six of the VM's id. So a daemon finds what an
//! earlier one of the same folder left behind, and leaves everybody else's alone.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use casemate_crypto::hash::sha256;

/// One daemon's state folder, in names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner([u8; 3]);

impl Owner {
    /// The owner whose state is in this folder.
    pub fn of(state: &Path) -> Self {
        Self(first_three(state.as_os_str().as_bytes()))
    }

    /// The name of one VM of this owner. Two VMs may have the same one, once in 16 million.
    pub fn name(self, id: &str) -> Name {
        Name { owner: self, vm: first_three(id.as_bytes()) }
    }

    /// The name in one of [`Name::link`], [`Name::table`], if it is one of this owner's.
    pub fn recognise(self, found: &str) -> Option<Name> {
        let digits = found.strip_prefix(LINK_PREFIX).or_else(|| found.strip_prefix(TABLE_PREFIX))?;
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != 12 || !digits.bytes().all(hexadecimal) {
            return None;
        }
        let number = u64::from_str_radix(digits, 16).ok()?.to_be_bytes();
        let name =
            Name { owner: Self([number[2], number[3], number[4]]), vm: [number[5], number[6], number[7]] };
        (name.owner == self).then_some(name)
    }
}

/// Whatever belongs to the tap network of one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    owner: Owner,
    vm: [u8; 3],
}

impl Name {
    /// The link on the host, and the network namespace behind it: 15 bytes, the kernel's most.
    pub fn link(&self) -> String {
        format!("{LINK_PREFIX}{self}")
    }

    /// The table of rules on the host.
    pub fn table(&self) -> String {
        format!("{TABLE_PREFIX}{self}")
    }

    /// The user and group as which QEMU runs: no other VM's of this owner, and nobody's on a machine that follows
    /// systemd's "Users, Groups, UIDs and GIDs", which leaves 1879048192 to 2147483647 alone.
    pub fn user(&self) -> u32 {
        let [high, middle, low] = self.vm;
        FIRST_USER + u32::from_be_bytes([0, high, middle, low])
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.owner.0.iter().chain(&self.vm).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

const LINK_PREFIX: &str = "cm-";
const TABLE_PREFIX: &str = "casemate_";
const FIRST_USER: u32 = 1_879_048_192;

fn first_three(bytes: &[u8]) -> [u8; 3] {
    let digest = sha256(bytes);
    let digest = digest.as_bytes();
    [digest[0], digest[1], digest[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_the_kernel_and_is_recognised_by_its_owner_only() {
        let owner = Owner::of(Path::new("/var/lib/casemate"));
        let name = owner.name("notes");
        assert_eq!(name.link().len(), 15);
        assert_eq!(owner.recognise(&name.link()), Some(name));
        assert_eq!(owner.recognise(&name.table()), Some(name));
        assert_ne!(owner.name("other").link(), name.link());
        assert_ne!(owner.name("other").user(), name.user());
        assert!((1_879_048_192..=2_147_483_647).contains(&name.user()));
        assert_eq!(Owner::of(Path::new("/var/lib/other")).recognise(&name.link()), None);
        let upper = name.link().to_uppercase();
        for foreign in ["up", "eth0", "cm-", "casemate", "cm-not-ours-12", upper.as_str(), "cm-0123456789abc"]
        {
            assert_eq!(owner.recognise(foreign), None, "{foreign}");
        }
    }
}
