//! What does each check mean, and where is that written?
//!
//! One table for command line, documentation and whoever else explains a verdict. A new [`Code`] does not
//! compile without its row; what to do about a failure stands in [`super::advice`].

use serde::Serialize;

use super::advice;
use super::code::Code;

/// A check, for whoever meets its code and wants to know more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Which check.
    pub code: Code,
    /// What people call it.
    pub label: &'static str,
    /// What holds if it passes, and what that is good for.
    pub meaning: &'static str,
    /// Why a failure matters, where an advisory or an attack says so.
    pub reason: Option<&'static str>,
    /// Where the check comes from.
    pub source: &'static str,
    /// What to do if it fails.
    pub remedy: String,
}

impl Code {
    /// What the check means, where it comes from and what to do if it fails.
    pub fn explanation(self) -> Explanation {
        let (meaning, source) = text(self);
        Explanation {
            code: self,
            label: self.label(),
            meaning,
            reason: advice::reason(self),
            source,
            remedy: remedy(self),
        }
    }
}

const SNP: &str = "AMD 56860, SEV-SNP Firmware ABI, ATTESTATION_REPORT";
const SNP_POLICY: &str = "AMD 56860, SEV-SNP Firmware ABI, guest policy";
const SNP_PLATFORM: &str = "AMD 56860, SEV-SNP Firmware ABI, PLATFORM_INFO";
const SNP_BLOCK: &str = "AMD 56860, SEV-SNP Firmware ABI, ID block";
const SNP_TCB: &str = "AMD 56860, SEV-SNP Firmware ABI, TCB_VERSION; AMD's security bulletins";
const KDS: &str = "AMD 57230, VCEK Certificate and KDS Interface Specification";
const X509: &str = "RFC 5280, Internet X.509 Certificates and CRLs";
const QUOTE: &str = "Intel SGX and TDX DCAP Quoting Library API";
const PCK: &str = "Intel SGX PCK Certificate and CRL Profile Specification";
const PCS: &str = "Intel Provisioning Certification Service API, version 4";
const TDX: &str = "Intel TDX Module ABI Specification (348551)";
const SGX: &str = "Intel SDM volume 3D, Software Guard Extensions";
const TPM: &str = "TCG TPM 2.0 Library, Part 2 (Structures)";
const EK: &str = "TCG EK Credential Profile for TPM Family 2.0";
const PFP: &str = "TCG PC Client Platform Firmware Profile 1.06";
const IMA: &str = "Linux, security/integrity/ima; Keylime, runtime policy version 1";
const NITRO: &str = "AWS Nitro Enclaves user guide; EC2 user guide, NitroTPM";
const GCE: &str = "Google, extension 1.3.6.1.4.1.11129.2.1.21 of certificates of vTPMs";
const HCL: &str = "Microsoft OpenHCL, openhcl_attestation_protocol::igvm_attest";
const SPDM: &str = "DMTF DSP0274 1.1, MEASUREMENTS; docs/reference/nvidia.md";
const DICE: &str = "TCG DICE Attestation Architecture 1.1, DiceTcbInfo; docs/reference/nvidia.md";
const RIM: &str = "TCG Reference Integrity Manifest Information Model; docs/reference/nvidia.md";
const BUNDLE: &str = "docs/reference/evidence-bundle.md";
const POLICY: &str = "docs/reference/policy.md";
const REPORT_DATA: &str = "docs/reference/report-data.md";
const RECORDS: &str = "docs/reference/records.md";
const VERDICT: &str = "docs/reference/verdict.md";

fn text(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::Hardware => ("All checks of processor, firmware and guest configuration.", VERDICT),
        Code::Signer => {
            ("All checks of who vouches for the evidence: signatures, certificates, roots.", VERDICT)
        }
        Code::Firmware => ("All checks of the firmware and microcode that were running.", VERDICT),
        Code::Guest => ("All checks of how the guest was launched.", VERDICT),
        Code::Platform => ("All checks of how the machine is configured.", VERDICT),
        Code::Image => {
            ("All checks of what was launched: firmware, kernel, initrd and command line.", VERDICT)
        }
        Code::Workload => ("All checks of what is to run in the guest.", VERDICT),
        Code::Freshness => ("All checks of whether the evidence was made now, for this question.", VERDICT),
        Code::Channel => ("All checks of whether one talks to the guest that made the evidence.", VERDICT),

        Code::Tpm => ("All checks of what the TPM quotes, and of its clock and firmware.", VERDICT),
        Code::Paravisor => ("All checks of the software below the guest that is in the same TEE.", VERDICT),
        Code::Events => {
            ("All checks of what was measured while the machine started, by the event log.", VERDICT)
        }
        Code::Ima => ("All checks of what the running kernel measured, by its list.", VERDICT),
        Code::NitroAccepted => {
            ("The policy has rules for AWS Nitro; without them its documents are not read.", POLICY)
        }
        Code::TpmAccepted => {
            ("The policy has rules for TPMs; without them their quotes are not read.", POLICY)
        }
        Code::GcpAccepted => (
            "The policy has rules for Google's cloud; without them a key that Google certifies vouches for nothing.",
            POLICY,
        ),
        Code::AzureAccepted => {
            ("The policy has rules for Azure; without them its reports are not read.", POLICY)
        }
        Code::EventsAccepted => {
            ("The policy has rules for event logs; evidence with a log and no rules is not read.", POLICY)
        }
        Code::ImaAccepted => {
            ("The policy has rules for IMA lists; evidence with a list and no rules is not read.", POLICY)
        }
        Code::ChainFormat => {
            ("The certificate of a TPM's key or of a cloud, and what came along with it, can be read.", X509)
        }
        Code::ChainRoot => (
            "The chain of a TPM's key or of a cloud ends at a root key that is pinned, or that the policy lists.",
            POLICY,
        ),
        Code::ChainIssuer => ("For each certificate up to the root, that of its issuer came along.", X509),
        Code::ChainSignature => ("The issuer's key signed each certificate of the chain.", X509),
        Code::ChainRight => {
            ("Each issuer in the chain was allowed to issue, and nothing critical goes unread.", X509)
        }
        Code::ChainTime => ("Every certificate of the chain is valid at the time of the appraisal.", X509),
        Code::ChainRevocation => (
            "Revocation lists that came along are good and current, and name no certificate of the chain.",
            X509,
        ),
        Code::NitroFormat => (
            "The document is a COSE_Sign1 with ES384 alone, every field in it is known, and nothing follows it.",
            NITRO,
        ),
        Code::NitroKey => {
            ("The certified key of the document is of P-384, as its signature needs it.", NITRO)
        }
        Code::NitroSignature => {
            ("The certified key signed this very document: nobody changed it since.", NITRO)
        }
        Code::NitroImage => ("The document of an enclave states PCR 0, the digest of its image.", NITRO),
        Code::TpmStatement => {
            ("The statement is a quote that a TPM may have made: magic, type and every length in it.", TPM)
        }
        Code::TpmSignatureFormat => {
            ("The signature of the quote has a known scheme and hash, and nothing follows it.", TPM)
        }
        Code::TpmPcrFormat => {
            ("The PCR values that came along are of known banks and of their length, each once.", TPM)
        }
        Code::TpmKeyPresent => {
            ("The attestation key came along, as a certificate, a public area or a key.", TPM)
        }
        Code::TpmKeyFormat => ("The attestation key that came along can be read, and it is one key.", TPM),
        Code::TpmOtherKey => ("Public key, public area and certificate that came along are of one key.", TPM),
        Code::TpmKeyAttributes => (
            "The key is restricted, for signing only, made in its TPM and never leaves it: it signs what the TPM states and nothing else.",
            TPM,
        ),
        Code::TpmCertificateUse => {
            ("The certificate is that of a key that signs, and not of an endorsement key.", EK)
        }
        Code::TpmKeyEnrolled => (
            "Somebody vouches for the attestation key: an authority certifies it, or the policy lists it as enrolled.",
            POLICY,
        ),
        Code::TpmSignature => ("The TPM's key signed this very statement: nobody changed it since.", TPM),
        Code::TpmSelection => ("The quote selects at least one PCR.", TPM),
        Code::TpmPcrPresent => ("The value of each PCR that the quote selects came along.", TPM),
        Code::TpmPcrDigest => ("The PCR values that came along are those whose digest the TPM signed.", TPM),
        Code::GcpInstance => ("Google's certificate names the instance to which the vTPM belongs.", GCE),
        Code::AzureFormat => ("The HCL report is well formed, and what is reserved in it is zero.", HCL),
        Code::AzureTdxQuote => (
            "The TDX quote came along: the report inside the HCL report only its own machine can verify.",
            HCL,
        ),
        Code::AzureOtherReport => {
            ("The HCL report holds the report of the TEE that was authenticated, and no other.", HCL)
        }
        Code::AzureBinding => (
            "The TEE's report data is the digest of the paravisor's runtime data, so the TEE vouches for what is in it.",
            HCL,
        ),
        Code::AzureRuntimeData => ("The paravisor's runtime data can be read, and names nothing twice.", HCL),
        Code::AzureAttestationKey => {
            ("The runtime data names the vTPM's attestation key, for signing alone.", HCL)
        }
        Code::AzureOtherKey => {
            ("The key that came along beside the quote is the one for which the TEE vouches.", HCL)
        }
        Code::Devices => ("All checks of the GPUs and switches that came along.", VERDICT),
        Code::Device => ("All checks of one GPU or switch.", VERDICT),
        Code::NvidiaAccepted => {
            ("The policy has rules for devices of NVIDIA; without them they are not read.", POLICY)
        }
        Code::NvidiaReportFormat => (
            "The device's report is one exchange of SPDM 1.1: all measurements, signed, nothing behind.",
            SPDM,
        ),
        Code::NvidiaCertificate => (
            "The first certificate beside a report is the device's own: it may sign data and issue nothing.",
            X509,
        ),
        Code::NvidiaSignature => {
            ("The device's key signed both what it was asked and what it answered.", SPDM)
        }
        Code::NvidiaFirmwareId => ("The device runs the firmware for which its key is certified.", DICE),
        Code::NvidiaDistinct => (
            "Each report is of another chip, by the key that the chip was born with: none is counted twice.",
            DICE,
        ),
        Code::NvidiaManifestFormat => {
            ("The manifest can be read whole, and nothing in it is unknown or stands there twice.", RIM)
        }
        Code::NvidiaManifestSigner => {
            ("The first certificate in the manifest is a signer's: it may sign data and issue nothing.", X509)
        }
        Code::NvidiaManifestSignature => {
            ("The golden values are those that the manifest's signer signed.", RIM)
        }
        Code::NvidiaMeasurements => (
            "Each measurement for which driver's or VBIOS's manifest has golden values is one of these.",
            RIM,
        ),
        Code::NvidiaRoot => ("The policy trusts NVIDIA's root keys of devices and manifests.", POLICY),
        Code::NvidiaGpus => ("As many GPUs came along as the policy demands, each another one.", POLICY),
        Code::NvidiaAlone => {
            ("Evidence of the machine that has the devices came along, unless devices alone will do.", POLICY)
        }
        Code::NvidiaSwitches => {
            ("As many switches came along as the policy demands, each another one.", POLICY)
        }
        Code::NvidiaArchitecture => {
            ("The policy has rules for the device's architecture, which NVIDIA certified.", POLICY)
        }
        Code::NvidiaNonce => (
            "The device was asked with the nonce that is made of this evidence's report data, so both answer one question.",
            SPDM,
        ),
        Code::NvidiaMode => (
            "The GPU serves one guest alone, or with others as the policy allows, by its own statement.",
            SPDM,
        ),
        Code::NvidiaDriver => ("The GPU's driver is at least as new as the policy demands.", POLICY),
        Code::NvidiaVbios => ("The device's VBIOS is at least as new as the policy demands.", POLICY),
        Code::NvidiaManifests => (
            "NVIDIA's manifests of the device's driver and VBIOS came along, of the versions that it reports.",
            RIM,
        ),
        Code::EventLog => {
            ("The event log can be read, and gives at least one signed register its value.", PFP)
        }
        Code::ImaList => {
            ("The kernel's list can be read, and its first entries give PCR 10 its quoted value.", IMA)
        }
        Code::EventsExplained => (
            "The event log gives each register that the policy names its signed value: no event is missing or changed.",
            PFP,
        ),
        Code::EventsSecureBoot => {
            ("Secure boot is as the policy demands it, shown by the log before the boot loader ran.", PFP)
        }
        Code::EventsDigest => ("Each event in that register is one that the policy lists.", PFP),
        Code::ImaPresent => ("The list of the running kernel came along, if the policy asks for it.", POLICY),
        Code::ImaBootAggregate => (
            "The list's first entry is the digest of the quoted PCRs of the boot: list and quote are of one boot.",
            IMA,
        ),
        Code::ImaViolations => ("No file was changed while it was in use.", IMA),
        Code::ImaRuntimePolicy => ("Keylime's runtime policy allows each entry of the list.", IMA),
        Code::AwsRoot => ("The policy trusts AWS's root key.", POLICY),
        Code::NitroModule => ("The instance, and the enclave in it, is one that the policy lists.", NITRO),
        Code::NitroAge => {
            ("The document was made at most so long ago as the policy allows, by AWS's clock.", POLICY)
        }
        Code::NitroKind => {
            ("The document is of an enclave, or of an instance, as the policy demands.", NITRO)
        }
        Code::NitroDebug => {
            ("The enclave's parent cannot read its memory, if the policy forbids debug mode.", NITRO)
        }
        Code::NitroPcr => ("The document's register holds a value that the policy lists.", NITRO),
        Code::TpmRoots => ("The policy lists the root that vouches for the attestation key.", POLICY),
        Code::TpmKeys => ("The policy lists the attestation key itself as enrolled.", POLICY),
        Code::TpmBank => ("PCRs of the bank are quoted by which the policy judges.", POLICY),
        Code::TpmSafeClock => ("The TPM's clock cannot have gone back, so counters do not repeat.", TPM),
        Code::TpmFirmware => ("The TPM's firmware is of a version that the policy lists.", TPM),
        Code::TpmPcr => ("The quoted PCR holds a value that the policy lists.", TPM),
        Code::GoogleRoot => ("The policy trusts Google's root keys of vTPMs.", POLICY),
        Code::GcpProject => ("The instance is of a project that the policy lists.", GCE),
        Code::GcpZone => ("The instance is in a zone that the policy lists.", GCE),
        Code::GcpInstanceNumber => ("The instance is one that the policy lists by its number.", GCE),
        Code::GcpProduction => {
            ("Google states that the vTPM is in production, if the policy demands it.", GCE)
        }
        Code::AzureQuote => (
            "A quote of the vTPM came along: without it nobody knows which software the paravisor started.",
            POLICY,
        ),
        Code::AzureParavisor => ("The chip measured firmware and a paravisor that the policy lists.", HCL),
        Code::AzureSecureBoot => ("The paravisor states of secure boot what the policy demands.", HCL),
        Code::AzureConsole => ("The paravisor states of the serial console what the policy demands.", HCL),
        Code::AzureVm => ("The VM is one that the policy lists.", HCL),

        Code::EvidencePresent => ("The bundle holds the evidence of one TEE: not none, and not two.", BUNDLE),
        Code::SnpAccepted => {
            ("The policy has rules for SEV-SNP; without them its evidence is not read.", POLICY)
        }
        Code::TdxAccepted => ("The policy has rules for TDX; without them its evidence is not read.", POLICY),
        Code::SgxAccepted => ("The policy has rules for SGX; without them its evidence is not read.", POLICY),
        Code::ReportFormat => (
            "The report has its length, a known version, and nothing in fields that this version reserves.",
            SNP,
        ),
        Code::EndorsementsPresent => {
            ("The certificates of the key that signed the report are at hand, with it or kept here.", KDS)
        }
        Code::EndorsementsFormat => ("These certificates can be read.", KDS),
        Code::Root => (
            "The chain ends at a root key that is pinned: one of AMD's, or a simulated one that the policy lists.",
            KDS,
        ),
        Code::CertificateIssuer => {
            ("Each certificate, and the revocation list, names the one above it as issuer.", X509)
        }
        Code::CertificateSignature => {
            ("The key of the certificate above signed each certificate and the revocation list.", KDS)
        }
        Code::CertificateRight => {
            ("Whoever issued a certificate was allowed to, and nothing critical in one goes unread.", X509)
        }
        Code::CertificateTime => {
            ("Every certificate and the revocation list are valid at the time of the appraisal.", X509)
        }
        Code::Revocation => ("The root's revocation list does not name the intermediate.", KDS),
        Code::LeafFormat => {
            ("The leaf certificate has the extensions of a VCEK or VLEK, with a usable key.", KDS)
        }
        Code::LeafProduct => ("Leaf, intermediate and root are of one product line.", KDS),
        Code::ReportSigned => ("The guest asked for a signed report, and the firmware signed it.", SNP),
        Code::SigningKeyKind => (
            "The report names the kind of key (VCEK of a chip, VLEK of a provider) that the certificate is for.",
            SNP,
        ),
        Code::ReportSignature => (
            "The certified key signed this very report (ECDSA P-384, SHA-384): nobody changed it since.",
            SNP,
        ),
        Code::Processor => ("The processor that the report names is of the certificate's product line.", KDS),
        Code::CertifiedTcb => (
            "The certificate is for the firmware versions that the report states: keys are derived per version.",
            KDS,
        ),
        Code::CertifiedChip => ("The certificate is for the chip that the report names.", KDS),

        Code::QuoteFormat => (
            "The quote has a known version and key type, every length in it fits, and reserved bits are zero.",
            QUOTE,
        ),
        Code::QuoteTee => ("The quote is of the TEE (TDX or SGX) as which it was handed over.", BUNDLE),
        Code::CollateralPresent => (
            "Intel's collateral is at hand: TCB info, identity of the Quoting Enclave, and both revocation lists.",
            PCS,
        ),
        Code::CollateralFormat => ("The collateral can be read, and nothing in it is unknown.", PCS),
        Code::IntelRootKey => (
            "Quote and collateral end at the same root key, and it is pinned: Intel's, or a simulated one that \
             the policy lists.",
            PCK,
        ),
        Code::IntelCertificateIssuer => {
            ("Each certificate and revocation list names the certificate above it as issuer.", PCK)
        }
        Code::IntelCertificateSubject => {
            ("Each certificate has the subject that belongs into its place.", PCK)
        }
        Code::IntelCertificateSignature => (
            "The key of the certificate above signed each certificate and revocation list (ECDSA P-256).",
            PCK,
        ),
        Code::IntelCertificateRight => ("Authorities may issue, and leaves may not.", PCK),
        Code::IntelCertificateTime => {
            ("Every certificate and revocation list is valid at the time of the appraisal.", PCK)
        }
        Code::IntelRevocation => ("Neither revocation list names a certificate that is relied on.", PCK),
        Code::PckFormat => {
            ("The PCK certificate states platform and TCB in the extension that Intel defines.", PCK)
        }
        Code::PckChainPresent => {
            ("The certificates of the platform's key (PCK) are at hand, with the quote or beside it.", QUOTE)
        }
        Code::QeReportSignature => ("The platform's key (PCK) signed the Quoting Enclave's report.", QUOTE),
        Code::AttestationKey => (
            "The Quoting Enclave's report commits to the key that signed the quote: it made that key.",
            QUOTE,
        ),
        Code::QuoteSignature => {
            ("The attestation key signed this very quote: nobody changed it since.", QUOTE)
        }
        Code::TcbInfoSignature => ("Intel signed these very bytes of the TCB info.", PCS),
        Code::TcbInfoTime => {
            ("The time of the appraisal is between the TCB info's issue date and next update.", PCS)
        }
        Code::QeIdentitySignature => {
            ("Intel signed these very bytes of the Quoting Enclave's identity.", PCS)
        }
        Code::QeIdentityTime => {
            ("The time of the appraisal is between the identity's issue date and next update.", PCS)
        }
        Code::CollateralTee => ("TCB info and identity are of the TEE of the quote.", PCS),
        Code::CollateralPlatform => {
            ("The TCB info is for this kind of processor (FMSPC) and its provisioning enclave (PCE).", PCS)
        }
        Code::QeSigner => {
            ("The Quoting Enclave is signed by the key that its identity names (MRSIGNER).", PCS)
        }
        Code::QeProduct => ("The enclave is the Quoting Enclave, by its product number (ISVPRODID).", PCS),
        Code::QeMiscSelect => {
            ("MISCSELECT of the Quoting Enclave is that of its identity, under its mask.", PCS)
        }
        Code::QeAttributes => (
            "ATTRIBUTES of the Quoting Enclave are those of its identity, under its mask; debug is off.",
            PCS,
        ),
        Code::TcbLevel => (
            "Some TCB level of the collateral fits the platform, the TDX module and the Quoting Enclave. Without \
             one Intel says nothing of it, and no policy can accept it.",
            PCS,
        ),
        Code::ModuleVersion => ("The TCB info knows this major version of the TDX module.", PCS),
        Code::ModuleSigner => ("The TDX module is signed by Intel (MRSIGNERSEAM).", PCS),
        Code::ModuleAttributes => ("SEAMATTRIBUTES of the TDX module are those that Intel states.", PCS),

        Code::IntelRoot => ("The policy accepts Intel's own root.", POLICY),
        Code::TcbStatus => (
            "Intel's word for platform, TDX module and Quoting Enclave together is one that the policy accepts.",
            PCS,
        ),
        Code::Advisories => {
            ("The policy accepts each of Intel's advisories that are open on this platform.", PCS)
        }
        Code::TcbEvaluation => (
            "TCB info and identity are of the TCB recovery that the policy demands, or a later one: older \
             collateral does not know what was found since.",
            PCS,
        ),
        Code::IntelPlatform => ("The platform (PPID) is one that the policy lists.", PCK),
        Code::IntelDeniedPlatform => ("The platform (PPID) is none that the policy denies.", PCK),
        Code::IntelProcessor => ("The kind of processor (FMSPC) is one that the policy lists.", PCK),
        Code::IntelDeniedProcessor => ("The kind of processor (FMSPC) is none that the policy denies.", PCK),
        Code::IntelSmt => ("Hyper-threading is as the policy demands, by the PCK certificate.", PCK),
        Code::IntelDynamic => {
            ("Whether packages may be added to the platform is as the policy demands.", PCK)
        }
        Code::IntelCachedKeys => {
            ("Whether Intel keeps the platform's root keys is as the policy demands.", PCK)
        }
        Code::TdReportVersion => {
            ("The trust domain's report is of the version that the policy demands, or a later one.", TDX)
        }
        Code::ServiceTd => (
            "No service TD is bound to the guest, or one that the policy lists: it could move the guest.",
            TDX,
        ),
        Code::TdxModule => ("The TDX module (MRSEAM) is one that the policy lists.", TDX),
        Code::Xfam => {
            ("The guest was given no processor feature (XFAM) that the policy does not allow.", TDX)
        }
        Code::MrOwner => ("MROWNER, chosen by whoever launched the guest, is listed.", TDX),
        Code::MrOwnerConfig => ("MROWNERCONFIG, chosen by whoever launched the guest, is listed.", TDX),
        Code::TdDebug => ("Whether the guest may be debugged is as the policy demands.", TDX),
        Code::TdHgsPlusProf => ("Whether the host may profile by HGS+ is as the policy demands.", TDX),
        Code::TdPerfProf => ("Whether the host may profile performance is as the policy demands.", TDX),
        Code::TdPmtProf => ("Whether the host may profile by telemetry is as the policy demands.", TDX),
        Code::TdIcssd => (
            "Whether the guest may defend itself against single-stepping (ICSSD) is as the policy demands.",
            TDX,
        ),
        Code::TdLass => {
            ("Whether the guest has linear address space separation (LASS) is as the policy demands.", TDX)
        }
        Code::TdSeptVeDisable => (
            "Whether a page that the host took away ends the guest, and is not handled by it, is as the policy \
             demands.",
            TDX,
        ),
        Code::TdMigratable => ("Whether the guest can be migrated is as the policy demands.", TDX),
        Code::TdPks => ("Whether the guest has supervisor protection keys is as the policy demands.", TDX),
        Code::TdKeyLocker => ("Whether the guest has Key Locker is as the policy demands.", TDX),
        Code::TdTpa => ("Whether the guest attests for others (TPA) is as the policy demands.", TDX),
        Code::TdPerfmon => ("Whether the guest has performance counters is as the policy demands.", TDX),
        Code::Mrtd => ("MRTD, what was in memory at launch, is listed.", TDX),
        Code::Rtmr0 => ("RTMR 0, by convention the firmware's configuration, is listed.", TDX),
        Code::Rtmr1 => ("RTMR 1, by convention the kernel, is listed.", TDX),
        Code::Rtmr2 => ("RTMR 2, by convention command line and initrd, is listed.", TDX),
        Code::Rtmr3 => ("RTMR 3, by convention the application, is listed.", TDX),
        Code::MrSigner => ("The enclave is signed by a key that the policy lists (MRSIGNER).", SGX),
        Code::IsvProdId => ("The enclave's product number (ISVPRODID) is listed.", SGX),
        Code::IsvSvn => {
            ("The enclave's security version (ISVSVN) is not lower than the policy demands.", SGX)
        }
        Code::EnclaveDebug => ("Whether the enclave may be debugged is as the policy demands.", SGX),
        Code::EnclaveProvisionKey => (
            "Whether the enclave may derive the provisioning key, which identifies the platform, is as the \
             policy demands.",
            SGX,
        ),

        Code::AmdRoot => ("The policy accepts AMD's own roots.", POLICY),
        Code::SimulatedRoot => ("The policy lists the simulated root at which the chain ends.", POLICY),
        Code::SimulationAccepted => {
            ("Whoever asked accepts simulated hardware. The policy alone never decides that.", POLICY)
        }
        Code::Product => ("The product line (Milan, Genoa, Turin) is one that the policy lists.", KDS),
        Code::DeniedProduct => ("The product line is none that the policy denies.", KDS),
        Code::SigningKey => ("The kind of key that signed (VCEK or VLEK) is one that the policy lists.", SNP),
        Code::VlekProvider => {
            ("The cloud to which a VLEK that signed was issued is one that the policy lists.", KDS)
        }
        Code::Chip => ("The chip is one that the policy lists.", SNP),
        Code::DeniedChip => ("The chip is none that the policy denies.", SNP),
        Code::ReportVersion => ("The report is of the version that the policy demands, or a later one.", SNP),
        Code::Vmpl => (
            "Software at a privilege level that the policy lists asked for the report, and not the host.",
            SNP,
        ),
        Code::TcbFloor => ("The policy has floors for this product and design of processor.", SNP_TCB),
        Code::TcbFmc => {
            ("The version of FMC is not lower than the policy's floor, now and at launch.", SNP_TCB)
        }
        Code::TcbBootloader => (
            "The version of the boot loader is not lower than the policy's floor, now and at launch.",
            SNP_TCB,
        ),
        Code::TcbTee => (
            "The version of the PSP's operating system is not lower than the policy's floor, now and at launch.",
            SNP_TCB,
        ),
        Code::TcbSnp => (
            "The version of the SNP firmware is not lower than the policy's floor, now and at launch.",
            SNP_TCB,
        ),
        Code::TcbMicrocode => (
            "The version of the microcode is not lower than the policy's floor for this design, now and at launch.",
            SNP_TCB,
        ),
        Code::Mitigations => {
            ("Each mitigation that the policy names was in force at launch and is now.", SNP_TCB)
        }
        Code::GuestDebug => ("Whether the host may debug the guest is as the policy demands.", SNP_POLICY),
        Code::GuestMigrateMa => {
            ("Whether the guest has a migration agent is as the policy demands.", SNP_POLICY)
        }
        Code::GuestSmt => ("Whether the guest may run where SMT is on is as the policy demands.", SNP_POLICY),
        Code::GuestSingleSocket => {
            ("Whether the guest must run on one socket is as the policy demands.", SNP_POLICY)
        }
        Code::GuestCxl => ("Whether the guest may use CXL memory is as the policy demands.", SNP_POLICY),
        Code::GuestAes256Xts => {
            ("Whether the guest demands AES-256-XTS for its memory is as the policy demands.", SNP_POLICY)
        }
        Code::GuestRaplDisabled => (
            "Whether the guest demands that power readings (RAPL), a side channel, are off is as the policy demands.",
            SNP_POLICY,
        ),
        Code::GuestCiphertextHiding => (
            "Whether the guest demands that its encrypted memory is hidden from the host is as the policy demands.",
            SNP_POLICY,
        ),
        Code::GuestPageSwapDisabled => {
            ("Whether the guest forbids the host to swap its pages is as the policy demands.", SNP_POLICY)
        }
        Code::IdKey => {
            ("A key that the policy lists signed the ID block with which the guest was launched.", SNP_BLOCK)
        }
        Code::AuthorKey => ("A key that the policy lists signed the key of the ID block.", SNP_BLOCK),
        Code::FamilyId => ("FAMILY_ID of the ID block is listed.", SNP_BLOCK),
        Code::ImageId => ("IMAGE_ID of the ID block is listed.", SNP_BLOCK),
        Code::GuestSvn => ("GUEST_SVN of the ID block is not lower than the policy demands.", SNP_BLOCK),
        Code::PlatformSmt => ("Whether SMT is on is as the policy demands.", SNP_PLATFORM),
        Code::PlatformTsme => {
            ("Whether all memory of the machine is encrypted (TSME) is as the policy demands.", SNP_PLATFORM)
        }
        Code::PlatformEcc => ("Whether memory has error correction is as the policy demands.", SNP_PLATFORM),
        Code::PlatformRaplDisabled => {
            ("Whether power readings (RAPL) are off is as the policy demands.", SNP_PLATFORM)
        }
        Code::PlatformCiphertextHiding => {
            ("Whether encrypted memory is hidden from the host is as the policy demands.", SNP_PLATFORM)
        }
        Code::PlatformAliasCheck => {
            ("Whether the firmware checked memory for aliases is as the policy demands.", SNP_PLATFORM)
        }
        Code::PlatformIommuWriteSafe => (
            "Whether writes of devices were kept from guests' memory is as the policy demands.",
            SNP_PLATFORM,
        ),
        Code::PlatformTrustedIo => ("Whether trusted I/O is on is as the policy demands.", SNP_PLATFORM),
        Code::RevocationListPresent => {
            ("The root's revocation list is at hand, if the policy demands it.", POLICY)
        }
        Code::CollateralAge => {
            ("The oldest dated part of the collateral is not older than the policy allows.", POLICY)
        }
        Code::Measurement => (
            "What was launched (the launch measurement) is what the policy lists or the caller computed.",
            "docs/reference/launch-measurement.md",
        ),
        Code::ExpectedWorkload => (
            "The workload slot that the hardware signs (HOST_DATA, MRCONFIGID) holds the digest of the workload \
             that the caller expects.",
            "docs/reference/manifest.md",
        ),
        Code::AcceptedWorkload => {
            ("The workload's digest, or its app, is one that the policy accepts.", POLICY)
        }
        Code::WorkloadConfigId => (
            "MRCONFIGID, by which dstack's hosts name the app that its guests then insist on, is one that the policy \
             lists.",
            POLICY,
        ),
        Code::WorkloadRtmr3 => (
            "RTMR 3, into which the guest measured its workload before starting it, is one that the policy lists.",
            POLICY,
        ),
        Code::WorkloadMeasurement => (
            "The launch measurement is one in which the kernel's command line names a workload that the policy \
             accepts.",
            POLICY,
        ),
        Code::Manifest => {
            ("The manifest that came along is the one whose digest the hardware signs.", BUNDLE)
        }
        Code::ReportData => (
            "The hardware signed what this challenge asks for, so the evidence is not a recording.",
            REPORT_DATA,
        ),
        Code::ChallengeAge => (
            "The challenge was made at most so long ago as the policy allows, and not in the future.",
            POLICY,
        ),
        Code::SessionKey => (
            "The evidence commits to the key of this session: only that guest can read what is sealed to it.",
            REPORT_DATA,
        ),
        Code::SessionRoster => {
            ("The guest goes by the newest roster that the caller knows of the app's key service.", RECORDS)
        }
        Code::SessionKeyEpoch => ("The guest's key epoch is that roster's.", RECORDS),
        Code::SessionLease => (
            "A quorum of the roster's seats signed that this very boot may go on: it is not a second copy.",
            RECORDS,
        ),
        Code::SessionLeaseBegin => {
            ("The lease has begun by the caller's clock; a minute is allowed.", RECORDS)
        }
        Code::SessionLeaseEnd => {
            ("The lease has not ended by the caller's clock; a minute is allowed.", RECORDS)
        }
    }
}

/// What to do: the hint of the verdict, or what goes for every check of its kind.
fn remedy(code: Code) -> String {
    if let Some(hint) = advice::hint(code) {
        return hint.to_owned();
    }
    if code.is_group() {
        return "see the checks below it that failed".to_owned();
    }
    let name = code.as_str();
    match name.split_once('.') {
        Some(("policy", rule)) => format!(
            "have the guest or its machine changed to what the policy demands; if the difference is meant, change \
             `{rule}` in the policy"
        ),
        Some(("caller", _)) => "compare what was expected with what was deployed".to_owned(),
        _ => "ask for the evidence again; if it stays so, it was changed on its way or made up: do not trust it"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_explained_in_sentences_of_its_own() {
        let mut meanings = std::collections::BTreeMap::new();
        for &code in Code::ALL {
            let Explanation { meaning, source, remedy, .. } = code.explanation();
            assert!(meaning.ends_with('.') && meaning.starts_with(char::is_uppercase), "{code}: {meaning}");
            assert!(!meaning.contains("  ") && !remedy.contains("  "), "{code}");
            assert!(!source.is_empty() && !remedy.is_empty(), "{code}");
            if let Some(other) = meanings.insert(meaning, code) {
                panic!("{code} and {other} say the same: {meaning}");
            }
        }
    }
}
