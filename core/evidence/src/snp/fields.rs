//! How does a report read, field by field?
//!
//! Every field of a report as serde data, for programs and for `casemate inspect`. Bytes and bit fields
//! are hexadecimal texts. Nothing of it is verified.

use serde::{Serialize, Serializer};

use super::bits::{GuestPolicy, KeyInfo, PlatformInfo, SigningKeyKind};
use super::product::{CpuId, Product, Silicon};
use super::report::{Report, Vmpl};
use super::tcb::{Tcb, TcbVersion};
use crate::{ChipId, HostData, Measurement, ReportData};

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let product = self.cpuid().and_then(CpuId::product);
        let tcb = |version: TcbVersion| TcbFields {
            bytes: version,
            parts: product.and_then(|product| version.components(product).ok()),
        };
        Fields {
            version: self.version().number(),
            guest_svn: self.guest_svn(),
            policy: hexadecimal(self.policy().bits()),
            policy_bits: self.policy().into(),
            family_id: digits(&self.family_id()),
            image_id: digits(&self.image_id()),
            vmpl: self.vmpl(),
            signature_algorithm: self.signature_algorithm(),
            current_tcb: tcb(self.current_tcb()),
            platform_info: hexadecimal(self.platform_info().bits()),
            platform_info_bits: self.platform_info().into(),
            key_info: hexadecimal(self.key_info().bits().into()),
            key_info_bits: self.key_info().into(),
            report_data: self.report_data(),
            measurement: self.measurement(),
            host_data: self.host_data(),
            id_key_digest: digits(&self.id_key_digest()),
            author_key_digest: digits(&self.author_key_digest()),
            report_id: digits(&self.report_id()),
            report_id_ma: digits(&self.report_id_ma()),
            reported_tcb: tcb(self.reported_tcb()),
            cpuid: self.cpuid(),
            product,
            silicon: self.cpuid().and_then(CpuId::silicon),
            chip_id: self.chip_id(),
            committed_tcb: tcb(self.committed_tcb()),
            current_version: self.current_version().to_string(),
            committed_version: self.committed_version().to_string(),
            launch_tcb: tcb(self.launch_tcb()),
            launch_mitigations: self.launch_mitigations().map(hexadecimal),
            current_mitigations: self.current_mitigations().map(hexadecimal),
        }
        .serialize(serializer)
    }
}

/// In the order of the structure; meanings are those of [`Report`]'s methods.
#[derive(Serialize)]
struct Fields {
    version: u32,
    guest_svn: u32,
    policy: String,
    policy_bits: PolicyBits,
    family_id: String,
    image_id: String,
    vmpl: Vmpl,
    signature_algorithm: u32,
    current_tcb: TcbFields,
    platform_info: String,
    platform_info_bits: PlatformBits,
    key_info: String,
    key_info_bits: KeyBits,
    report_data: ReportData,
    measurement: Measurement,
    host_data: HostData,
    id_key_digest: String,
    author_key_digest: String,
    report_id: String,
    report_id_ma: String,
    reported_tcb: TcbFields,
    /// Null before version 3.
    cpuid: Option<CpuId>,
    /// Null if the report does not name its processor, or names an unknown one.
    product: Option<Product>,
    silicon: Option<Silicon>,
    chip_id: ChipId,
    committed_tcb: TcbFields,
    current_version: String,
    committed_version: String,
    launch_tcb: TcbFields,
    /// Null before version 5.
    launch_mitigations: Option<String>,
    current_mitigations: Option<String>,
}

/// The bytes, and the parts where the product is known and the layout kept.
#[derive(Serialize)]
struct TcbFields {
    bytes: TcbVersion,
    #[serde(flatten)]
    parts: Option<Tcb>,
}

#[derive(Serialize)]
struct PolicyBits {
    abi_minor: u8,
    abi_major: u8,
    smt: bool,
    migrate_ma: bool,
    debug: bool,
    single_socket: bool,
    cxl_allow: bool,
    mem_aes_256_xts: bool,
    rapl_dis: bool,
    ciphertext_hiding: bool,
    page_swap_disable: bool,
}

#[derive(Serialize)]
struct PlatformBits {
    smt: bool,
    tsme: bool,
    ecc: bool,
    rapl_disabled: bool,
    ciphertext_hiding: bool,
    alias_check_complete: bool,
    iommu_write_safe: bool,
    tio: bool,
}

#[derive(Serialize)]
struct KeyBits {
    author_key_enabled: bool,
    mask_chip_key: bool,
    signing_key: SigningKeyKind,
}

impl From<GuestPolicy> for PolicyBits {
    fn from(policy: GuestPolicy) -> Self {
        Self {
            abi_minor: policy.abi_minor(),
            abi_major: policy.abi_major(),
            smt: policy.smt(),
            migrate_ma: policy.migrate_ma(),
            debug: policy.debug(),
            single_socket: policy.single_socket(),
            cxl_allow: policy.cxl_allow(),
            mem_aes_256_xts: policy.mem_aes_256_xts(),
            rapl_dis: policy.rapl_dis(),
            ciphertext_hiding: policy.ciphertext_hiding(),
            page_swap_disable: policy.page_swap_disable(),
        }
    }
}

impl From<PlatformInfo> for PlatformBits {
    fn from(info: PlatformInfo) -> Self {
        Self {
            smt: info.smt_enabled(),
            tsme: info.tsme_enabled(),
            ecc: info.ecc_enabled(),
            rapl_disabled: info.rapl_disabled(),
            ciphertext_hiding: info.ciphertext_hiding_enabled(),
            alias_check_complete: info.alias_check_complete(),
            iommu_write_safe: info.iommu_write_safe(),
            tio: info.tio_enabled(),
        }
    }
}

impl From<KeyInfo> for KeyBits {
    fn from(info: KeyInfo) -> Self {
        Self {
            author_key_enabled: info.author_key_enabled(),
            mask_chip_key: info.mask_chip_key(),
            signing_key: info.signing_key(),
        }
    }
}

fn hexadecimal(bits: u64) -> String {
    format!("{bits:#x}")
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
