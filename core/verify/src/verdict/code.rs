//! Which check is this?

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $text:literal, $label:literal;)*) => {
        /// A check, or a group of checks. The texts are for ever: programs match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$meta])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The stable name, as in `snp.report_signature`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// What people call it.
            pub const fn label(self) -> &'static str {
                match self { $(Code::$variant => $label,)* }
            }
        }
    };
}

codes! {
    /// Everything about processor, firmware and guest configuration.
    Hardware = "hardware", "hardware";
    /// Who vouches for the report.
    Signer = "hardware.signer", "signed by";
    /// What firmware was running.
    Firmware = "hardware.firmware", "firmware";
    /// How the guest was launched.
    Guest = "hardware.guest", "guest";
    /// How the machine is configured.
    Platform = "hardware.platform", "platform";
    /// What the TPM quotes.
    Tpm = "hardware.tpm", "TPM";
    /// What runs below the guest, in the same TEE.
    Paravisor = "hardware.paravisor", "paravisor";
    /// The GPUs and switches that came along.
    Devices = "hardware.devices", "devices";
    /// One of them, by name.
    Device = "hardware.device", "device";
    /// What was launched.
    Image = "image", "image";
    /// What was measured while it started, by a log.
    Events = "image.events", "event log";
    /// What the running kernel measured, by a list.
    Ima = "image.ima", "kernel list";
    /// What is to run.
    Workload = "workload", "workload";
    /// Whether the evidence answers this challenge.
    Freshness = "freshness", "freshness";
    /// To whom one is talking.
    Channel = "channel", "channel";

    /// The bundle holds evidence of one platform.
    EvidencePresent = "bundle.evidence", "evidence";
    /// Policy: there are rules for SEV-SNP.
    SnpAccepted = "policy.snp", "platform";
    /// Policy: there are rules for TDX.
    TdxAccepted = "policy.tdx", "platform";
    /// Policy: there are rules for SGX.
    SgxAccepted = "policy.sgx", "platform";
    /// Policy: there are rules for AWS Nitro.
    NitroAccepted = "policy.nitro", "platform";
    /// Policy: there are rules for TPMs.
    TpmAccepted = "policy.tpm", "platform";
    /// Policy: there are rules for Google's cloud.
    GcpAccepted = "policy.gcp", "platform";
    /// Policy: there are rules for Azure.
    AzureAccepted = "policy.azure", "platform";
    /// Policy: there are rules for devices of NVIDIA.
    NvidiaAccepted = "policy.nvidia", "platform";
    /// Policy: there are rules for event logs.
    EventsAccepted = "policy.events", "event log";
    /// Policy: there are rules for lists of the running kernel.
    ImaAccepted = "policy.ima", "IMA list";
    /// The report is well formed.
    ReportFormat = "snp.report_format", "report format";
    /// There are endorsements for the report's key.
    EndorsementsPresent = "snp.endorsements_present", "endorsements";
    /// The endorsements are well formed.
    EndorsementsFormat = "snp.endorsements_format", "format of the endorsements";
    /// The root's key is in a list of trusted roots.
    Root = "snp.root", "root key";
    /// Certificates name each other as issuer.
    CertificateIssuer = "snp.certificate_issuer", "issuer";
    /// Certificates are signed by their issuer.
    CertificateSignature = "snp.certificate_signature", "signature of a certificate";
    /// Issuers may issue.
    CertificateRight = "snp.certificate_right", "right to issue";
    /// Certificates and revocation list are valid now.
    CertificateTime = "snp.certificate_time", "validity";
    /// No certificate is revoked.
    Revocation = "snp.revocation", "revocation";
    /// The leaf is a VCEK or VLEK certificate.
    LeafFormat = "snp.leaf_format", "extensions of the leaf";
    /// Leaf, intermediate and root belong to one product.
    LeafProduct = "snp.leaf_product", "product of the leaf";
    /// The report is signed at all.
    ReportSigned = "snp.report_signed", "report is signed";
    /// Report and certificate name the same kind of key.
    SigningKeyKind = "snp.signing_key_kind", "kind of signing key";
    /// The certified key signed the report.
    ReportSignature = "snp.report_signature", "signature of the report";
    /// Report and certificate are of the same product.
    Processor = "snp.processor", "processor";
    /// Report and certificate are of the same firmware.
    CertifiedTcb = "snp.certified_tcb", "TCB version";
    /// Report and certificate are of the same chip.
    CertifiedChip = "snp.certified_chip", "chip";

    /// The quote is well formed.
    QuoteFormat = "intel.quote_format", "quote format";
    /// The quote is of the TEE that it is handed over as.
    QuoteTee = "intel.quote_tee", "TEE of the quote";
    /// There is collateral for the quote.
    CollateralPresent = "intel.collateral_present", "collateral";
    /// The collateral is well formed.
    CollateralFormat = "intel.collateral_format", "format of the collateral";
    /// The root's key is in a list of trusted roots, and the same for quote and collateral.
    IntelRootKey = "intel.root", "root key";
    /// Certificates and lists name the certificate above as issuer.
    IntelCertificateIssuer = "intel.certificate_issuer", "issuer";
    /// Certificates are of the subject that belongs into their place.
    IntelCertificateSubject = "intel.certificate_subject", "subject";
    /// Certificates and lists are signed by their issuer.
    IntelCertificateSignature = "intel.certificate_signature", "signature of a certificate";
    /// Issuers may issue, leaves may not.
    IntelCertificateRight = "intel.certificate_right", "right to issue";
    /// Certificates and lists are valid now.
    IntelCertificateTime = "intel.certificate_time", "validity";
    /// No certificate is revoked.
    IntelRevocation = "intel.revocation", "revocation";
    /// The PCK certificate names a platform.
    PckFormat = "intel.pck_format", "extension of the PCK certificate";
    /// The quote brings the certificates of its PCK, or the collateral does.
    PckChainPresent = "intel.pck_chain", "certificates of the PCK";
    /// The PCK signed the Quoting Enclave's report.
    QeReportSignature = "intel.qe_report_signature", "signature of the Quoting Enclave's report";
    /// The Quoting Enclave made the attestation key.
    AttestationKey = "intel.attestation_key", "attestation key";
    /// The attestation key signed the quote.
    QuoteSignature = "intel.quote_signature", "signature of the quote";
    /// Intel signed the TCB info.
    TcbInfoSignature = "intel.tcb_info_signature", "signature of the TCB info";
    /// The TCB info is current.
    TcbInfoTime = "intel.tcb_info_time", "validity of the TCB info";
    /// Intel signed the Quoting Enclave's identity.
    QeIdentitySignature = "intel.qe_identity_signature", "signature of the enclave identity";
    /// The Quoting Enclave's identity is current.
    QeIdentityTime = "intel.qe_identity_time", "validity of the enclave identity";
    /// The collateral is of the quote's TEE.
    CollateralTee = "intel.collateral_tee", "TEE of the collateral";
    /// The TCB info speaks of this processor and provisioning enclave.
    CollateralPlatform = "intel.collateral_platform", "platform of the TCB info";
    /// The Quoting Enclave is signed by Intel.
    QeSigner = "intel.qe_signer", "signer of the Quoting Enclave";
    /// The enclave is the Quoting Enclave.
    QeProduct = "intel.qe_product", "product of the Quoting Enclave";
    /// MISCSELECT of the Quoting Enclave.
    QeMiscSelect = "intel.qe_misc_select", "MISCSELECT of the Quoting Enclave";
    /// ATTRIBUTES of the Quoting Enclave.
    QeAttributes = "intel.qe_attributes", "ATTRIBUTES of the Quoting Enclave";
    /// Intel's collateral has a level that fits the platform.
    TcbLevel = "intel.tcb_level", "TCB level";
    /// The TCB info speaks of this major version of the TDX module.
    ModuleVersion = "tdx.module_version", "version of the TDX module";
    /// The TDX module is signed by Intel.
    ModuleSigner = "tdx.module_signer", "signer of the TDX module";
    /// SEAMATTRIBUTES.
    ModuleAttributes = "tdx.module_attributes", "attributes of the TDX module";

    /// Policy: Intel's root.
    IntelRoot = "policy.roots.intel", "root";
    /// Policy: Intel's word for the platform.
    TcbStatus = "policy.intel.tcb_statuses", "TCB status";
    /// Policy: open advisories.
    Advisories = "policy.intel.accepted_advisories", "advisories";
    /// Policy: TCB evaluation data number.
    TcbEvaluation = "policy.intel.minimum_tcb_evaluation_number", "TCB evaluation";
    /// Policy: platform is accepted.
    IntelPlatform = "policy.intel.platforms", "platform";
    /// Policy: platform is not denied.
    IntelDeniedPlatform = "policy.intel.denied_platforms", "platform";
    /// Policy: processor is accepted.
    IntelProcessor = "policy.intel.processors", "FMSPC";
    /// Policy: processor is not denied.
    IntelDeniedProcessor = "policy.intel.denied_processors", "FMSPC";
    /// Policy: SMT, as the PCK certificate states it.
    IntelSmt = "policy.intel.smt", "SMT";
    /// Policy: packages may be added.
    IntelDynamic = "policy.intel.dynamic_platform", "dynamic platform";
    /// Policy: Intel keeps the platform's root keys.
    IntelCachedKeys = "policy.intel.cached_keys", "cached keys";
    /// Policy: version of the trust domain's report.
    TdReportVersion = "policy.tdx.minimum_report", "report version";
    /// Policy: bound service TDs.
    ServiceTd = "policy.tdx.service_td", "service TD";
    /// Policy: MRSEAM.
    TdxModule = "policy.tdx.modules", "TDX module";
    /// Policy: XFAM.
    Xfam = "policy.tdx.xfam", "XFAM";
    /// Policy: MROWNER.
    MrOwner = "policy.tdx.mr_owner", "MROWNER";
    /// Policy: MROWNERCONFIG.
    MrOwnerConfig = "policy.tdx.mr_owner_config", "MROWNERCONFIG";
    /// Policy: DEBUG.
    TdDebug = "policy.tdx.attributes.debug", "debug";
    /// Policy: HGS_PLUS_PROF.
    TdHgsPlusProf = "policy.tdx.attributes.hgs_plus_prof", "HGS+ profiling";
    /// Policy: PERF_PROF.
    TdPerfProf = "policy.tdx.attributes.perf_prof", "performance profiling";
    /// Policy: PMT_PROF.
    TdPmtProf = "policy.tdx.attributes.pmt_prof", "telemetry profiling";
    /// Policy: ICSSD.
    TdIcssd = "policy.tdx.attributes.icssd", "ICSSD";
    /// Policy: LASS.
    TdLass = "policy.tdx.attributes.lass", "LASS";
    /// Policy: SEPT_VE_DISABLE.
    TdSeptVeDisable = "policy.tdx.attributes.sept_ve_disable", "SEPT_VE_DISABLE";
    /// Policy: MIGRATABLE.
    TdMigratable = "policy.tdx.attributes.migratable", "migratable";
    /// Policy: PKS.
    TdPks = "policy.tdx.attributes.pks", "PKS";
    /// Policy: KL.
    TdKeyLocker = "policy.tdx.attributes.key_locker", "key locker";
    /// Policy: TPA.
    TdTpa = "policy.tdx.attributes.tpa", "TPA";
    /// Policy: PERFMON.
    TdPerfmon = "policy.tdx.attributes.perfmon", "PERFMON";
    /// Policy: MRTD.
    Mrtd = "policy.tdx.registers.mrtd", "MRTD";
    /// Policy: RTMR 0.
    Rtmr0 = "policy.tdx.registers.rtmr0", "RTMR0";
    /// Policy: RTMR 1.
    Rtmr1 = "policy.tdx.registers.rtmr1", "RTMR1";
    /// Policy: RTMR 2.
    Rtmr2 = "policy.tdx.registers.rtmr2", "RTMR2";
    /// Policy: RTMR 3.
    Rtmr3 = "policy.tdx.registers.rtmr3", "RTMR3";
    /// Policy: MRSIGNER.
    MrSigner = "policy.sgx.mr_signers", "MRSIGNER";
    /// Policy: ISVPRODID.
    IsvProdId = "policy.sgx.isv_prod_ids", "ISVPRODID";
    /// Policy: ISVSVN.
    IsvSvn = "policy.sgx.minimum_isv_svn", "ISVSVN";
    /// Policy: DEBUG of an enclave.
    EnclaveDebug = "policy.sgx.debug", "debug";
    /// Policy: PROVISIONKEY of an enclave.
    EnclaveProvisionKey = "policy.sgx.provision_key", "provisioning key";

    /// A certificate of a TPM's key, or of a cloud, is well formed.
    ChainFormat = "chain.format", "format of a certificate";
    /// The root's key is in a list of trusted roots.
    ChainRoot = "chain.root", "root key";
    /// There is an issuer for each certificate, up to a root.
    ChainIssuer = "chain.issuer", "issuer";
    /// Certificates are signed by their issuer.
    ChainSignature = "chain.signature", "signature of a certificate";
    /// Issuers may issue.
    ChainRight = "chain.right", "right to issue";
    /// Certificates are valid now.
    ChainTime = "chain.time", "validity";
    /// No certificate is revoked.
    ChainRevocation = "chain.revocation", "revocation";
    /// The document of AWS is well formed.
    NitroFormat = "nitro.document_format", "document format";
    /// The certified key can sign documents.
    NitroKey = "nitro.key", "certified key";
    /// The certified key signed the document.
    NitroSignature = "nitro.signature", "signature of the document";
    /// The document of an enclave says which image runs.
    NitroImage = "nitro.image", "image of the enclave";
    /// The TPM's statement is a well-formed quote.
    TpmStatement = "tpm.statement", "statement of the TPM";
    /// Its signature is well formed.
    TpmSignatureFormat = "tpm.signature_format", "format of the signature";
    /// The PCR values are well formed.
    TpmPcrFormat = "tpm.pcr_format", "format of the PCR values";
    /// The attestation key came along.
    TpmKeyPresent = "tpm.key_present", "attestation key";
    /// The attestation key is well formed.
    TpmKeyFormat = "tpm.key_format", "format of the attestation key";
    /// Public key, public area and certificate are of one key.
    TpmOtherKey = "tpm.other_key", "attestation key";
    /// The public area is that of a restricted signing key.
    TpmKeyAttributes = "tpm.key_attributes", "attributes of the attestation key";
    /// The certificate is that of an attestation key.
    TpmCertificateUse = "tpm.certificate_use", "use of the certificate";
    /// Somebody certifies the key, or the Verifier enrolled it.
    TpmKeyEnrolled = "tpm.key_enrolled", "attestation key";
    /// The attestation key signed the quote.
    TpmSignature = "tpm.signature", "signature of the quote";
    /// The quote selects PCRs.
    TpmSelection = "tpm.selection", "selected PCRs";
    /// The value of each quoted PCR came along.
    TpmPcrPresent = "tpm.pcr_present", "PCR values";
    /// The PCR values are those that were quoted.
    TpmPcrDigest = "tpm.pcr_digest", "digest of the PCRs";
    /// Google's certificate names an instance.
    GcpInstance = "gcp.instance", "instance";

    /// Azure's report is well formed.
    AzureFormat = "azure.report_format", "format of Azure's report";
    /// A TDX quote came along with Azure's report.
    AzureTdxQuote = "azure.tdx_quote", "TDX quote";
    /// Azure's report holds the TEE's report that was authenticated.
    AzureOtherReport = "azure.tee_report", "report of the TEE";
    /// The TEE's report commits to the runtime data.
    AzureBinding = "azure.binding", "digest of the runtime data";
    /// The runtime data is well formed.
    AzureRuntimeData = "azure.runtime_data", "runtime data";
    /// The runtime data names an attestation key.
    AzureAttestationKey = "azure.attestation_key", "attestation key";
    /// The key beside the quote is the one in the runtime data.
    AzureOtherKey = "azure.other_key", "attestation key";
    /// Policy: a quote of the vTPM came along.
    AzureQuote = "policy.azure.quote", "quote of the vTPM";
    /// Policy: what the chip measured, firmware and paravisor.
    AzureParavisor = "policy.azure.paravisors", "measurement of the paravisor";
    /// Policy: secure boot, as the paravisor states it.
    AzureSecureBoot = "policy.azure.secure_boot", "secure boot";
    /// Policy: serial console, as the paravisor states it.
    AzureConsole = "policy.azure.console", "console";
    /// Policy: the VM.
    AzureVm = "policy.azure.vms", "VM";

    /// The device's report is well formed.
    NvidiaReportFormat = "nvidia.report_format", "report of a device";
    /// The first certificate is a device's.
    NvidiaCertificate = "nvidia.device_certificate", "certificate of a device";
    /// The certified key signed request and answer.
    NvidiaSignature = "nvidia.report_signature", "signature of a device";
    /// The key is certified for the firmware that the device reports.
    NvidiaFirmwareId = "nvidia.firmware_id", "firmware of a device's key";
    /// No device answered twice.
    NvidiaDistinct = "nvidia.distinct_devices", "distinct devices";
    /// The manifest is well formed.
    NvidiaManifestFormat = "nvidia.manifest_format", "format of a manifest";
    /// The first certificate in the manifest is a signer's.
    NvidiaManifestSigner = "nvidia.manifest_signer", "signer of a manifest";
    /// The signer signed the manifest as it is.
    NvidiaManifestSignature = "nvidia.manifest_signature", "signature of a manifest";
    /// The device measures what the manifests say.
    NvidiaMeasurements = "nvidia.measurements", "measurements";
    /// Policy: NVIDIA's roots.
    NvidiaRoot = "policy.roots.nvidia", "root";
    /// Policy: devices without evidence of their machine.
    NvidiaAlone = "policy.nvidia.alone", "devices alone";
    /// Policy: number of GPUs.
    NvidiaGpus = "policy.nvidia.minimum_gpus", "GPUs";
    /// Policy: number of switches.
    NvidiaSwitches = "policy.nvidia.minimum_switches", "switches";
    /// Policy: the architecture has rules.
    NvidiaArchitecture = "policy.nvidia.architectures", "architecture";
    /// Policy: the device was asked for this evidence.
    NvidiaNonce = "policy.nvidia.nonce", "nonce";
    /// Policy: with whom a GPU shares its work.
    NvidiaMode = "policy.nvidia.modes", "mode";
    /// Policy: version of the driver.
    NvidiaDriver = "policy.nvidia.minimum_driver", "driver";
    /// Policy: version of the VBIOS.
    NvidiaVbios = "policy.nvidia.minimum_vbios", "VBIOS";
    /// Policy: manifests of driver and VBIOS came along.
    NvidiaManifests = "policy.nvidia.manifests", "manifests";

    /// The event log is well formed and gives signed registers their values.
    EventLog = "events.log", "event log";
    /// The list of the running kernel is well formed and gives PCR 10 its value.
    ImaList = "ima.list", "IMA list";
    /// Policy: registers that the event log explains.
    EventsExplained = "policy.events.explained", "explained registers";
    /// Policy: secure boot, as the event log shows it.
    EventsSecureBoot = "policy.events.secure_boot", "secure boot";
    /// Policy: what was measured into a register.
    EventsDigest = "policy.events.digests", "event in register";
    /// Policy: a list of the running kernel came along.
    ImaPresent = "policy.ima.list", "IMA list";
    /// Policy: the list is of the quoted boot.
    ImaBootAggregate = "policy.ima.boot_aggregate", "boot aggregate";
    /// Policy: no file was changed while it was in use.
    ImaViolations = "policy.ima.violations", "violations";
    /// Policy: the runtime policy allows each entry.
    ImaRuntimePolicy = "policy.ima.runtime_policy", "runtime policy";

    /// Policy: AWS's root.
    AwsRoot = "policy.roots.aws", "root";
    /// Policy: the enclave, or the instance.
    NitroModule = "policy.nitro.modules", "module";
    /// Policy: age of the document.
    NitroAge = "policy.nitro.maximum_age_seconds", "age of the document in seconds";
    /// Policy: enclave or instance.
    NitroKind = "policy.nitro.kinds", "kind of document";
    /// Policy: debug mode of an enclave.
    NitroDebug = "policy.nitro.debug", "debug";
    /// Policy: a PCR of an enclave or an instance.
    NitroPcr = "policy.nitro.pcrs", "PCR";
    /// Policy: roots of attestation keys.
    TpmRoots = "policy.tpm.roots", "root";
    /// Policy: attestation keys that the Verifier enrolled.
    TpmKeys = "policy.tpm.keys", "attestation key";
    /// Policy: the bank is quoted.
    TpmBank = "policy.tpm.bank", "bank";
    /// Policy: the TPM's clock never went back.
    TpmSafeClock = "policy.tpm.safe_clock", "safe clock";
    /// Policy: firmware of the TPM.
    TpmFirmware = "policy.tpm.firmware_versions", "TPM firmware";
    /// Policy: a PCR.
    TpmPcr = "policy.tpm.pcrs", "PCR";
    /// Policy: Google's roots.
    GoogleRoot = "policy.roots.google", "root";
    /// Policy: the project.
    GcpProject = "policy.gcp.projects", "project";
    /// Policy: the zone.
    GcpZone = "policy.gcp.zones", "zone";
    /// Policy: the instance, by its number.
    GcpInstanceNumber = "policy.gcp.instances", "instance";
    /// Policy: Google says that the vTPM is in production.
    GcpProduction = "policy.gcp.production", "production vTPM";

    /// Policy: the vendor's root.
    AmdRoot = "policy.roots.amd", "root";
    /// Policy: the simulated root is listed.
    SimulatedRoot = "policy.simulated_roots", "simulated root";
    /// Caller: simulation is acceptable.
    SimulationAccepted = "caller.accept_simulated", "simulated TEE";
    /// Policy: product is accepted.
    Product = "policy.hardware.products", "product";
    /// Policy: product is not denied.
    DeniedProduct = "policy.hardware.denied_products", "product";
    /// Policy: kind of signing key.
    SigningKey = "policy.hardware.signing_keys", "signing key";
    /// Policy: provider to which a VLEK was issued.
    VlekProvider = "policy.hardware.vlek_providers", "provider";
    /// Policy: chip is accepted.
    Chip = "policy.hardware.chips", "chip";
    /// Policy: chip is not denied.
    DeniedChip = "policy.hardware.denied_chips", "chip";
    /// Policy: report version.
    ReportVersion = "policy.hardware.minimum_report_version", "report version";
    /// Policy: VMPL.
    Vmpl = "policy.hardware.vmpl", "VMPL";
    /// Policy: there is a floor for this product.
    TcbFloor = "policy.minimum_tcb", "minimum TCB";
    /// Policy: FMC.
    TcbFmc = "policy.minimum_tcb.fmc", "fmc";
    /// Policy: boot loader.
    TcbBootloader = "policy.minimum_tcb.bootloader", "bootloader";
    /// Policy: TEE.
    TcbTee = "policy.minimum_tcb.tee", "tee";
    /// Policy: SNP firmware.
    TcbSnp = "policy.minimum_tcb.snp", "snp";
    /// Policy: microcode.
    TcbMicrocode = "policy.minimum_tcb.microcode", "microcode";
    /// Policy: mitigations in force.
    Mitigations = "policy.minimum_tcb.mitigations", "mitigations";
    /// Policy: DEBUG.
    GuestDebug = "policy.guest_policy.debug", "debug";
    /// Policy: MIGRATE_MA.
    GuestMigrateMa = "policy.guest_policy.migrate_ma", "migration agent";
    /// Policy: SMT.
    GuestSmt = "policy.guest_policy.smt", "SMT allowed";
    /// Policy: SINGLE_SOCKET.
    GuestSingleSocket = "policy.guest_policy.single_socket", "single socket";
    /// Policy: CXL_ALLOW.
    GuestCxl = "policy.guest_policy.cxl", "CXL allowed";
    /// Policy: MEM_AES_256_XTS.
    GuestAes256Xts = "policy.guest_policy.aes_256_xts", "AES-256-XTS";
    /// Policy: RAPL_DIS.
    GuestRaplDisabled = "policy.guest_policy.rapl_disabled", "RAPL must be off";
    /// Policy: CIPHERTEXT_HIDING_DRAM.
    GuestCiphertextHiding = "policy.guest_policy.ciphertext_hiding", "ciphertext hiding demanded";
    /// Policy: PAGE_SWAP_DISABLE.
    GuestPageSwapDisabled = "policy.guest_policy.page_swap_disabled", "page swap disabled";
    /// Policy: key that signed the ID block.
    IdKey = "policy.id_block.id_keys", "ID key";
    /// Policy: key that signed the ID key.
    AuthorKey = "policy.id_block.author_keys", "author key";
    /// Policy: FAMILY_ID.
    FamilyId = "policy.id_block.family_ids", "family id";
    /// Policy: IMAGE_ID.
    ImageId = "policy.id_block.image_ids", "image id";
    /// Policy: GUEST_SVN.
    GuestSvn = "policy.id_block.minimum_guest_svn", "guest SVN";
    /// Policy: SMT_EN.
    PlatformSmt = "policy.platform.smt", "SMT";
    /// Policy: TSME_EN.
    PlatformTsme = "policy.platform.tsme", "TSME";
    /// Policy: ECC_EN.
    PlatformEcc = "policy.platform.ecc", "ECC memory";
    /// Policy: RAPL_DIS.
    PlatformRaplDisabled = "policy.platform.rapl_disabled", "RAPL off";
    /// Policy: CIPHERTEXT_HIDING_DRAM_EN.
    PlatformCiphertextHiding = "policy.platform.ciphertext_hiding", "ciphertext hiding";
    /// Policy: ALIAS_CHECK_COMPLETE.
    PlatformAliasCheck = "policy.platform.alias_check", "memory alias check";
    /// Policy: IOMMU_WRITE_SAFE.
    PlatformIommuWriteSafe = "policy.platform.iommu_write_safe", "IOMMU write safety";
    /// Policy: TIO_EN.
    PlatformTrustedIo = "policy.platform.trusted_io", "trusted I/O";
    /// Policy: there is a revocation list.
    RevocationListPresent = "policy.collateral.revocation_list", "revocation list";
    /// Policy: age of the oldest dated part of the collateral.
    CollateralAge = "policy.collateral.maximum_age_days", "age of the collateral in days";
    /// Policy: launch measurement.
    Measurement = "policy.image.measurements", "measurement";
    /// Caller: the workload slot holds the expected workload.
    ExpectedWorkload = "caller.workload", "workload slot";
    /// Policy: workload digest or app.
    AcceptedWorkload = "policy.workload", "workload";
    /// Policy: MRCONFIGID, where it names the workload.
    WorkloadConfigId = "policy.workload.registers.mr_config_id", "workload in MRCONFIGID";
    /// Policy: RTMR 3, where it names the workload.
    WorkloadRtmr3 = "policy.workload.registers.rtmr3", "workload in RTMR3";
    /// Policy: launch measurement, where it names the workload.
    WorkloadMeasurement = "policy.workload.registers.measurement", "workload in the launch measurement";
    /// The manifest in the bundle is the one in the workload slot.
    Manifest = "bundle.manifest", "digest of the manifest";
    /// Report data is what the challenge asks for.
    ReportData = "policy.freshness.report_data", "report data";
    /// The challenge is recent.
    ChallengeAge = "policy.freshness.maximum_age_seconds", "age of the challenge in ms";
    /// Report data commits to the session's key.
    SessionKey = "caller.session_key", "session key";
    /// Caller: the session's roster is the newest one known of the app's key service.
    SessionRoster = "caller.session_roster", "roster of the session";
    /// Caller: the session's key epoch is that roster's.
    SessionKeyEpoch = "caller.session_key_epoch", "key epoch of the session";
    /// A quorum of that roster's seats signed a lease for this boot.
    SessionLease = "caller.session_lease", "lease of the session";
    /// The lease has begun, by the caller's clock.
    SessionLeaseBegin = "caller.session_lease_begin", "seconds until the lease begins";
    /// The lease has not ended, by the caller's clock.
    SessionLeaseEnd = "caller.session_lease_end", "seconds since the lease ended";
}

impl Code {
    /// Whether it is a group of checks.
    pub const fn is_group(self) -> bool {
        matches!(
            self,
            Code::Hardware
                | Code::Signer
                | Code::Firmware
                | Code::Guest
                | Code::Platform
                | Code::Tpm
                | Code::Paravisor
                | Code::Devices
                | Code::Device
                | Code::Image
                | Code::Events
                | Code::Ima
                | Code::Workload
                | Code::Freshness
                | Code::Channel
        )
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
