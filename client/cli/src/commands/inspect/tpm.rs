//! What does a TPM say?

use casemate_crypto::hash::sha256;
use casemate_evidence::bundle::{TpmKey, TpmQuote};
use casemate_evidence::tpm::{
    Attest, Attested, PcrFileError, PcrValues, Public, Scheme, Signature, TpmError, UniqueKey,
};
use serde_json::{Value, json};

/// What it stated: TPMS_ATTEST.
pub fn statement(bytes: &[u8]) -> Result<Value, TpmError> {
    let attest = Attest::parse(bytes)?;
    let about = match &attest.attested {
        Attested::Quote { selection, digest } => json!({
            "pcrs": selection.iter().map(|bank| json!({
                "bank": bank.bank.name(),
                "indices": bank.indices().collect::<Vec<u8>>(),
            })).collect::<Vec<_>>(),
            "pcr_digest": hex::encode(digest),
        }),
        Attested::Certify { name, qualified_name } => {
            json!({ "name": name.to_string(), "qualified_name": qualified_name.to_string() })
        }
        _ => Value::Null,
    };
    Ok(json!({
        "kind": "tpm-quote",
        "statement": attest.attest_type(),
        "qualified_signer": attest.qualified_signer.to_string(),
        "extra_data": hex::encode(&attest.extra_data),
        "clock": attest.clock,
        "firmware_version": format!("{:016x}", attest.firmware_version),
        "about": about,
    }))
}

/// Its signature: TPMT_SIGNATURE, or that of an RSA key by itself.
pub fn signature(bytes: &[u8]) -> Value {
    let scheme = Signature::parse(bytes).ok().map(|parsed| scheme(parsed.scheme));
    json!({ "kind": "tpm-signature", "scheme": scheme, "bytes": bytes.len() })
}

/// Values of PCRs.
pub fn pcrs(values: &PcrValues) -> Value {
    let values: Vec<Value> = values
        .iter()
        .map(
            |(bank, index, value)| json!({ "bank": bank.name(), "index": index, "value": value.to_string() }),
        )
        .collect();
    json!({ "kind": "tpm-pcrs", "values": values })
}

/// The public area of a key: TPMT_PUBLIC.
pub fn public_area(bytes: &[u8]) -> Result<Value, TpmError> {
    let public = Public::parse(bytes)?;
    let key = match &public.key {
        UniqueKey::Rsa { modulus, exponent } => {
            json!({ "type": "rsa", "bits": 8 * modulus.len(), "exponent": exponent })
        }
        UniqueKey::Ecc { curve, point } => {
            json!({ "type": "ecc", "curve": format!("{curve:?}"), "point": hex::encode(point) })
        }
        _ => Value::Null,
    };
    Ok(json!({
        "kind": "tpm-public-area",
        "name": public.name().to_string(),
        "attributes": format!("{:?}", public.attributes),
        "auth_policy": hex::encode(&public.auth_policy),
        "scheme": public.scheme.map(scheme),
        "key": key,
        "key_sha256": public.public_key().map(|key| key.digest()),
    }))
}

/// A DER `SubjectPublicKeyInfo`.
pub fn public_key(der: &[u8]) -> Value {
    json!({ "kind": "public-key", "key_sha256": sha256(der), "bytes": der.len() })
}

/// A quote in a bundle.
pub fn quote(quote: &TpmQuote) -> Result<Value, PcrFileError> {
    Ok(json!({
        "kind": "tpm-quote",
        "quote": statement(&quote.statement).unwrap_or(Value::Null),
        "signature": signature(&quote.signature),
        "pcrs": pcrs(&PcrValues::read_items(&quote.pcrs)?),
    }))
}

/// The key of a quote in a bundle, in as many ways as are there.
pub fn key(key: &TpmKey) -> Result<Value, TpmError> {
    let area = (!key.public_area.is_empty()).then(|| public_area(&key.public_area)).transpose()?;
    let bare = (!key.public_key.is_empty()).then(|| public_key(&key.public_key));
    let certificates: Vec<Value> = key
        .certificates
        .iter()
        .map(|der| {
            casemate_evidence::x509::Certificate::parse(der)
                .map_or(Value::Null, |one| super::certificate(&one))
        })
        .collect();
    Ok(json!({ "kind": "tpm-key", "public_area": area, "public_key": bare, "certificates": certificates }))
}

fn scheme(scheme: Scheme) -> String {
    match scheme {
        Scheme::RsaSsa(hash) => format!("rsassa with {hash}"),
        Scheme::RsaPss(hash) => format!("rsapss with {hash}"),
        Scheme::Ecdsa(hash) => format!("ecdsa with {hash}"),
        _ => "unknown".to_owned(),
    }
}
