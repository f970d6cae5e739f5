//! What does an NVIDIA device say, and what does NVIDIA say that it should?

use casemate_evidence::nvidia::{Manifest, Opaque, Reference, Report};
use casemate_evidence::x509::Certificate;
use serde_json::{Map, Value, json};

use super::Fault;
use super::certificate::Pool;

/// What it was asked, and what it answered: a transcript of SPDM (`docs/reference/nvidia.md`).
pub(super) fn report(bytes: &[u8]) -> Result<Value, Fault> {
    let report = Report::parse(bytes)?;
    let opaque = report.opaque();
    let measurement = |(index, value): &(u8, _)| json!({ "index": index, "value": value });
    Ok(json!({
        "nonce": hex::encode(report.nonce()),
        "slot": report.slot(),
        "device_nonce": hex::encode(report.device_nonce()),
        "driver_version": opaque.driver_version(),
        "vbios_version": opaque.vbios_version(),
        "board": opaque.board(),
        "chip": opaque.chip(),
        "firmware_id": opaque.firmware_id().map(hex::encode),
        "mode": opaque.mode(),
        "video_decoder_off": opaque.is_nvdec0_off(),
        "measurements": report.measurements().iter().map(measurement).collect::<Vec<_>>(),
        "opaque": opaque_fields(opaque),
        "signature": hex::encode(report.signature()),
    }))
}

/// The vendor's data by their kind: hexadecimal, and as text where it is one.
fn opaque_fields(opaque: &Opaque) -> Map<String, Value> {
    let text = |value: &[u8]| {
        let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
        text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ').then(|| text.to_owned())
    };
    let field = |(kind, value): (u16, &[u8])| {
        (kind.to_string(), json!({ "bytes": hex::encode(value), "text": text(value) }))
    };
    opaque.fields().map(field).collect()
}

/// NVIDIA's golden measurements of a driver or a VBIOS.
pub(super) fn manifest(bytes: &[u8], pool: &Pool<'_>) -> Result<Value, Fault> {
    let manifest = Manifest::parse(bytes)?;
    let reference =
        |one: &Reference| json!({ "index": one.index, "active": one.active, "values": one.values });
    let signature = manifest.signature();
    Ok(json!({
        "tag_id": manifest.tag_id(),
        "product": manifest.product(),
        "version": manifest.version(),
        "measurements": manifest.references().iter().map(reference).collect::<Vec<_>>(),
        "digest": hex::encode(signature.digest),
        "signature": hex::encode(signature.value),
        "certificates": pool.describe_all(&signature.certificates),
    }))
}

/// The certificates in a manifest's signature, if it can be read.
pub(super) fn manifest_certificates(bytes: &[u8]) -> Vec<Certificate> {
    Manifest::parse(bytes).map_or_else(|_| Vec::new(), |manifest| manifest.signature().certificates.clone())
}
