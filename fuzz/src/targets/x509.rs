//! Certificates, revocation lists, and paths of them.

use casemate_crypto::hash::Sha256;
use casemate_evidence::gcp::Instance;
use casemate_evidence::intel::Pck;
use casemate_evidence::snp::Leaf;
use casemate_evidence::tpm::{KeyUse, TcgCertificate};
use casemate_evidence::x509::{Certificate, PublicKey, RevocationList};
use casemate_verify::certificates::Endorsers;
use casemate_verify::gcp::authenticate_instance;
use casemate_verify::tpm::authenticate_key_certificate;

use crate::vectors::pem_blocks;
use crate::{Gullible, Target, Vectors};

pub const CERTIFICATE: Target =
    Target { name: "x509-certificate", maximum_len: 4096, check: certificate, seeds: certificates };
pub const REVOCATION_LIST: Target =
    Target { name: "x509-revocation-list", maximum_len: 4096, check: revocation_list, seeds: lists };
pub const PATH: Target = Target { name: "x509-path", maximum_len: 16 << 10, check: path, seeds: chains };

fn certificate(bytes: &[u8]) {
    let _ = PublicKey::parse_spki(bytes);
    if let Ok(parsed) = Certificate::parse(bytes) {
        read(&parsed, bytes);
    }
    if let Ok((parsed, _)) = Certificate::parse_from_device(bytes) {
        // A device may pad what it stores.
        read(&parsed, &bytes[..parsed.as_der().len()]);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Certificate::parse_pem(text);
    }
}

/// Everything that can be asked of a certificate by itself.
fn read(certificate: &Certificate, bytes: &[u8]) {
    assert_eq!(certificate.as_der(), bytes);
    let _ =
        (certificate.subject_common_name(), certificate.issuer_common_name(), certificate.serial_number());
    let _ = (certificate.not_before_ms(), certificate.not_after_ms(), certificate.path_length());
    let _ = (certificate.may_sign_certificates(), certificate.unknown_critical_extension());
    let _ = (Leaf::read(certificate), Pck::read(certificate), Instance::of(certificate));
    if let Ok(found) = TcgCertificate::parse(bytes) {
        let _ = found.identity.map(|identity| identity.manufacturer_name());
    }
}

fn revocation_list(bytes: &[u8]) {
    let Ok(list) = RevocationList::parse(bytes) else { return };
    assert_eq!(list.as_der(), bytes);
    let _ = (list.issuer_common_name(), list.this_update_ms(), list.next_update_ms(), list.revoked().count());
}

/// Certificates in PEM, the first of them a TPM key's, the last trusted, all signatures good.
fn path(bytes: &[u8]) {
    let mut certificates = pem_blocks(bytes).into_iter();
    let Some(leaf) = certificates.next().and_then(|der| TcgCertificate::parse(&der).ok()) else { return };
    let certificates: Vec<Certificate> =
        certificates.filter_map(|der| Certificate::parse(&der).ok()).collect();
    let Some(root) = certificates.last() else { return };
    let roots: [Sha256; 1] = [root.public_key_digest()];
    let endorsers = Endorsers { certificates: &certificates, revocation_lists: &[] };
    let now_ms = leaf.certificate.not_before_ms();
    for key_use in [KeyUse::Attestation, KeyUse::Endorsement] {
        let once = authenticate_key_certificate(&leaf, key_use, &endorsers, &roots, now_ms, &Gullible);
        let again = authenticate_key_certificate(&leaf, key_use, &endorsers, &roots, now_ms, &Gullible);
        assert_eq!(format!("{once:?}"), format!("{again:?}"));
        if let Ok(genuine) = once {
            assert!(roots.contains(&genuine.path().root_key_digest));
            assert!(genuine.path().not_after_ms >= now_ms);
        }
    }
    let _ = authenticate_instance(&leaf, &endorsers, &roots, now_ms, &Gullible);
}

fn certificates(vectors: &Vectors) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for kind in ["snp", "snp-certs", "tpm-certs", "tpm-quote", "tdx", "sgx", "nitro"] {
        for file in vectors.files(kind, &[".pem", "vcek.der", "vlek.der"]) {
            seeds.extend(pem_blocks(&file));
            seeds.push(file);
        }
    }
    seeds
}

fn lists(vectors: &Vectors) -> Vec<Vec<u8>> {
    ["snp-certs", "tpm-certs", "tdx", "sgx"]
        .iter()
        .flat_map(|kind| vectors.files(kind, &["rl.der", "0.der", "1.der", "2.der"]))
        .collect()
}

fn chains(vectors: &Vectors) -> Vec<Vec<u8>> {
    let folders = vectors.folders("tpm-certs");
    let part = |folder: &std::path::Path, name| crate::vectors::file(folder, name).unwrap_or_default();
    folders
        .iter()
        .map(|folder| {
            ["leaf.pem", "bundle.pem", "intermediates.pem", "roots.pem"]
                .map(|name| part(folder, name))
                .concat()
        })
        .collect()
}
