//! Which device is it, and how old is what runs on it?

use casemate_evidence::nvidia::Mode;
use serde::Serialize;

/// A generation of NVIDIA's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Architecture {
    /// GPUs of GH100.
    Hopper,
    /// GPUs of GB100 and its kin.
    Blackwell,
    /// The NVSwitch LS10.
    Ls10,
}

/// A version as NVIDIA writes it, by its parts: newer is greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(Vec<u32>);

impl Architecture {
    /// Every architecture.
    pub const ALL: [Architecture; 3] = [Architecture::Hopper, Architecture::Blackwell, Architecture::Ls10];

    /// By a chip's name at the beginning, as in `GH100 A01 GSP BROM`; switches are `LS_10` or `LS10`.
    pub fn of(name: &str) -> Option<Self> {
        let chip = name.split(' ').next()?.replace('_', "");
        let is = |family: &str| {
            let rest = chip.strip_prefix(family);
            rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|digit| digit.is_ascii_digit()))
        };
        match () {
            () if is("GH") => Some(Architecture::Hopper),
            () if is("GB") => Some(Architecture::Blackwell),
            () if chip == "LS10" => Some(Architecture::Ls10),
            () => None,
        }
    }

    /// Its name in policies and verdicts.
    pub const fn name(self) -> &'static str {
        match self {
            Architecture::Hopper => "hopper",
            Architecture::Blackwell => "blackwell",
            Architecture::Ls10 => "ls10",
        }
    }

    /// Whether it connects GPUs and is none.
    pub const fn is_switch(self) -> bool {
        matches!(self, Architecture::Ls10)
    }
}

impl Version {
    /// Of a driver, such as `550.90.07`: decimal.
    pub(crate) fn of_driver(text: &str) -> Option<Self> {
        Self::read(text, 10)
    }

    /// Of a VBIOS, such as `96.00.9F.00.01`: hexadecimal.
    pub(crate) fn of_vbios(text: &str) -> Option<Self> {
        Self::read(text, 16)
    }

    fn read(text: &str, radix: u32) -> Option<Self> {
        let part = |part: &str| {
            let digits = (1..=6).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            digits.then(|| u32::from_str_radix(part, radix).ok()).flatten()
        };
        text.split('.').map(part).collect::<Option<Vec<_>>>().map(Self)
    }
}

/// As a policy writes it.
pub(crate) fn mode(name: &str) -> Option<Mode> {
    Mode::ALL.into_iter().find(|mode| mode.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_s_name_tells_its_architecture() {
        for (name, expected) in [
            ("GH100 A01 GSP BROM", Some(Architecture::Hopper)),
            ("GH100", Some(Architecture::Hopper)),
            ("GB100 A01 GSP BROM", Some(Architecture::Blackwell)),
            ("GB202", Some(Architecture::Blackwell)),
            ("LS_10 A01 FSP BROM", Some(Architecture::Ls10)),
            ("LS10", Some(Architecture::Ls10)),
            ("LS11", None),
            ("GH", None),
            ("GHOST 100", None),
            ("NVIDIA GH100 Identity", None),
            ("", None),
        ] {
            assert_eq!(Architecture::of(name), expected, "{name}");
        }
    }

    #[test]
    fn versions_compare_by_their_parts() {
        let driver = |text| Version::of_driver(text);
        assert!(driver("550.90.07") > driver("550.54.15"));
        assert!(driver("550.90.07") > driver("550.90"));
        assert!(driver("1000.1") > driver("550.90.07"));
        assert!(Version::of_vbios("96.00.9F.00.01") > Version::of_vbios("96.00.74.00.1a"));
        for none in ["", "550..1", "550.9x", "+5", "5 .1", "1234567", "550.9F"] {
            assert_eq!(driver(none), None, "{none:?}");
        }
    }
}
