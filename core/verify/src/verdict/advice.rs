//! What can be done about it?

use casemate_evidence::snp::{Product, Silicon};
use serde::{Serialize, Serializer};

use super::code::Code;

/// What to do about a failed check; it becomes a sentence when it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// What goes for every check of its kind.
    Always(&'static str),
    /// A part of the firmware is older than the policy's floor.
    OldFirmware {
        /// The check of that part.
        part: Code,
        /// Product line, which has its own floor.
        product: Product,
        /// Design of the processor, where the floor of that part goes by it.
        silicon: Option<Silicon>,
        /// Version found.
        found: u8,
    },
}

impl Advice {
    /// What goes for every check of this kind; `None` where the found value says it all.
    pub(super) fn of(code: Code) -> Option<Self> {
        hint(code).map(Self::Always)
    }
}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Advice::Always(sentence) => f.write_str(sentence),
            Advice::OldFirmware { part, product, silicon, found } => {
                write!(
                    f,
                    "ask the operator to update the host firmware, or accept the risk with \
                     `minimum_tcb.{product}.{}",
                    part.label()
                )?;
                if let Some(silicon) = silicon {
                    write!(f, ".{silicon}")?;
                }
                write!(f, " = {found}` in casemate.policy.toml")
            }
        }
    }
}

impl Serialize for Advice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a failed check matters, by its advisory.
pub(super) fn reason(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TcbMicrocode => "AMD-SB-3019 (EntrySign): reports of older microcode can be forged.",
        Code::PlatformAliasCheck => "AMD-SB-3015 (BadRAM): aliased memory lets the host rewrite the guest.",
        Code::Mitigations => "A vulnerability of this processor that the policy names may have been open.",
        Code::PlatformIommuWriteSafe => "AMD-SB-3016: devices of the host may write the guest's memory.",
        Code::IdKey | Code::AuthorKey => "Nobody whom the policy lists vouches for what was launched.",
        Code::GuestDebug | Code::TdDebug | Code::EnclaveDebug | Code::NitroDebug => {
            "The host can read and write the memory of a debug guest."
        }
        Code::TdSeptVeDisable => {
            "The host can take pages away and have the guest handle it in host-chosen ways."
        }
        Code::TdMigratable => "A migration service TD can move the guest to another machine.",
        Code::TdHgsPlusProf | Code::TdPerfProf | Code::TdPmtProf => "The host can profile the guest.",
        Code::GuestMigrateMa => "A migration agent can move the guest's memory to another machine.",
        Code::SimulationAccepted | Code::SimulatedRoot => "A simulated TEE keeps nothing confidential.",
        Code::ImaViolations => "A file changed while it was in use: nobody knows which content ran.",
        Code::EventsSecureBoot => "Without secure boot the firmware starts whatever boot loader is there.",
        Code::AzureBinding => "Whoever swaps the runtime data can put another vTPM in place of the VM's own.",
        Code::AzureOtherKey => "The quote and the report may be of two machines.",
        Code::TpmKeyEnrolled => "Whoever has some key can sign any quote with it.",
        Code::TpmKeyAttributes => "A key that is not restricted signs quotes that no TPM made.",
        Code::TpmSafeClock => "Counters may repeat: an older quote could pass for a newer one.",
        Code::GcpProduction => "Google does not say that the vTPM is one of its production machines.",
        Code::NvidiaAlone => {
            "Any genuine device anywhere could have answered, asked by whoever wants to pass."
        }
        Code::NvidiaNonce => "The report may be of another machine's device, or of another day.",
        Code::NvidiaMeasurements => "Another firmware or driver runs than NVIDIA published.",
        Code::NvidiaDistinct => "One GPU could pass for several.",
        Code::Vmpl => "Another privilege level than the expected one asked for the report.",
        _ => return None,
    })
}

/// What to do about a failed check; `None` where the found value says it all.
pub(super) fn hint(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::SnpAccepted
        | Code::TdxAccepted
        | Code::SgxAccepted
        | Code::NitroAccepted
        | Code::TpmAccepted
        | Code::GcpAccepted
        | Code::AzureAccepted
        | Code::NvidiaAccepted => "add the platform's rules to the policy if machines of this kind will do",
        Code::EvidencePresent | Code::ReportFormat | Code::QuoteFormat => {
            "ask the guest for its evidence again; it may be of another kind"
        }
        Code::EventsAccepted => "add [events] to the policy if logs are to be judged, or leave the log out",
        Code::ImaAccepted => "add [ima] to the policy if the list is to be judged, or leave the list out",
        Code::EventLog => {
            "read the log again at the time of the quote: it must give the registers their values"
        }
        Code::ImaList => "read the list again after the quote, from the boot on, and quote PCR 10",
        Code::EventsExplained => {
            "send the event log along, and quote or leave out what the running system extends"
        }
        Code::EventsSecureBoot => "enable secure boot in the firmware, and start the machine again",
        Code::EventsDigest => {
            "find out which component was measured there, and list its digest if it is right"
        }
        Code::ImaPresent => "send the kernel's ascii_runtime_measurements along",
        Code::ImaBootAggregate => "quote PCR 0 to 9 with PCR 10, in the bank of the boot aggregate",
        Code::ImaViolations | Code::ImaRuntimePolicy => {
            "find out what ran there; if it is right, add it to the runtime policy"
        }
        Code::AzureFormat | Code::AzureRuntimeData => {
            "send the content of the vTPM's NV index 0x01400001, unchanged"
        }
        Code::AzureTdxQuote => "send along the TDX quote that Azure's metadata service makes of this report",
        Code::AzureOtherReport | Code::AzureBinding => {
            "report and quote must be of one VM and one boot: read the report again, and quote that"
        }
        Code::AzureAttestationKey => "the VM is older than attestation keys in its report: start it anew",
        Code::AzureOtherKey => "quote with the attestation key of this VM's vTPM (handle 0x81000003)",
        Code::AzureQuote => "send a quote of the vTPM along: the report alone says nothing of the guest",
        Code::AzureParavisor => "list the paravisor's measurement under `azure.paravisors` if it will do",
        Code::AzureSecureBoot | Code::AzureConsole => {
            "start the VM with the configuration that the policy asks for"
        }
        Code::AzureVm => "list the VM under `azure.vms` if it is yours",
        Code::NvidiaReportFormat | Code::NvidiaSignature | Code::NvidiaFirmwareId => {
            "ask the device for its report again"
        }
        Code::NvidiaCertificate => "send the device's own certificate first, then those above it",
        Code::NvidiaDistinct => "send one report of each device",
        Code::NvidiaManifestFormat | Code::NvidiaManifestSigner | Code::NvidiaManifestSignature => {
            "fetch the manifest from NVIDIA again, and send it unchanged"
        }
        Code::NvidiaManifests => {
            "fetch the manifests of the device's driver and VBIOS from NVIDIA, and send them along"
        }
        Code::NvidiaMeasurements => {
            "update the device's driver and VBIOS to published ones, and do not rely on it until then"
        }
        Code::NvidiaRoot => "name NVIDIA's roots in the policy if you trust them",
        Code::NvidiaAlone => "send along the evidence of the machine that has the devices",
        Code::NvidiaGpus | Code::NvidiaSwitches => {
            "send along the report of every device, each with its certificates"
        }
        Code::NvidiaArchitecture => "add the architecture's table below [nvidia] if such devices will do",
        Code::NvidiaNonce => {
            "ask the device again, with the nonce made of this evidence's report data (docs/reference/nvidia.md)"
        }
        Code::NvidiaMode => "list the mode under `nvidia.modes` if it will do",
        Code::NvidiaDriver | Code::NvidiaVbios => "ask the operator to update the device's driver or VBIOS",
        Code::NitroFormat | Code::NitroImage | Code::TpmStatement | Code::TpmSignatureFormat => {
            "ask for the evidence again; it may be of another kind"
        }
        Code::ChainFormat | Code::ChainIssuer => "send the whole chain along, from the key to the root",
        Code::ChainRoot => {
            "if you trust this root, list its key in the policy: under `tpm.roots`, or under [simulated_roots] \
             if it is simulated"
        }
        Code::ChainSignature | Code::ChainRight | Code::ChainRevocation => {
            "do not rely on this evidence; ask its issuer for a current chain"
        }
        Code::ChainTime => "check this machine's clock; recorded evidence is judged at the time it was made",
        Code::NitroKey | Code::NitroSignature | Code::TpmSignature => {
            "the evidence was changed, or another key signed it: ask for it again"
        }
        Code::NitroDebug => "start the enclave without debug mode",
        Code::NitroAge => "ask the enclave for a new document",
        Code::NitroKind => "list the kind under `nitro.kinds` if it will do",
        Code::NitroModule => "list the module under `nitro.modules` if it is yours",
        Code::NitroPcr | Code::TpmPcr => {
            "compare the register with what the image or boot should give, and list its value if it is right"
        }
        Code::TpmPcrFormat | Code::TpmPcrPresent | Code::TpmPcrDigest | Code::TpmSelection => {
            "quote the PCRs again, and send along the values of all that are selected"
        }
        Code::TpmKeyPresent | Code::TpmKeyFormat | Code::TpmOtherKey => {
            "send the attestation key along: its certificate with the chain, its public area, or the key"
        }
        Code::TpmKeyAttributes => "make the key restricted, for signing, inside its TPM",
        Code::TpmCertificateUse => "send the certificate of the attestation key, not of another key",
        Code::TpmKeyEnrolled => {
            "enrol the key by credential activation and list its digest under `tpm.keys`, or send its certificate"
        }
        Code::TpmRoots | Code::TpmKeys | Code::AwsRoot | Code::GoogleRoot => {
            "name the root or the key in the policy if you trust it"
        }
        Code::TpmBank => "quote PCRs of the bank that the policy names",
        Code::TpmSafeClock => "reset the machine in an orderly way, and quote again",
        Code::TpmFirmware => "list the firmware version under `tpm.firmware_versions` if it will do",
        Code::GcpInstance => "ask for the certificate of the instance's attestation key",
        Code::GcpProject | Code::GcpZone | Code::GcpInstanceNumber | Code::GcpProduction => {
            "list the instance under [gcp] in the policy if it is yours"
        }
        Code::EndorsementsPresent | Code::EndorsementsFormat => {
            "fetch the certificates from AMD's key distribution service, or send them along"
        }
        Code::CollateralPresent | Code::CollateralPlatform | Code::TcbLevel => {
            "fetch the platform's current collateral from Intel's provisioning certification service"
        }
        Code::TcbInfoTime | Code::QeIdentityTime | Code::IntelCertificateTime => {
            "check this machine's clock; then fetch newer collateral"
        }
        Code::TcbStatus | Code::Advisories => {
            "ask the operator to update firmware and TDX module, or accept the status and its advisories under \
             [intel] in the policy"
        }
        Code::TdReportVersion => {
            "ask the operator for quotes of version 5: older ones do not name service TDs"
        }
        Code::Root | Code::IntelRootKey => {
            "if this is a simulated TEE of yours, list its key under [simulated_roots] in the policy"
        }
        Code::CertificateTime => "check this machine's clock; then fetch newer endorsements",
        Code::CertifiedTcb | Code::CertifiedChip | Code::ReportSignature => {
            "fetch the VCEK for this chip and firmware; if it is the right one, the report was changed"
        }
        Code::SimulationAccepted => "pass `accept simulated` if a machine without a TEE will do",
        Code::SimulatedRoot => "list the root's digest under [simulated_roots] in the policy if it is yours",
        Code::Measurement => "build or fetch the image that this measurement belongs to, or refuse the guest",
        Code::ExpectedWorkload | Code::AcceptedWorkload | Code::Manifest => {
            "another workload runs there: compare compose.yaml and compose.lock with what was deployed"
        }
        Code::WorkloadConfigId | Code::WorkloadRtmr3 | Code::WorkloadMeasurement => {
            "another workload runs there: compare the compose file with what was deployed, and import the policy anew"
        }
        Code::ReportData => "the evidence answers another challenge: ask again with a new nonce",
        Code::ChallengeAge => "ask again with a new nonce",
        Code::SessionRoster | Code::SessionKeyEpoch => {
            "the guest was started under other seats: stop it and start it again"
        }
        Code::SessionLease => "the seats do not vouch for this boot: do not send it anything",
        Code::SessionLeaseBegin => "compare this machine's clock with the seats'",
        Code::SessionLeaseEnd => {
            "was the guest paused, or replaced by a newer boot? Ask again; if it stays so, start it again"
        }
        Code::RevocationListPresent | Code::CollateralAge => "fetch AMD's current revocation list",
        Code::GuestDebug => "the host started the guest in debug mode: do not use it",
        Code::PlatformAliasCheck => "ask the operator to update firmware and to enable the alias check",
        Code::Mitigations => {
            "ask the operator to update the host firmware and to start the guest anew: what was open at \
             launch stays open"
        }
        Code::PlatformIommuWriteSafe => "ask the operator to update the host firmware",
        Code::TcbFloor => {
            "update Casemate if the processor is newer, or add the product's table to the policy"
        }
        Code::GuestSvn => "the guest's maker has newer images: launch one of those",
        Code::DeniedChip => "this chip was denied on purpose: have the workload moved",
        Code::Chip => "add the chip to `hardware.chips` in the policy if you know the machine",
        _ => return None,
    })
}
