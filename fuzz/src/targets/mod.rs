//! Which parsers are there, and what must hold of each?

mod clouds;
mod firmware;
mod intel;
mod logs;
mod messages;
mod nvidia;
mod snp;
mod tpm;
mod volume;
mod whole;
mod workload;
mod x509;

use crate::Target;

/// Every target.
pub const TARGETS: &[Target] = &[
    snp::REPORT,
    x509::CERTIFICATE,
    x509::REVOCATION_LIST,
    x509::PATH,
    intel::QUOTE,
    intel::COLLATERAL,
    intel::AUTHENTICATE,
    tpm::ATTEST,
    tpm::PUBLIC,
    tpm::PCR_FILE,
    tpm::QUOTE,
    logs::EVENT_LOG,
    logs::CCEL,
    logs::IMA_ASCII,
    logs::IMA_BINARY,
    logs::IMA_POLICY,
    clouds::AZURE,
    clouds::NITRO,
    nvidia::REPORT,
    nvidia::MANIFEST,
    whole::BUNDLE,
    whole::INTAKE,
    whole::CALL,
    whole::POLICY,
    workload::MANIFEST,
    workload::COMPOSE,
    workload::LAYER,
    workload::IMAGE_DESCRIPTION,
    messages::RECORDS,
    messages::RELEASE,
    messages::RELAY,
    messages::LAUNCH_DISK,
    volume::HEADER,
    volume::STATE,
    firmware::OVMF,
    firmware::TDVF,
    firmware::PE,
    firmware::KERNEL,
    firmware::ID_AUTH,
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
