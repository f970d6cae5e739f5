//! What does a TPM say?

use casemate_evidence::tpm::{
    Attest, Attested, PcrSelection, PcrValues, Public, Scheme, Signature, UniqueKey,
};
use casemate_evidence::x509;
use serde_json::{Value, json};

use super::Fault;

/// What it stated: TPMS_ATTEST.
pub(super) fn statement(bytes: &[u8]) -> Result<Value, Fault> {
    let attest = Attest::parse(bytes)?;
    let bank = |part: &PcrSelection| json!({ "bank": part.bank.name(), "indices": part.indices().collect::<Vec<_>>() });
    let about = match &attest.attested {
        Attested::Quote { selection, digest } => json!({
            "pcrs": selection.iter().map(bank).collect::<Vec<_>>(),
            "pcr_digest": hex::encode(digest),
        }),
        Attested::Certify { name, qualified_name } => {
            json!({ "name": name.to_string(), "qualified_name": qualified_name.to_string() })
        }
        _ => Value::Null,
    };
    Ok(json!({
        "statement": attest.attest_type(),
        "qualified_signer": attest.qualified_signer.to_string(),
        "extra_data": hex::encode(&attest.extra_data),
        "clock": attest.clock,
        "firmware_version": format!("{:016x}", attest.firmware_version),
        "about": about,
    }))
}

/// TPMT_SIGNATURE, or that of an RSA key by itself.
pub(super) fn signature(bytes: &[u8]) -> Result<Value, Fault> {
    let signature = Signature::parse_structured_or_raw(bytes)?;
    let (scheme, value) = (scheme_name(signature.scheme), hex::encode(signature.value()));
    Ok(json!({ "scheme": scheme, "value": value, "bytes": bytes.len() }))
}

/// Values of PCRs.
pub(super) fn pcrs(pcrs: &PcrValues) -> Value {
    let values = pcrs.iter().map(
        |(bank, index, value)| json!({ "bank": bank.name(), "index": index, "value": value.to_string() }),
    );
    json!({ "values": values.collect::<Vec<_>>() })
}

/// The public area of a key: TPMT_PUBLIC.
pub(super) fn public_area(bytes: &[u8]) -> Result<Value, Fault> {
    let public = Public::parse(bytes)?;
    let key = match &public.key {
        UniqueKey::Rsa { modulus, exponent } => {
            json!({ "type": "rsa", "bits": 8 * modulus.len(), "exponent": exponent })
        }
        UniqueKey::Ecc { curve, point } => {
            json!({ "type": "ecc", "bits": 8 * curve.field_len(), "point": hex::encode(point) })
        }
        _ => Value::Null,
    };
    let attributes = public.attributes;
    Ok(json!({
        "name": public.name().to_string(),
        "name_algorithm": public.name_algorithm.name(),
        "attributes": {
            "bits": format!("{:#010x}", attributes.bits()),
            "fixed_tpm": attributes.fixed_tpm(),
            "fixed_parent": attributes.fixed_parent(),
            "sensitive_data_origin": attributes.sensitive_data_origin(),
            "restricted": attributes.restricted(),
            "decrypt": attributes.decrypt(),
            "sign": attributes.sign(),
        },
        "auth_policy": hex::encode(&public.auth_policy),
        "scheme": public.scheme.map(scheme_name),
        "key": key,
        "key_sha256": public.public_key().map(|key| key.digest()),
    }))
}

/// A DER `SubjectPublicKeyInfo`.
pub(super) fn public_key(der: &[u8]) -> Result<Value, Fault> {
    Ok(json!({ "key_sha256": x509::PublicKey::parse_spki(der)?.digest(), "bytes": der.len() }))
}

pub(super) fn scheme_name(scheme: Scheme) -> String {
    match scheme {
        Scheme::RsaSsa(hash) => format!("rsassa-{hash}"),
        Scheme::RsaPss(hash) => format!("rsapss-{hash}"),
        Scheme::Ecdsa(hash) => format!("ecdsa-{hash}"),
        _ => "unknown".to_owned(),
    }
}
