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
    // All of DMTF's specification: others are refused.
    let measurement =
        |(index, value): &(u8, _)| json!({ "index": index, "specification": 1, "value": value });
    let (request, response) = report.as_bytes().split_at(Report::REQUEST_LEN);
    let header = |message: &[u8]| [message[0], message[1]].map(|byte| format!("{byte:#04x}"));
    let ([request_version, request_code], [response_version, response_code]) =
        (header(request), header(response));
    Ok(json!({
        "request": {
            "version": request_version,
            "code": request_code,
            "param1": request[2],
            "param2": request[3],
            "nonce": hex::encode(report.nonce()),
            "slot": report.slot(),
        },
        "response": {
            "version": response_version,
            "code": response_code,
            "record_length": u32::from_le_bytes([response[5], response[6], response[7], 0]),
            "nonce": hex::encode(report.device_nonce()),
        },
        "driver_version": opaque.driver_version(),
        "vbios_version": opaque.vbios_version(),
        "board": opaque.board(),
        "chip": opaque.chip(),
        "firmware_id": opaque.firmware_id().map(hex::encode),
        "mode": opaque.mode(),
        "video_decoder_off": opaque.is_nvdec0_off(),
        "measurements": report.measurements().iter().map(measurement).collect::<Vec<_>>(),
        "opaque_len": opaque.fields().map(|(_, value)| 4 + value.len()).sum::<usize>(),
        "opaque": opaque_fields(opaque),
        "signature_len": bytes.len() - report.signed_bytes().len(),
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
    let mut described = json!({
        "tag_id": manifest.tag_id(),
        "product": manifest.product(),
        "version": manifest.version(),
        "measurements": manifest.references().iter().map(reference).collect::<Vec<_>>(),
        "digest": hex::encode(signature.digest),
        "signature": hex::encode(signature.value),
    });
    pool.describe_file(&signature.certificates, &mut described);
    Ok(described)
}

/// The certificates in a manifest's signature, if it can be read.
pub(super) fn manifest_certificates(bytes: &[u8]) -> Vec<Certificate> {
    Manifest::parse(bytes).map_or_else(|_| Vec::new(), |manifest| manifest.signature().certificates.clone())
}
