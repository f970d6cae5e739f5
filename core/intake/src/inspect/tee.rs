//! What do an SEV-SNP report and a quote of Intel say?

use casemate_evidence::intel::{Body, ENCLAVE_QUOTE_KEY_TYPE, Pck, Quote};
use casemate_evidence::snp::{Leaf, Product, Report, TcbVersion};
use casemate_evidence::x509::Certificate;
use casemate_evidence::{sgx, tdx};
use serde_json::{Value, json};

use super::Fault;
use super::certificate::Pool;

pub(super) fn snp_report(bytes: &[u8], pool: &Pool<'_>) -> Result<Value, Fault> {
    let report = Report::parse(bytes)?;
    let mut fields = json!(report);
    // Version 2 does not name its processor; the certificate of its key does.
    if report.cpuid().is_none()
        && let Some(leaf) = leaf(pool)
    {
        let product = leaf.product();
        fields["product"] = json!(product);
        for (name, version) in tcb_versions(&report) {
            add_parts(&mut fields[name], version, product);
        }
    }
    Ok(json!({ "report": fields }))
}

/// The certificate of a report's key, if there is one.
pub(super) fn leaf(pool: &Pool<'_>) -> Option<Leaf> {
    let mut leaves = pool.certificates().iter().filter_map(|one| Leaf::read(one).ok());
    let first = leaves.next()?;
    leaves.next().is_none().then_some(first)
}

fn tcb_versions(report: &Report) -> [(&'static str, TcbVersion); 4] {
    [
        ("current_tcb", report.current_tcb()),
        ("reported_tcb", report.reported_tcb()),
        ("committed_tcb", report.committed_tcb()),
        ("launch_tcb", report.launch_tcb()),
    ]
}

fn add_parts(fields: &mut Value, version: TcbVersion, product: Product) {
    if let (Some(fields), Ok(Value::Object(parts))) =
        (fields.as_object_mut(), version.components(product).map(|parts| json!(parts)))
    {
        fields.extend(parts);
    }
}

pub(super) fn quote(bytes: &[u8], pool: &Pool<'_>) -> Result<Value, Fault> {
    let quote = Quote::parse(bytes)?;
    let signature = quote.signature();
    let chain = signature.certification.certificates().unwrap_or_default();
    let fmspc = pck(&chain, pool).map(|pck| pck.fmspc());
    Ok(json!({
        "version": quote.version().number(),
        "attestation_key_type": ENCLAVE_QUOTE_KEY_TYPE,
        "tee_type": format!("{:#x}", quote.tee_type()),
        "qe_svn": quote.qe_svn(),
        "pce_svn": quote.pce_svn(),
        "qe_vendor_id": hex::encode(quote.qe_vendor_id()),
        "user_data": hex::encode(quote.user_data()),
        "body_type": quote.body_type(),
        "report": match quote.body() {
            Body::Tdx(report) => trust_domain(report),
            Body::Sgx(report) => enclave(report),
        },
        "signature_data_len": quote.signature_data_len(),
        "padding_len": quote.padding_len(),
        "qe_report": enclave(&signature.qe_report),
        "certification_data_type": signature.certification.kind(),
        "fmspc": fmspc,
        "pck_chain": pool.describe_all(&chain),
    }))
}

/// The certificates that a quote carries.
pub(super) fn pck_chain(quote: &[u8]) -> Vec<Certificate> {
    let chain =
        Quote::parse(quote).ok().and_then(|quote| quote.signature().certification.certificates().ok());
    chain.unwrap_or_default()
}

/// The platform's key: from the quote's chain, else from what came beside it.
pub(super) fn pck(chain: &[Certificate], pool: &Pool<'_>) -> Option<Pck> {
    chain.iter().chain(pool.certificates()).find_map(|one| Pck::read(one).ok())
}

fn trust_domain(report: &tdx::Report) -> Value {
    let attributes = report.td_attributes();
    json!({
        "tee_tcb_svn": report.tee_tcb_svn(),
        "mr_seam": report.mr_seam(),
        "mr_signer_seam": report.mr_signer_seam(),
        "seam_attributes": hex::encode(report.seam_attributes()),
        "td_attributes": attributes,
        "td_attributes_bits": {
            "debug": attributes.debug(),
            "sept_ve_disable": attributes.sept_ve_disable(),
            "migratable": attributes.migratable(),
            "pks": attributes.pks(),
            "key_locker": attributes.key_locker(),
            "perfmon": attributes.perfmon(),
        },
        "xfam": report.xfam(),
        "mr_td": report.mr_td(),
        "mr_config_id": hex::encode(report.mr_config_id()),
        "mr_owner": hex::encode(report.mr_owner()),
        "mr_owner_config": hex::encode(report.mr_owner_config()),
        "rtmr": (0..4).map(|index| report.rtmr(index)).collect::<Vec<_>>(),
        "report_data": report.report_data(),
        "service_td": report.service_td(),
    })
}

fn enclave(report: &sgx::Report) -> Value {
    json!({
        "cpu_svn": hex::encode(report.cpu_svn()),
        "misc_select": hex::encode(report.misc_select()),
        "attributes": hex::encode(report.attributes().to_bytes()),
        "flags": report.attributes().flags,
        "xfrm": report.attributes().xfrm,
        "debug": report.attributes().debug(),
        "mr_enclave": report.mr_enclave(),
        "mr_signer": report.mr_signer(),
        "config_id": hex::encode(report.config_id()),
        "config_svn": report.config_svn(),
        "isv_prod_id": report.isv_prod_id(),
        "isv_svn": report.isv_svn(),
        "isv_family_id": hex::encode(report.isv_family_id()),
        "isv_ext_prod_id": hex::encode(report.isv_ext_prod_id()),
        "report_data": report.report_data(),
    })
}
