//! What TPMs sign, and which keys they have.

use casemate_evidence::tpm::{Attest, PcrValues, Public, Scheme, Signature, read_pcr_file};
use casemate_verify::tpm::{AttestationKey, authenticate_certify, authenticate_quote, check_clock};

use crate::parts::{join, split};
use crate::vectors::file;
use crate::{Gullible, Target, Vectors};

pub const ATTEST: Target = Target {
    name: "tpm-attest",
    maximum_len: 1100,
    check: attest,
    seeds: |vectors: &Vectors| vectors.files("tpm-quote", &["quote.msg", "quote.sig"]),
};
pub const PUBLIC: Target = Target {
    name: "tpm-public",
    maximum_len: 1100,
    check: public,
    seeds: |vectors: &Vectors| vectors.files("tpm-quote", &["tpmt_public.bin"]),
};
pub const PCR_FILE: Target = Target {
    name: "tpm-pcr-file",
    maximum_len: 16 << 10,
    check: |bytes| drop(read_pcr_file(bytes)),
    seeds: |vectors: &Vectors| vectors.files("tpm-quote", &["quotepcr.out", "pcrs.blob"]),
};
pub const QUOTE: Target = Target { name: "tpm-quote", maximum_len: 8 << 10, check: quote, seeds: quotes };

fn attest(bytes: &[u8]) {
    for attest in [Attest::parse(bytes), Attest::parse_sized(bytes)].into_iter().flatten() {
        assert!(bytes.ends_with(attest.as_bytes()));
        let _ = (attest.attest_type(), check_clock(&attest.clock, &attest.clock));
    }
    if let Ok(signature) = Signature::parse(bytes) {
        assert!(Signature::looks_structured(bytes));
        assert!(signature.value().len() <= 512);
    }
}

fn public(bytes: &[u8]) {
    for public in [Public::parse(bytes), Public::parse_sized(bytes)].into_iter().flatten() {
        assert!(bytes.ends_with(public.as_bytes()));
        let _ = (public.name().to_bytes(), public.public_key(), AttestationKey::enrolled(&public));
    }
}

/// Attested data, signature, public area and PCR values, with the signature good.
fn quote(bytes: &[u8]) {
    let Some([message, signature, public, pcrs]) = split(bytes) else { return };
    let (Ok(attest), Ok(public)) = (Attest::parse(message), Public::parse(public)) else { return };
    let hash = casemate_crypto::hash::HashAlgorithm::Sha256;
    let signature =
        Signature::parse(signature).or_else(|_| Signature::from_raw_rsa(Scheme::RsaSsa(hash), signature));
    let (Ok(signature), Ok(key)) = (signature, AttestationKey::enrolled(&public)) else { return };
    let pcrs = read_pcr_file(pcrs).unwrap_or_else(|_| PcrValues::new());
    let _ = authenticate_certify(&attest, &signature, &key, &public, &Gullible);
    let Ok(genuine) = authenticate_quote(attest.clone(), &signature, &key, &pcrs, &Gullible) else { return };
    assert!(genuine.pcrs().iter().all(|(bank, index, value)| pcrs.value(bank, index) == Some(value)));
    let again = authenticate_quote(attest, &signature, &key, genuine.pcrs(), &Gullible);
    assert!(again.is_ok(), "what a quote does not select is dropped, and nothing else");
}

fn quotes(vectors: &Vectors) -> Vec<Vec<u8>> {
    let folders = vectors.folders("tpm-quote");
    folders
        .iter()
        .filter_map(|folder| {
            let pcrs = file(folder, "quotepcr.out").or_else(|| file(folder, "pcrs.blob")).unwrap_or_default();
            let public = file(folder, "ak.tpmt_public.bin")?;
            Some(join([&file(folder, "quote.msg")?, &file(folder, "quote.sig")?, &public, &pcrs]))
        })
        .collect()
}
