//! With which rules does one begin, for evidence that the policy to start from does not accept?
//!
//! Strict, as that is: nobody vouches for a TPM's key until somebody is listed.

/// A section of a policy that is absent, so that its evidence is refused, unless it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Section {
    /// Documents of AWS.
    Nitro,
    /// Quotes of TPMs; needed by `Gcp` and `Azure`.
    Tpm,
    /// Google's instances.
    Gcp,
    /// Azure's confidential VMs.
    Azure,
    /// Event logs.
    Events,
    /// Lists of the running kernel.
    Ima,
    /// GPUs and switches of NVIDIA.
    Nvidia,
}

impl Section {
    /// Every section.
    pub const ALL: &[Section] = &[
        Section::Nitro,
        Section::Tpm,
        Section::Gcp,
        Section::Azure,
        Section::Events,
        Section::Ima,
        Section::Nvidia,
    ];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Section::Nitro => "nitro",
            Section::Tpm => "tpm",
            Section::Gcp => "gcp",
            Section::Azure => "azure",
            Section::Events => "events",
            Section::Ima => "ima",
            Section::Nvidia => "nvidia",
        }
    }

    /// `text`, a policy file without this section, and this section to start from.
    pub(super) fn add_to(self, text: &str) -> String {
        let (root, rules) = self.rules();
        format!("{}{rules}", text.replacen("\n[roots]\n", &format!("\n[roots]\n{root}"), 1))
    }

    /// The line of `[roots]`, and the tables.
    const fn rules(self) -> (&'static str, &'static str) {
        match self {
            Section::Nitro => {
                ("aws = \"builtin\"                    # AWS's root key of Nitro; or \"none\"\n", NITRO)
            }
            Section::Tpm => ("", TPM),
            Section::Gcp => {
                ("google = \"builtin\"                 # Google's root keys of vTPMs; or \"none\"\n", GCP)
            }
            Section::Azure => ("", AZURE),
            Section::Events => ("", EVENTS),
            Section::Ima => ("", IMA),
            Section::Nvidia => (
                "nvidia = \"builtin\"                 # NVIDIA's root keys of devices and manifests; or \"none\"\n",
                NVIDIA,
            ),
        }
    }
}

const NITRO: &str = r#"
[nitro]                            # documents of AWS: the word of its hypervisor
kinds = ["enclave"]                # "instance" for EC2 instances with NitroTPM
debug = "forbidden"
modules = "any"                    # or a list: instance and enclave, as in `module_id`
maximum_age_seconds = 300          # by AWS's clock; or "any"

[nitro.pcrs]                       # 0 = ["96 digits"], and so on; PCR 0 is the launch measurement as well
others = "any"
"#;

const TPM: &str = r#"
[tpm]                              # who vouches for an attestation key: somebody must
roots = "none"                     # or a list of root keys by SHA-256, of vendors and clouds
keys = "none"                      # or a list of keys by SHA-256 that you enrolled
bank = "sha256"
safe_clock = "required"
firmware_versions = "any"          # or a list, 16 digits each

[tpm.pcrs]                         # 4 = ["64 digits"], and so on
others = "any"
"#;

const GCP: &str = r#"
[gcp]                              # vTPMs of Google's cloud, as its certificates name them; needs [tpm]
projects = "any"                   # or a list of project ids
zones = "any"
instances = "any"                  # or a list of numbers, as texts
production = "required"
"#;

const AZURE: &str = r#"
[azure]                            # confidential VMs of Azure; needs [tpm] and the rules of the TEE
paravisors = "any"                 # or a list of launch measurements of the TEE
secure_boot = "required"
console = "any"
vms = "any"                        # or a list, as in `vmUniqueId`
quote = "required"                 # of the vTPM: it says what the paravisor started
"#;

const EVENTS: &str = r#"
[events]                           # event logs of TPMs, and CCEL of trust domains
explained = "any"                  # or a list of PCRs or RTMRs that the log must explain, such as ["4", "7"]
secure_boot = "any"

[events.digests]                   # 4 = ["digest of each accepted event"], and so on
others = "any"
"#;

const IMA: &str = r#"
[ima]                              # what the running kernel measured
list = "required"
boot_aggregate = "required"
violations = "forbidden"
runtime_policy = "any"             # or Keylime's JSON, between three single quotes
"#;

const NVIDIA: &str = r#"
[nvidia]                           # GPUs and switches; each that comes along is judged
alone = "refused"                  # without evidence of their machine; or "accepted"
minimum_gpus = 1
minimum_switches = 0
nonce = "required"                 # made of the report data: they were asked for this evidence
manifests = "required"             # NVIDIA's golden values of driver and VBIOS
uncompared_measurements = "none"   # or a list of measurements that may be anything, such as ["35"]
modes = "any"                      # or a list of "single", "multi", "protected_pcie"

[nvidia.hopper]                    # an architecture without a table is refused
minimum_driver = "any"             # or a version, such as "550.90.07"
minimum_vbios = "any"              # or a version, such as "96.00.9F.00.01"

[nvidia.blackwell]
minimum_driver = "any"
minimum_vbios = "any"

[nvidia.ls10]                      # NVSwitch
minimum_vbios = "any"
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::verdict::Platform;

    #[test]
    fn a_policy_to_start_from_accepts_no_section_until_it_is_added() {
        let text = Policy::example(&[]);
        let policy = Policy::parse(&text).unwrap();
        for platform in [Platform::Nitro, Platform::Tpm, Platform::Gcp, Platform::Azure, Platform::Nvidia] {
            assert!(!policy.has_rules(platform), "{platform}");
        }
        assert!(policy.events.is_none() && policy.ima.is_none());
        let all = Section::ALL.iter().fold(text, |text, section| Policy::with_section(&text, *section));
        let policy = Policy::parse(&all).unwrap_or_else(|error| panic!("{error}\n{all}"));
        for platform in Platform::ALL.iter().filter(|platform| **platform != Platform::Sgx) {
            assert!(policy.has_rules(*platform), "{platform}");
        }
        assert!(policy.events.is_some() && policy.ima.is_some());
    }

    #[test]
    fn each_section_can_be_added_alone_with_what_it_needs() {
        for section in Section::ALL {
            let mut text = Policy::with_section(&Policy::example(&[]), *section);
            if matches!(section, Section::Gcp | Section::Azure) {
                assert!(Policy::parse(&text).is_err(), "{} needs [tpm]", section.name());
                text = Policy::with_section(&text, Section::Tpm);
            }
            Policy::parse(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", section.name()));
        }
    }
}
