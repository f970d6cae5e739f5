//! Recorded TPM quotes and certificates: `tpm-quote` and `tpm-certs` of the vectors.

mod recorded;

use casemate_crypto::Provider;
use casemate_crypto::hash::{HashAlgorithm, Sha256, sha256};
use casemate_evidence::tpm::{
    Attest, Attested, KeyUse, PcrValues, Public, Scheme, Signature, TcgCertificate, TpmError, qualified_name,
    read_pcr_file,
};
use casemate_evidence::x509::{self, Certificate, PublicKey, RevocationList};
use casemate_verify::certificates::{
    AuthenticatedPath, Endorsers, PathError, Profile, authenticate_certificate,
};
use casemate_verify::signature::{Sha1, verify_x509};
use casemate_verify::tpm::{
    AttestationKey, GenuineQuote, authenticate_key_certificate, authenticate_quote, pcr_digest,
};
use recorded::{BACK_ENDS, Vector, for_each_vector, hex, hex_text, iso_time, unix_ms};
use serde_json::{Value, json};

#[test]
fn tpm_quote_vectors() {
    for_each_vector("tpm-quote", check_quote);
}

#[test]
fn tpm_certificate_vectors() {
    for_each_vector("tpm-certs", |vector| match vector.result() {
        "chain_ok" => check_chain(vector),
        "parse" => check_revocation_lists(vector),
        "roots_and_intermediates" => check_vendor(vector),
        other => panic!("{}: expected result {other:?} is unknown to this test", vector.name),
    });
}

/// tpm2_checkquote 5.4 and we find the same signatures good, of what is changed and of what is not. It is asked
/// without PCR values, which the vectors do not hold in its form.
#[test]
fn tpm2_checkquote_agrees_on_quote_vectors() {
    for_each_vector("tpm-quote", |vector| {
        if vector.optional_file("ak.pub.pem").is_none() {
            return; // nobody's key is known
        }
        let file = |name: &str| vector.folder.join(name).into_os_string();
        let mut command = std::process::Command::new("timeout");
        command.args(["60", "tpm2_checkquote", "-u"]).arg(file("ak.pub.pem"));
        command.arg("-m").arg(file("quote.msg")).arg("-s").arg(file("quote.sig"));
        let attest = Attest::parse(&vector.file("quote.msg"));
        if let Some(nonce) =
            attest.as_ref().ok().map(|attest| &attest.extra_data).filter(|nonce| !nonce.is_empty())
        {
            command.arg("-q").arg(recorded::hex_text(nonce));
        }
        let output = command.output().expect("timeout(1) runs");
        if output.status.code() == Some(127) {
            assert!(std::env::var_os("CI").is_none(), "tpm2_checkquote is missing; CI needs it");
            eprintln!("NOT RUN: tpm2_checkquote is missing");
            return;
        }
        let signed = |provider| {
            attest.as_ref().is_ok_and(|attest| verifies_alone(vector, attest, &signature(vector), provider))
        };
        for provider in BACK_ENDS {
            assert_eq!(output.status.success(), signed(provider), "{}", vector.name);
        }
    });
}

fn check_quote(vector: &Vector) {
    let parsed = Attest::parse(&vector.file("quote.msg"));
    if let Ok(attest) = &parsed {
        check_quote_fields(vector, attest);
    } else {
        assert!(!vector.fields().contains_key("attest"), "{}: {parsed:?}", vector.name);
    }
    for provider in BACK_ENDS {
        let context = format!("{} with {}", vector.name, provider.name());
        match (vector.result(), authenticate(vector, &parsed, provider)) {
            ("parse_only", _) => assert!(parsed.is_ok(), "{context}: {parsed:?}"),
            ("verify_ok", Ok(_)) | ("must_fail", Err(_)) => {}
            (result, found) => panic!("{context}: expected {result}, found {found:?}"),
        }
        check_quote_checks(vector, &parsed, provider);
    }
}

fn check_quote_fields(vector: &Vector, attest: &Attest) {
    let Attested::Quote { selection, digest } = &attest.attested else {
        panic!("{} is a quote", vector.name)
    };
    let clock = attest.clock;
    if let Some(expected) = vector.fields().get("attest").and_then(Value::as_object) {
        for (name, expected) in expected {
            let found = match name.as_str() {
                "qualified_signer" => json!(attest.qualified_signer.to_string()),
                "extra_data" => hex(&attest.extra_data),
                "clock" => json!(clock.clock_ms),
                "reset_count" => json!(clock.reset_count),
                "restart_count" => json!(clock.restart_count),
                "safe" => json!(u8::from(clock.safe)),
                "firmware_version" => json!(format!("{:#x}", attest.firmware_version)),
                "pcr_select" => selection
                    .iter()
                    .map(
                        |part| json!({ "alg": part.bank.name(), "pcrs": part.indices().collect::<Vec<_>>() }),
                    )
                    .collect(),
                "pcr_digest" => hex(digest),
                "trailing" => json!(0), // a parsed structure ends where its bytes do
                other => panic!("{}: field attest.{other:?} is unknown to this test", vector.name),
            };
            assert_eq!(found, *expected, "{}: field attest.{name}", vector.name);
        }
    }
    vector.check_fields(|name, expected| match name {
        "attest" | "checks" => expected.clone(), // compared on their own
        "ak_certificate_chain" => {
            let links = chain_links(&vector.certificates("ak.cert.pem")[0], &endorsers(vector));
            json!(links)
        }
        "ak_certificate_validity" => {
            let certificate = &vector.certificates("ak.cert.pem")[0];
            json!([iso_time(certificate.not_before_ms()), iso_time(certificate.not_after_ms())])
        }
        // ak.pub.pem is the key of the HCL report in this vector's sibling.
        "ak_certificate_key_equals_hcl_key" => {
            json!(vector.certificates("ak.cert.pem")[0].public_key() == &public_key(vector))
        }
        "event_log_bytes" => json!(vector.optional_file("eventlog.bin").map_or(0, |log| log.len())),
        other => panic!("{}: field {other:?} is unknown to this test", vector.name),
    });
}

fn check_quote_checks(vector: &Vector, parsed: &Result<Attest, TpmError>, provider: &dyn Provider) {
    let Some(checks) = vector.fields().get("checks").and_then(Value::as_object) else { return };
    for (name, expected) in checks {
        let context = format!("{} with {}: check {name}", vector.name, provider.name());
        match name.as_str() {
            "signature" => {
                let signature = signature(vector);
                let verified =
                    parsed.as_ref().is_ok_and(|attest| verifies_alone(vector, attest, &signature, provider));
                let found = if verified { json!(scheme_name(signature.scheme)) } else { json!(false) };
                assert_eq!(found, *expected, "{context}");
            }
            "pcr_digest_matches_with" => {
                let found = match parsed {
                    Ok(attest) => pcr_digest_matches(vector, attest),
                    Err(_) => json!("parse error"),
                };
                assert_eq!(found, *expected, "{context}");
            }
            // What another tool says; `tpm2_checkquote_agrees_on_quote_vectors` asks it again.
            "tpm2_checkquote_accepts" => assert!(expected.is_boolean(), "{context}"),
            other => panic!("{}: check {other:?} is unknown to this test", vector.name),
        }
    }
}

/// The whole of authentication; a certificate of the key is authenticated first where there is one.
fn authenticate(
    vector: &Vector,
    parsed: &Result<Attest, TpmError>,
    provider: &dyn Provider,
) -> Result<GenuineQuote, String> {
    let attest = parsed.clone().map_err(|error| error.to_string())?;
    let public =
        vector.optional_file("ak.tpmt_public.bin").map(|bytes| Public::parse(&bytes).expect("public area"));
    let key = match (&public, vector.certificates("ak.cert.pem").first()) {
        (Some(public), _) => AttestationKey::enrolled(public).map_err(|error| error.to_string())?,
        (None, Some(certificate)) => certified_key(vector, certificate, provider),
        (None, None) if vector.optional_file("ak.pub.pem").is_none() => return Err("no key".to_owned()),
        (None, None) => AttestationKey::enrolled_without_public_area(public_key(vector)),
    };
    let quote = authenticate_quote(attest, &signature(vector), &key, &pcr_values(vector), provider)
        .map_err(|error| error.to_string())?;
    if let Some(public) = public {
        // These keys are primary keys of the endorsement hierarchy (TPM_RH_ENDORSEMENT).
        let name = qualified_name(0x4000_000B, &[], &public.name()).expect("the name of an object");
        quote.check_signer(&name).map_err(|error| error.to_string())?;
    }
    Ok(quote)
}

fn certified_key(vector: &Vector, certificate: &Certificate, provider: &dyn Provider) -> AttestationKey {
    let (certificates, roots) = endorsers(vector);
    let endorsers = Endorsers { certificates: &certificates, revocation_lists: &[] };
    let certificate = TcgCertificate::read(certificate.clone(), x509::Oddities::default()).expect("a TPM's");
    let now_ms = certificate.certificate.not_before_ms();
    let use_ = KeyUse::Attestation;
    let genuine = authenticate_key_certificate(&certificate, use_, &endorsers, &roots, now_ms, provider)
        .unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    AttestationKey::certified(&genuine)
}

/// Whether the key signed the statement, whatever the PCR values.
fn verifies_alone(vector: &Vector, attest: &Attest, signature: &Signature, provider: &dyn Provider) -> bool {
    use casemate_verify::tpm::QuoteError;
    let key = AttestationKey::enrolled_without_public_area(public_key(vector));
    let answer = authenticate_quote(attest.clone(), signature, &key, &pcr_values(vector), provider);
    !matches!(answer, Err(QuoteError::Signature(_)))
}

fn pcr_digest_matches(vector: &Vector, attest: &Attest) -> Value {
    let Attested::Quote { selection, digest } = &attest.attested else {
        panic!("{} is a quote", vector.name)
    };
    let pcrs = pcr_values(vector);
    let found = HashAlgorithm::ALL
        .into_iter()
        .find(|hash| pcr_digest(selection, &pcrs, *hash).as_bytes() == digest.as_slice());
    found.map_or(json!(false), |hash| json!(hash.name()))
}

fn public_key(vector: &Vector) -> PublicKey {
    let der = vector.pem("ak.pub.pem").remove(0);
    PublicKey::parse_spki(&der).unwrap_or_else(|error| panic!("{}: ak.pub.pem: {error}", vector.name))
}

fn signature(vector: &Vector) -> Signature {
    Signature::parse_structured_or_raw(&vector.file("quote.sig"))
        .unwrap_or_else(|error| panic!("{}: {error}", vector.name))
}

fn scheme_name(scheme: Scheme) -> String {
    match scheme {
        Scheme::RsaSsa(hash) => format!("rsassa-{hash}"),
        Scheme::RsaPss(hash) => format!("rsapss-{hash}"),
        Scheme::Ecdsa(hash) => format!("ecdsa-{hash}"),
        other => panic!("scheme {other:?} is unknown to this test"),
    }
}

/// `pcrs.json`, or what tpm2-tools wrote.
fn pcr_values(vector: &Vector) -> PcrValues {
    for name in ["quotepcr.out", "pcrs.blob"] {
        if let Some(bytes) = vector.optional_file(name) {
            return read_pcr_file(&bytes).unwrap_or_else(|error| panic!("{}: {name}: {error}", vector.name));
        }
    }
    let mut pcrs = PcrValues::new();
    let Some(bytes) = vector.optional_file("pcrs.json") else { return pcrs };
    let json: Value = serde_json::from_slice(&bytes).expect("pcrs.json is JSON");
    for (bank, values) in json.as_object().expect("pcrs.json is an object") {
        let bank = HashAlgorithm::ALL.into_iter().find(|known| known.name() == bank).expect("a known bank");
        for (index, value) in values.as_object().expect("a bank is an object") {
            let value = recorded::unhex(value.as_str().expect("a PCR value is text"));
            pcrs.insert(bank, index.parse().expect("a PCR index"), &value).expect("a PCR value");
        }
    }
    pcrs
}

/// Intermediates and roots, and the digests of the roots' keys.
fn endorsers(vector: &Vector) -> (Vec<Certificate>, Vec<Sha256>) {
    let roots = vector.certificates("roots.pem");
    let digests = roots.iter().map(Certificate::public_key_digest).collect();
    let mut certificates = roots;
    for name in ["intermediates.pem", "ak.intermediates.pem"] {
        certificates.extend(vector.certificates(name));
    }
    (certificates, digests)
}

/// Subject and issuer of each certificate below the root, and whether the issuer's key signed it.
fn chain_links(leaf: &Certificate, (pool, roots): &(Vec<Certificate>, Vec<Sha256>)) -> Vec<Value> {
    let mut links = Vec::new();
    let mut current = leaf.clone();
    while !roots.contains(&current.public_key_digest()) {
        let issuer = pool.iter().find(|candidate| {
            candidate.subject() == current.issuer() && signed_by(&current, candidate, BACK_ENDS[0])
        });
        let Some(issuer) = issuer else { break };
        assert!(signed_by(&current, issuer, BACK_ENDS[1]), "both libraries agree");
        links.push(json!([current.subject_common_name(), issuer.subject_common_name(), true]));
        current = issuer.clone();
    }
    links
}

fn signed_by(certificate: &Certificate, issuer: &Certificate, provider: &dyn Provider) -> bool {
    let sha1 = Sha1::AcceptedForAuthorities;
    let algorithm = certificate.signature_algorithm();
    let (message, signature) = (certificate.signed_bytes(), certificate.signature());
    verify_x509(issuer.public_key(), algorithm, sha1, message, signature, provider).is_ok()
}

fn check_chain(vector: &Vector) {
    let leaves = vector.certificates("leaf.pem");
    let pool = endorsers(vector);
    vector.check_fields(|name, _| match name {
        "chains" => leaves.iter().map(|leaf| json!(chain_links(leaf, &pool))).collect(),
        "leaf" => leaves.iter().map(leaf_json).collect(),
        other => panic!("{}: field {other:?} is unknown to this test", vector.name),
    });
    let window = vector.window();
    for provider in BACK_ENDS {
        let context = format!("{} with {}", vector.name, provider.name());
        let at = |now_ms| -> Result<(), PathError> {
            leaves.iter().try_for_each(|leaf| path(leaf, &pool, now_ms, provider).map(drop))
        };
        for now_ms in [window.start, window.middle(), window.end] {
            at(now_ms).unwrap_or_else(|error| panic!("{context} at {now_ms}: {error}"));
        }
        let early = at(window.start - 1000);
        assert!(matches!(early, Err(PathError::NotYetValid { .. })), "{context}: {early:?}");
        let late = at(window.end + 1000);
        assert!(matches!(late, Err(PathError::Expired { .. })), "{context}: {late:?}");
        // Another trusted root is not this root.
        let elsewhere = (pool.0.clone(), vec![Sha256::from([7; 32])]);
        let untrusted = path(&leaves[0], &elsewhere, window.middle(), provider);
        assert!(matches!(untrusted, Err(PathError::UntrustedRoot { .. })), "{context}: {untrusted:?}");
    }
}

fn path(
    leaf: &Certificate,
    (certificates, roots): &(Vec<Certificate>, Vec<Sha256>),
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<AuthenticatedPath, PathError> {
    const PROFILE: Profile = Profile {
        known_extensions: &TcgCertificate::KNOWN_EXTENSIONS,
        sha1: Sha1::Refused,
        maximum_authorities: 4,
    };
    let endorsers = Endorsers { certificates, revocation_lists: &[] };
    authenticate_certificate(leaf, &endorsers, roots, &PROFILE, now_ms, provider)
}

fn leaf_json(leaf: &Certificate) -> Value {
    json!({
        "serial": serial(leaf.serial_number()),
        "key": match leaf.public_key() {
            PublicKey::Rsa { .. } => "RSAPublicKey",
            _ => "ECPublicKey",
        },
        "issuer": leaf.issuer_common_name(),
        "subject": leaf.subject().to_string(),
    })
}

fn check_revocation_lists(vector: &Vector) {
    let lists: Vec<RevocationList> = (0..)
        .map_while(|index| vector.optional_file(&format!("crl-{index}.der")))
        .map(|bytes| RevocationList::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", vector.name)))
        .collect();
    let revoked = |list: &RevocationList| list.revoked().map(serial).collect::<Vec<_>>();
    assert_eq!(json!(lists.iter().map(revoked).collect::<Vec<_>>()), vector.json["expected"]["revoked"]);
    vector.check_fields(|name, _| match name {
        "crls" => lists
            .iter()
            .map(|list| {
                json!({
                    "issuer": list.issuer().to_string(),
                    "this_update": iso_time(list.this_update_ms()),
                    "next_update": iso_time(list.next_update_ms()),
                    "revoked": revoked(list),
                })
            })
            .collect(),
        other => panic!("{}: field {other:?} is unknown to this test", vector.name),
    });
}

/// A vendor's authorities: every one is read, and each that has its issuer beside it is signed by it.
fn check_vendor(vector: &Vector) {
    let listed = vector.fields()["certificates"].as_array().expect("a vendor has certificates");
    let bundle = vector.pem("bundle.pem");
    let certificates: Vec<(Certificate, x509::Oddities)> = listed
        .iter()
        .enumerate()
        .map(|(index, listed)| {
            let file = listed["file"].as_str().expect("a certificate has a name");
            let der = match bundle.get(index) {
                Some(der) => der.clone(),
                None => vector.pem(&format!("{file}.pem")).remove(0),
            };
            Certificate::parse_from_device(&der).unwrap_or_else(|error| panic!("{file}: {error}"))
        })
        .collect();
    for (listed, (certificate, oddities)) in listed.iter().zip(&certificates) {
        check_vendor_certificate(listed, certificate, oddities);
    }
    vector.check_fields(|name, expected| match name {
        "certificates" => expected.clone(), // compared above
        "links" => listed
            .iter()
            .zip(&certificates)
            .map(|(listed, (certificate, _))| json!([listed["file"], link(certificate, &certificates)]))
            .collect(),
        other => panic!("{}: field {other:?} is unknown to this test", vector.name),
    });
}

fn check_vendor_certificate(listed: &Value, certificate: &Certificate, oddities: &x509::Oddities) {
    let file = &listed["file"];
    for (name, expected) in listed.as_object().expect("a certificate's fields are an object") {
        let found = match name.as_str() {
            "file" => expected.clone(),
            "subject" => json!(certificate.subject().to_string()),
            "self_signed" => json!(certificate.subject() == certificate.issuer()),
            "not_after" => json!(iso_time(certificate.not_after_ms())),
            "sha256" => json!(sha256(certificate.as_der()).to_string()),
            "openssl_self_signature" => {
                let both = BACK_ENDS.iter().all(|provider| signed_by(certificate, certificate, *provider));
                json!(both)
            }
            // What makes a strict parser refuse Nuvoton's is that their names are not in DER's order.
            "strict_x509_parser_accepts" => {
                assert_eq!(Certificate::parse(certificate.as_der()).is_ok(), !oddities.unordered_name);
                json!(!oddities.unordered_name)
            }
            "info" => {
                check_openssl_info(certificate, expected);
                expected.clone()
            }
            other => panic!("{file}: field {other:?} is unknown to this test"),
        };
        assert_eq!(found, *expected, "{file}: field {name}");
    }
    assert_eq!(oddities.padding_len, 0, "{file}");
}

/// Lines as `openssl x509 -subject -issuer -enddate -serial` prints them.
fn check_openssl_info(certificate: &Certificate, lines: &Value) {
    let attributes = |name: &x509_cert::name::Name| {
        let text = name.to_string();
        let mut attributes: Vec<String> = text.split(['+', ',']).map(|part| part.trim().to_owned()).collect();
        attributes.sort();
        attributes
    };
    for line in lines.as_array().expect("info is a list") {
        let (name, value) = line.as_str().and_then(|line| line.split_once('=')).expect("info has a name");
        let mut listed: Vec<String> =
            value.split(" + ").map(|part| part.replace(" = ", "=").trim().to_owned()).collect();
        listed.sort();
        match name {
            "subject" => assert_eq!(attributes(certificate.subject()), listed),
            "issuer" => assert_eq!(attributes(certificate.issuer()), listed),
            "serial" => assert_eq!(serial(certificate.serial_number())[2..].to_uppercase(), value),
            "notAfter" => assert_eq!(openssl_time(certificate.not_after_ms()), value),
            other => panic!("info {other:?} is unknown to this test"),
        }
    }
}

/// As openssl writes times: `Jul 11 16:29:30 2032 GMT`.
fn openssl_time(ms: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let iso = iso_time(ms);
    assert_eq!(unix_ms(&iso), ms);
    let month: usize = iso[5..7].parse().expect("a month");
    let day: u8 = iso[8..10].parse().expect("a day");
    format!("{} {day:2} {} {} GMT", MONTHS[month - 1], &iso[11..19], &iso[..4])
}

fn link(certificate: &Certificate, bundle: &[(Certificate, x509::Oddities)]) -> &'static str {
    if certificate.subject() == certificate.issuer() {
        assert!(BACK_ENDS.iter().all(|provider| signed_by(certificate, certificate, *provider)));
        return "self-signed";
    }
    let signs = |(candidate, _): &&(Certificate, x509::Oddities)| {
        candidate.subject() == certificate.issuer()
            && BACK_ENDS.iter().all(|provider| signed_by(certificate, candidate, *provider))
    };
    if bundle.iter().any(|candidate| signs(&candidate)) { "issuer in bundle" } else { "issuer not in bundle" }
}

fn serial(bytes: &[u8]) -> String {
    let text = hex_text(bytes);
    let text = text.trim_start_matches('0');
    format!("0x{}", if text.is_empty() { "0" } else { text })
}
