//! What would Intel say of this platform?
//!
//! That it is up to date, in documents and lists signed anew for each who asks, so that they never expire
//! while a VM runs. They travel to the guest as a simulated chip's certificates do
//! (`docs/decisions/0005-simulated-certificates-travel.md`).

use std::time::{Duration, SystemTime};

use casemate_evidence::Measurement;
use casemate_evidence::bundle::IntelCollateral;
use casemate_evidence::intel::{
    CollateralBuilder, Fmspc, LevelBuilder, ModuleBuilder, TcbStatus, TdxModule, Tee,
};

use super::platform::{
    FMSPC, Holder, PCE_ID, Platform, QE_PRODUCT, QE_SVN, TCB, TEE_TCB_SVN, authority_name, quoting_enclave,
    root_name,
};
use crate::certificate::sign_revocation_list;
use crate::error::Error;

/// Everything that a Verifier needs of Intel, as a bundle carries it.
pub(super) fn collateral(platform: &Platform) -> Result<IntelCollateral, Error> {
    let documents = documents();
    let (tcb_info, qe_identity) = (documents.tcb_info(), documents.qe_identity());
    let signer = platform.certificate(Holder::TcbSigning)?;
    let root_name = root_name(&platform.root_key_digest()?);
    Ok(IntelCollateral {
        tcb_info_signature: platform.tcb_signing.sign(&tcb_info),
        tcb_info: tcb_info.into(),
        tcb_info_signer: signer.clone().into(),
        qe_identity_signature: platform.tcb_signing.sign(&qe_identity),
        qe_identity: qe_identity.into(),
        qe_identity_signer: signer.into(),
        root: platform.certificate(Holder::Root)?.into(),
        root_revocation_list: sign_revocation_list(&root_name, DAYS, &platform.root)?.into(),
        pck_revocation_list: sign_revocation_list(&authority_name(), DAYS, &platform.authority)?.into(),
        pck_chain: Vec::new(), // the quote carries it
    })
}

fn documents() -> CollateralBuilder {
    // From yesterday on, for clocks that disagree.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let issued = now.saturating_sub(DAY);
    let enclave = quoting_enclave();
    let module = TdxModule {
        mr_signer: Measurement::from([0; 48]), // as Intel's modules have it
        attributes: [0; 8],
        attributes_mask: [0xFF; 8],
    };
    let [module_svn, module_version, microcode, ..] = *TEE_TCB_SVN.as_bytes();
    let level = |components: u8, pce_svn, tdx_microcode, status| LevelBuilder {
        sgx_components: [components; 16],
        pce_svn,
        // From major version 1 of the module on, its own identity judges the first two.
        tdx_components: Some([0, 0, tdx_microcode, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        status,
        advisories: Vec::new(),
    };
    CollateralBuilder {
        tee: Tee::Tdx,
        issued_ms: issued.as_millis() as u64,
        next_update_ms: (issued + DAY * DAYS).as_millis() as u64,
        fmspc: Fmspc::from(FMSPC),
        pce_id: PCE_ID,
        evaluation_number: EVALUATION_NUMBER,
        module: Some(module.clone()),
        module_identities: vec![ModuleBuilder {
            version: module_version,
            module,
            levels: vec![
                (u16::from(module_svn), TcbStatus::UpToDate, Vec::new()),
                (0, TcbStatus::OutOfDate, Vec::new()),
            ],
        }],
        levels: vec![
            level(TCB.components[0], TCB.pce_svn, microcode, TcbStatus::UpToDate),
            level(0, 0, 0, TcbStatus::OutOfDate),
        ],
        qe_mr_signer: enclave.mr_signer,
        qe_isv_prod_id: QE_PRODUCT,
        qe_attributes: [enclave.attributes.to_bytes(), [0xFF; 16]],
        qe_misc_select: [enclave.misc_select, [0xFF; 4]],
        qe_levels: vec![(QE_SVN, TcbStatus::UpToDate, Vec::new()), (0, TcbStatus::OutOfDate, Vec::new())],
    }
}

/// Intel's own documents are due again after 30 days.
const DAYS: u32 = 30;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Above what `casemate policy init` asks for.
const EVALUATION_NUMBER: u32 = 20;
