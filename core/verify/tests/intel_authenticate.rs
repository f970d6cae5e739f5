//! From a genuine quote, its certificates and its collateral: change one thing, sign anew where that is part
//! of the attack, and expect one error. Tables name every field; a new field without a row does not compile
//! or fails its test.

mod support;

use std::collections::BTreeSet;

use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_evidence::intel::{CollateralError, EnclaveIdentity, PckError, Quote, QuoteVersion, TcbInfo};
use casemate_verify::intel::{
    AuthenticateError as E, AuthenticatedCollateral, ChainError as C, Collateral, CollateralFileError,
    Document, DocumentError as D, Link,
};
use casemate_verify::{
    AcceptSimulated, Channel, Expectations, Freshness, Policy, Roots, TrustClass, Verifier, Workload, tdx,
};
use der::asn1::ObjectIdentifier;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::intel::{AUTHORITY, Cert, Key, List, Machine, authority, leaf};
use support::{BASIC_CONSTRAINTS, DAY_MS, KEY_USAGE, NOW_MS};

fn roots() -> Roots {
    Roots::builtin().with_simulated([Machine::tdx().simulated_root()])
}

fn run_with(machine: &Machine, provider: &dyn Provider) -> Result<tdx::Genuine, E> {
    let quote = Quote::parse(&machine.quote()).expect("a quote");
    tdx::authenticate(quote, &machine.collateral(), &roots(), NOW_MS, provider)
}

fn run(machine: &Machine) -> Result<tdx::Genuine, E> {
    let answer = run_with(machine, &AwsLc);
    let other = run_with(machine, &RustCrypto);
    assert_eq!(answer.as_ref().err(), other.as_ref().err(), "the back ends disagree");
    answer
}

fn refused(change: impl FnOnce(&mut Machine)) -> E {
    let mut machine = Machine::tdx();
    change(&mut machine);
    run(&machine).expect_err("one thing was changed")
}

#[test]
fn a_quote_of_each_version_is_genuine_as_it_stands() {
    for version in [QuoteVersion::V4, QuoteVersion::V5] {
        let mut machine = Machine::tdx();
        machine.version = version;
        if version == QuoteVersion::V4 {
            machine.td().service_td = None;
        }
        let genuine = run(&machine).expect("nothing was changed");
        assert_eq!(genuine.trust_class(), TrustClass::Simulated);
        assert_eq!(genuine.standing().status.map(|status| status.name()), Some("UpToDate"));
    }
}

/// Names every field of a struct, and fails to compile when there is a new one.
macro_rules! fields {
    ($type:path { $($field:ident),* $(,)? }) => {{
        #[allow(unused_variables, dead_code)]
        fn complete(value: $type) {
            let $type { $($field),* } = value;
        }
        [$(stringify!($field)),*]
    }};
}

type Certificate = fn(&mut Machine) -> &mut Cert;

const ROOT: Certificate = |machine| &mut machine.root;
const PCK_AUTHORITY: Certificate = |machine| &mut machine.authority;
const PCK: Certificate = |machine| &mut machine.pck;
const TCB_SIGNING: Certificate = |machine| &mut machine.tcb_signing;

fn chain(error: C) -> Option<E> {
    Some(E::Chain(error))
}

fn document(error: C) -> Option<E> {
    Some(E::Collateral(D::Chain(error)))
}

/// What becomes of a change of one field of one certificate; `None` where the field means nothing.
fn expected_of_certificate(link: Link, field: &str) -> Option<E> {
    // Root and signer are certificates of the collateral, the others of the quote.
    let wrap = |error| match link {
        Link::Root | Link::TcbInfoSigner => document(error),
        _ => chain(error),
    };
    let issuer_name = if link == Link::Pck { AUTHORITY } else { support::intel::ROOT };
    match (link, field) {
        // A serial number is looked up in the lists, below.
        (_, "serial") => None,
        (Link::Root, "subject") => wrap(C::Issuer {
            link,
            found: support::intel::ROOT.to_owned(),
            expected: "somebody else".to_owned(),
        }),
        (_, "issuer") => {
            wrap(C::Issuer { link, found: "somebody else".to_owned(), expected: issuer_name.to_owned() })
        }
        (_, "subject") => wrap(C::Subject {
            link,
            found: "somebody else".to_owned(),
            expected: match link {
                Link::Pck => "Intel SGX PCK Certificate",
                Link::TcbInfoSigner => "Intel SGX TCB Signing",
                _ => "a PCK authority of Intel",
            },
        }),
        (_, "not_before_ms") => wrap(C::NotYetValid { link, not_before_ms: NOW_MS + DAY_MS, now_ms: NOW_MS }),
        (_, "not_after_ms") => wrap(C::Expired { link, not_after_ms: NOW_MS - DAY_MS, now_ms: NOW_MS }),
        (Link::Root, "key") => {
            wrap(C::UntrustedRoot { found: other_root_digest(), name: support::intel::ROOT.to_owned() })
        }
        (Link::PckAuthority, "key") => wrap(C::Signature { link: Link::PckRevocationList }),
        (Link::Pck, "key") => Some(E::QeReportSignature),
        (_, "key") => Some(E::Collateral(D::Signature { document: Document::TcbInfo })),
        (Link::Root, "extensions") => wrap(C::NotAuthority { link }),
        (Link::PckAuthority, "extensions") => wrap(C::PathLength { link, found: None, expected: "0" }),
        (_, "extensions") => wrap(C::NotLeaf { link }),
        (_, "signer") => wrap(C::Signature { link }),
        (_, "algorithm") => wrap(C::SignatureAlgorithm { link }),
        (_, other) => panic!("field {other} has no expectation"),
    }
}

fn other_root_digest() -> casemate_crypto::hash::Sha256 {
    let mut machine = Machine::tdx();
    machine.root.key = Key::Other;
    machine.root_digest()
}

#[test]
fn each_field_of_each_certificate_is_looked_at() {
    let all = fields!(Cert {
        serial,
        issuer,
        subject,
        not_before_ms,
        not_after_ms,
        key,
        extensions,
        signer,
        algorithm,
    });
    for (link, certificate) in [
        (Link::Root, ROOT),
        (Link::PckAuthority, PCK_AUTHORITY),
        (Link::Pck, PCK),
        (Link::TcbInfoSigner, TCB_SIGNING),
    ] {
        for field in all {
            let mut machine = Machine::tdx();
            let changed = certificate(&mut machine);
            match field {
                "serial" => changed.serial = vec![0x77],
                "issuer" => changed.issuer = "somebody else".to_owned(),
                "subject" => changed.subject = "somebody else".to_owned(),
                "not_before_ms" => changed.not_before_ms = NOW_MS + DAY_MS,
                "not_after_ms" => changed.not_after_ms = NOW_MS - DAY_MS,
                "key" => changed.key = Key::Other,
                // An authority that is none, a leaf that is one.
                "extensions" if [Link::Root, Link::PckAuthority].contains(&link) => {
                    changed.extensions = leaf()
                }
                "extensions" => changed.extensions = authority(None),
                "signer" => changed.signer = Key::Other,
                // ecdsa-with-SHA384.
                "algorithm" => *changed.algorithm.last_mut().expect("bytes") = 3,
                other => panic!("field {other} has no row"),
            }
            assert_eq!(run(&machine).err(), expected_of_certificate(link, field), "{field} of the {link}");
        }
    }
}

#[test]
fn what_authorities_and_leaves_may_do_is_looked_at() {
    let usage = |bits: u8| (KEY_USAGE, true, vec![3, 2, 0, bits]);
    let unknown = (ObjectIdentifier::new_unwrap("1.2.3.4"), true, vec![5, 0]);
    let critical = |link| C::CriticalExtension { link, found: unknown.0 };
    let constraints = |path: u8| (BASIC_CONSTRAINTS, true, vec![0x30, 6, 1, 1, 0xFF, 2, 1, path]);
    for (link, certificate, extensions, expected) in [
        (
            Link::PckAuthority,
            PCK_AUTHORITY,
            vec![constraints(1), usage(6)],
            chain(C::PathLength { link: Link::PckAuthority, found: Some(1), expected: "0" }),
        ),
        (
            Link::PckAuthority,
            PCK_AUTHORITY,
            vec![constraints(0), usage(2)],
            chain(C::NotAuthority { link: Link::Pck }),
        ),
        (
            Link::PckAuthority,
            PCK_AUTHORITY,
            vec![constraints(0), usage(4)],
            chain(C::NotAuthority { link: Link::PckRevocationList }),
        ),
        (
            Link::Root,
            ROOT,
            vec![constraints(0), usage(6)],
            document(C::PathLength { link: Link::Root, found: Some(0), expected: "at least 1, or none" }),
        ),
        (
            Link::Root,
            ROOT,
            vec![constraints(1), usage(4)],
            document(C::NotAuthority { link: Link::RootRevocationList }),
        ),
        (Link::Root, ROOT, vec![constraints(1), usage(6), unknown.clone()], document(critical(Link::Root))),
        (
            Link::PckAuthority,
            PCK_AUTHORITY,
            vec![constraints(0), usage(6), unknown.clone()],
            chain(critical(Link::PckAuthority)),
        ),
        (Link::Pck, PCK, [leaf(), vec![unknown.clone()]].concat(), chain(critical(Link::Pck))),
        (
            Link::TcbInfoSigner,
            TCB_SIGNING,
            [leaf(), vec![unknown.clone()]].concat(),
            document(critical(Link::TcbInfoSigner)),
        ),
        // A leaf that may encipher keys but not sign.
        (
            Link::Pck,
            PCK,
            vec![(BASIC_CONSTRAINTS, true, vec![0x30, 0]), usage(0x20)],
            chain(C::NotLeaf { link: Link::Pck }),
        ),
    ] {
        let mut machine = Machine::tdx();
        certificate(&mut machine).extensions = extensions.clone();
        assert_eq!(run(&machine).err(), expected, "{link}: {extensions:02x?}");
    }
}

#[test]
fn each_field_of_each_revocation_list_is_looked_at() {
    let all = fields!(List { issuer, this_update_ms, next_update_ms, revoked, number, signer });
    type Pick = fn(&mut Machine) -> &mut List;
    let lists: [(Link, Pick); 2] = [
        (Link::RootRevocationList, |machine| &mut machine.root_list),
        (Link::PckRevocationList, |machine| &mut machine.pck_list),
    ];
    for (link, list) in lists {
        let of_root = link == Link::RootRevocationList;
        // The PCK authority's list is verified with its chain; its dates are the collateral's.
        let wrap = |error| if of_root { document(error) } else { chain(error) };
        for field in all {
            let mut machine = Machine::tdx();
            let serials = [machine.authority.serial.clone(), machine.pck.serial.clone()];
            let changed = list(&mut machine);
            let expected = match field {
                "issuer" => {
                    changed.issuer = "somebody else".to_owned();
                    let expected = if of_root { support::intel::ROOT } else { AUTHORITY };
                    wrap(C::Issuer { link, found: "somebody else".to_owned(), expected: expected.to_owned() })
                }
                "this_update_ms" => {
                    changed.this_update_ms = NOW_MS + DAY_MS;
                    document(C::NotYetValid { link, not_before_ms: NOW_MS + DAY_MS, now_ms: NOW_MS })
                }
                "next_update_ms" => {
                    changed.next_update_ms = NOW_MS - DAY_MS;
                    document(C::Expired { link, not_after_ms: NOW_MS - DAY_MS, now_ms: NOW_MS })
                }
                "revoked" if of_root => {
                    changed.revoked = vec![vec![9], serials[0].clone()];
                    chain(C::Revoked { link: Link::PckAuthority })
                }
                "revoked" => {
                    changed.revoked = vec![vec![9], serials[1].clone()];
                    chain(C::Revoked { link: Link::Pck })
                }
                // Compared with what is kept, where lists are kept: link/endorse.
                "number" => {
                    changed.number = Some(9);
                    None
                }
                "signer" => {
                    changed.signer = Key::Other;
                    wrap(C::Signature { link })
                }
                other => panic!("field {other} has no row"),
            };
            assert_eq!(run(&machine).err(), expected, "{field} of the {link}");
        }
    }
    let mut machine = Machine::tdx();
    machine.root_list.revoked = vec![machine.tcb_signing.serial.clone()];
    assert_eq!(run(&machine).err(), document(C::Revoked { link: Link::TcbInfoSigner }));
}

#[test]
fn signatures_are_made_by_whom_they_should_be() {
    let document = |document| E::Collateral(D::Signature { document });
    assert_eq!(refused(|machine| machine.tcb_info_signer = Key::Other), document(Document::TcbInfo));
    assert_eq!(refused(|machine| machine.qe_identity_signer = Key::Other), document(Document::QeIdentity));
    // Keys that are certified for something else.
    assert_eq!(refused(|machine| machine.tcb_info_signer = Key::Pck), document(Document::TcbInfo));
    assert_eq!(refused(|machine| machine.qe_report_signer = Key::Attestation), E::QeReportSignature);
    assert_eq!(refused(|machine| machine.quote_signer = Key::Pck), E::QuoteSignature);
    // Intel's TCB signing key certifies no platform, and a PCK no collateral.
    assert_eq!(
        refused(|machine| {
            machine.pck.issuer.clone_from(&machine.tcb_signing.subject);
            machine.pck.signer = Key::TcbSigning;
            machine.authority = machine.tcb_signing.clone();
        }),
        chain(C::Subject {
            link: Link::PckAuthority,
            found: "Intel SGX TCB Signing".to_owned(),
            expected: "a PCK authority of Intel",
        })
        .expect("an error")
    );
}

#[test]
fn the_quoting_enclave_vouches_for_the_attestation_key() {
    let mut report_data = [0; 64];
    report_data[..32].fill(0xAA);
    assert!(matches!(
        refused(|machine| machine.qe_report_data = Some(report_data)),
        E::AttestationKey { found, .. } if found == [0xAA; 32].into()
    ));
    let right = *Machine::tdx().builder().qe_report().report_data().as_bytes();
    assert_eq!(
        refused(|machine| {
            let mut padded = right;
            padded[63] = 1;
            machine.qe_report_data = Some(padded);
        }),
        E::AttestationKeyPadding
    );
}

#[test]
fn each_field_of_the_quoting_enclave_is_looked_at_or_said_not_to_be() {
    use casemate_evidence::sgx::{Attributes, ReportBuilder};
    type Row = (&'static str, fn(&mut ReportBuilder), Option<E>);
    let identity = Machine::tdx().collateral();
    let attributes = |flags: u64| {
        let mut bytes = [0; 16];
        bytes[0] = flags as u8;
        bytes
    };
    let rows: Vec<Row> = vec![
        ("cpu_svn", |enclave| enclave.cpu_svn = [1; 16], None),
        (
            "misc_select",
            |enclave| enclave.misc_select = [0, 0, 0, 1],
            Some(E::QeMiscSelect { found: [0, 0, 0, 1], expected: [0; 4] }),
        ),
        ("isv_ext_prod_id", |enclave| enclave.isv_ext_prod_id = [1; 16], None),
        (
            // A Quoting Enclave that can be debugged tells its attestation key.
            "attributes",
            |enclave| enclave.attributes = Attributes { flags: 0b11, xfrm: 0xE7 },
            Some(E::QeAttributes { found: attributes(0b11), expected: attributes(0b01) }),
        ),
        ("mr_enclave", |enclave| enclave.mr_enclave = [1; 32].into(), None),
        (
            "mr_signer",
            |enclave| enclave.mr_signer = [1; 32].into(),
            Some(E::QeSigner { found: [1; 32].into(), expected: identity.qe_identity.mr_signer() }),
        ),
        ("config_id", |enclave| enclave.config_id = [1; 64], None),
        ("isv_prod_id", |enclave| enclave.isv_prod_id = 3, Some(E::QeProduct { found: 3, expected: 2 })),
        // Judged with the platform: see `intel_policy.rs`.
        ("isv_svn", |enclave| enclave.isv_svn = 1, None),
        ("config_svn", |enclave| enclave.config_svn = 1, None),
        ("isv_family_id", |enclave| enclave.isv_family_id = [1; 16], None),
        // Filled in: the commitment to the attestation key, above.
        ("report_data", |enclave| enclave.report_data = [1; 64].into(), None),
    ];
    let in_rows: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let all = fields!(ReportBuilder {
        cpu_svn,
        misc_select,
        isv_ext_prod_id,
        attributes,
        mr_enclave,
        mr_signer,
        config_id,
        isv_prod_id,
        isv_svn,
        config_svn,
        isv_family_id,
        report_data,
    });
    assert_eq!(in_rows, all);
    for (field, change, expected) in rows {
        let mut machine = Machine::tdx();
        change(&mut machine.quoting_enclave);
        assert_eq!(run(&machine).err(), expected, "{field}");
    }
}

#[test]
fn the_sgx_extension_is_closed() {
    let id = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
    let plain = Machine::tdx().pck_chain()[0].clone();
    let content = plain.extension(id).expect("a PCK certificate has one").to_vec();
    let with = |content: Vec<u8>| refused(|machine| machine.pck.extensions.push((id, false, content)));
    let pck = |error| E::Chain(C::Pck(error));
    assert_eq!(with(vec![5, 0]), pck(PckError::Encoding { name: "content" }));
    // The last value again, at the end.
    let parts = elements(&content);
    let rebuilt = |parts: &[Vec<u8>]| support::sequence(parts);
    let mut doubled = parts.clone();
    doubled.push(parts[0].clone());
    let ppid = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.1");
    assert_eq!(with(rebuilt(&doubled)), pck(PckError::Duplicate { found: ppid }));
    for (index, name) in ["PPID", "TCB", "PCE-ID", "FMSPC", "SGX Type"].into_iter().enumerate() {
        let mut missing = parts.clone();
        missing.remove(index);
        assert_eq!(with(rebuilt(&missing)), pck(PckError::Missing { name }));
    }
    let mut unknown = parts;
    unknown.push(vec![0x30, 0x0F, 6, 0x0A, 0x2A, 0x86, 0x48, 0x86, 0xF8, 0x4D, 1, 0x0D, 1, 9, 4, 1, 0]);
    let found = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.9");
    assert_eq!(with(rebuilt(&unknown)), pck(PckError::Unknown { found }));
}

/// The elements of a DER sequence.
fn elements(sequence: &[u8]) -> Vec<Vec<u8>> {
    use der::{Decode as _, Encode as _};
    let parts = Vec::<der::Any>::from_der(sequence).expect("a sequence");
    parts.iter().map(|part| part.to_der().expect("encodes")).collect()
}

#[test]
fn quote_and_collateral_must_belong_together() {
    // SGX collateral for a TDX quote, and the reverse.
    let tdx = Machine::tdx();
    let mut sgx = Machine::sgx();
    sgx.collateral.module_identities.clear();
    let quote = || Quote::parse(&tdx.quote()).expect("a quote");
    let error = tdx::authenticate(quote(), &sgx.collateral(), &roots(), NOW_MS, &AwsLc).err();
    assert_eq!(error, Some(E::OtherTee { found: "SGX", expected: "TDX" }));
    let mut mixed = tdx.collateral();
    let of_sgx = sgx.collateral();
    (mixed.qe_identity, mixed.qe_identity_signature) = (of_sgx.qe_identity, of_sgx.qe_identity_signature);
    let error = tdx::authenticate(quote(), &mixed, &roots(), NOW_MS, &AwsLc).err();
    assert_eq!(error, Some(E::OtherTee { found: "SGX", expected: "TDX" }));
    // A quote of an enclave is no evidence of a trust domain.
    let enclave = Quote::parse(&sgx.quote()).expect("a quote");
    let error = tdx::authenticate(enclave, &sgx.collateral(), &roots(), NOW_MS, &AwsLc).err();
    assert_eq!(error, Some(E::Body { found: "SGX", expected: "TDX" }));
    // Two roots, both trusted.
    let mut other = Machine::tdx();
    other.root.key = Key::Other;
    for certificate in [&mut other.root, &mut other.authority, &mut other.tcb_signing] {
        certificate.signer = Key::Other;
    }
    other.root_list.signer = Key::Other;
    let roots = roots().with_simulated([other.simulated_root()]);
    let error = tdx::authenticate(quote(), &other.collateral(), &roots, NOW_MS, &AwsLc).err();
    let (found, expected) = (tdx.root_digest(), other.root_digest());
    assert_eq!(error, Some(E::Chain(C::OtherRoot { found, expected })));
}

#[test]
fn collateral_verified_once_does_not_outlive_its_dates() {
    let machine = Machine::tdx();
    let collateral = AuthenticatedCollateral::verify(&machine.collateral(), &roots(), NOW_MS, &AwsLc)
        .expect("nothing was changed");
    let quote = || Quote::parse(&machine.quote()).expect("a quote");
    assert!(tdx::authenticate_with(quote(), &collateral, NOW_MS, &AwsLc).is_ok());
    let end_ms = collateral.not_after_ms();
    assert_eq!(end_ms, NOW_MS + 20 * DAY_MS, "the revocation lists end first");
    assert!(tdx::authenticate_with(quote(), &collateral, end_ms, &AwsLc).is_ok());
    let late = tdx::authenticate_with(quote(), &collateral, end_ms + 1000, &AwsLc).err();
    assert!(matches!(late, Some(E::Chain(C::Expired { .. }))), "{late:?}");
    let early = tdx::authenticate_with(quote(), &collateral, NOW_MS - 6 * DAY_MS, &AwsLc).err();
    assert!(matches!(early, Some(E::Chain(C::NotYetValid { .. }))), "{early:?}");
}

/// An authority is verified once for all quotes that bring it: that helps no other authority, and none beyond its time.
#[test]
fn a_recurring_authority_vouches_for_itself_only_and_within_its_time() {
    let mut machine = Machine::tdx();
    machine.authority.not_before_ms = NOW_MS - 2 * DAY_MS;
    machine.authority.not_after_ms = NOW_MS + 2 * DAY_MS;
    let collateral = AuthenticatedCollateral::verify(&machine.collateral(), &roots(), NOW_MS, &AwsLc)
        .expect("nothing was changed");
    let refused = |machine: &Machine, now_ms| {
        let quote = Quote::parse(&machine.quote()).expect("a quote");
        tdx::authenticate_with(quote, &collateral, now_ms, &AwsLc).err()
    };
    assert_eq!([0, 1].map(|_| refused(&machine, NOW_MS)), [None, None]);
    let link = Link::PckAuthority;
    let (not_before_ms, now_ms) = (NOW_MS - 2 * DAY_MS, NOW_MS - 3 * DAY_MS);
    assert_eq!(refused(&machine, now_ms), chain(C::NotYetValid { link, not_before_ms, now_ms }));
    let (not_after_ms, now_ms) = (NOW_MS + 2 * DAY_MS, NOW_MS + 3 * DAY_MS);
    assert_eq!(refused(&machine, now_ms), chain(C::Expired { link, not_after_ms, now_ms }));

    let mut other = machine.clone();
    other.authority.signer = Key::Other;
    assert_eq!(refused(&other, NOW_MS), chain(C::Signature { link }));
    other = machine.clone();
    other.authority.key = Key::Other;
    assert_eq!(refused(&other, NOW_MS), chain(C::Signature { link: Link::PckRevocationList }));
    assert_eq!(refused(&machine, NOW_MS), None);
}

/// Parts of a quote of version 5, in order: each of their bytes is changed, and the errors are these.
const PARTS: [(&str, usize, &[&str]); 23] = [
    ("version", 2, &["Version", "TeeType", "Truncated", "CertificationType", "Tdx"]),
    ("attestation key type", 2, &["KeyType"]),
    ("TEE type", 4, &["TeeType"]),
    ("reserved", 4, &["Reserved"]),
    ("vendor", 16, &["Vendor"]),
    ("user data", 20, &["QuoteSignature"]),
    ("body type", 2, &["BodyType"]),
    ("body size", 4, &["BodyType"]),
    ("report up to its attributes", 120, &["QuoteSignature"]),
    ("attributes", 8, &["QuoteSignature", "Tdx"]),
    ("rest of the report", 520, &["QuoteSignature"]),
    ("length of the signature data", 4, &["Truncated", "Unread"]),
    ("signature", 64, &["QuoteSignature"]),
    ("attestation key", 64, &["AttestationKey"]),
    ("type of the outer certification data", 2, &["CertificationType"]),
    ("its length", 4, &["Truncated", "Unread"]),
    ("report of the Quoting Enclave", 384, &["QeReportSignature", "Sgx"]),
    ("its signature", 64, &["QeReportSignature"]),
    ("length of the authentication data", 2, &["Truncated", "Unread", "CertificationType"]),
    ("authentication data", 32, &["AttestationKey"]),
    ("type of the certification data", 2, &["CertificationType", "CertificationLength"]),
    ("its length", 4, &["Truncated", "Unread"]),
    // What is between the certificates is not theirs: white space may stand for white space.
    ("certificates", usize::MAX, &["Certificates", "Chain", ""]),
];

#[test]
fn each_byte_of_a_quote_is_looked_at() {
    let machine = Machine::tdx();
    let collateral = AuthenticatedCollateral::verify(&machine.collateral(), &roots(), NOW_MS, &AwsLc)
        .expect("nothing was changed");
    let quote = machine.quote();
    let mut start = 0;
    for (part, length, names) in PARTS {
        let end = start + length.min(quote.len() - start);
        // Certificates are long, and the same kind of text throughout.
        let step = if end - start > 1000 { 11 } else { 1 };
        for index in (start..end).step_by(step) {
            let mut changed = quote.clone();
            changed[index] ^= 1;
            let name = match Quote::parse(&changed) {
                Err(error) => variant(&error),
                Ok(quote) => {
                    let found = tdx::authenticate_with(quote, &collateral, NOW_MS, &AwsLc);
                    found.err().map_or(String::new(), |error| variant(&error))
                }
            };
            assert!(names.contains(&name.as_str()), "byte {index} of the {part}: {name:?}");
        }
        start = end;
    }
    assert_eq!(start, quote.len(), "the parts are the whole quote");
}

/// The name of the variant, as its author wrote it.
fn variant(error: &dyn std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
}

#[test]
fn a_quote_cut_anywhere_is_refused() {
    let quote = Machine::tdx().quote();
    for length in 0..quote.len() {
        assert!(Quote::parse(&quote[..length]).is_err(), "{length} bytes");
    }
}

/// A row: a member of a document, its new value, and what comes of it: an error of the parser or of
/// authentication by its name, the codes of failed checks, or nothing.
type Member = (&'static str, Value, fn(&mut Machine), &'static [&'static str]);

fn as_it_is(_: &mut Machine) {}

fn tcb_info_rows() -> Vec<Member> {
    let stale: &[&str] = &["policy.intel.tcb_statuses", "policy.intel.accepted_advisories"];
    let module_0: fn(&mut Machine) = |machine| {
        machine.td().tee_tcb_svn = [5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].into();
    };
    let module_0_marked: fn(&mut Machine) = |machine| {
        machine.td().tee_tcb_svn = [5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].into();
        machine.td().seam_attributes = [0, 0, 0, 0, 0, 0, 0, 1];
    };
    let marked: fn(&mut Machine) = |machine| machine.td().seam_attributes = [0, 0, 0, 0, 0, 0, 0, 1];
    let one = json!("0000000000000001");
    let none = json!("0000000000000000");
    vec![
        ("id", json!("SGX"), as_it_is, &["WrongTee"]),
        ("version", json!(4), as_it_is, &["Version"]),
        ("issueDate", json!("2026-01-02T00:00:00Z"), as_it_is, &["intel.tcb_info_time"]),
        ("nextUpdate", json!("2025-12-31T00:00:00Z"), as_it_is, &["intel.tcb_info_time"]),
        ("fmspc", json!("b0c06f000001"), as_it_is, &["intel.collateral_platform"]),
        ("pceId", json!("0001"), as_it_is, &["intel.collateral_platform"]),
        ("tcbType", json!(1), as_it_is, &["TcbType"]),
        ("tcbEvaluationDataNumber", json!(16), as_it_is, &["policy.intel.minimum_tcb_evaluation_number"]),
        ("tdxModule.mrsigner", json!("11".repeat(48)), module_0, &["tdx.module_signer"]),
        ("tdxModule.attributes", one.clone(), module_0, &["tdx.module_attributes"]),
        ("tdxModule.attributesMask", none.clone(), module_0_marked, &[]),
        ("tdxModuleIdentities[].id", json!("TDX_09"), as_it_is, &["tdx.module_version"]),
        ("tdxModuleIdentities[].mrsigner", json!("11".repeat(48)), as_it_is, &["tdx.module_signer"]),
        ("tdxModuleIdentities[].attributes", one, as_it_is, &["tdx.module_attributes"]),
        ("tdxModuleIdentities[].attributesMask", none, marked, &[]),
        ("tdxModuleIdentities[].tcbLevels[].tcb.isvsvn", json!(6), as_it_is, stale),
        ("tdxModuleIdentities[].tcbLevels[].tcbDate", json!("2026-01-01"), as_it_is, &["Json"]),
        ("tdxModuleIdentities[].tcbLevels[].tcbStatus", json!("OutOfDate"), as_it_is, &stale[..1]),
        ("tdxModuleIdentities[].tcbLevels[].advisoryIDs", json!(["INTEL-SA-00001"]), as_it_is, &stale[1..]),
        ("tcbLevels[].tcb.sgxtcbcomponents[].svn", json!(8), as_it_is, stale),
        ("tcbLevels[].tcb.pcesvn", json!(14), as_it_is, stale),
        // The first byte is the module's minor version; from major version 1 on its identity judges it.
        ("tcbLevels[].tcb.tdxtcbcomponents[].svn", json!(6), module_0, stale),
        ("tcbLevels[].tcbDate", json!("yesterday"), as_it_is, &["Json"]),
        ("tcbLevels[].tcbStatus", json!("ConfigurationNeeded"), as_it_is, &stale[..1]),
        ("tcbLevels[].advisoryIDs", json!(["INTEL-SA-00001"]), as_it_is, &stale[1..]),
    ]
}

fn qe_identity_rows() -> Vec<Member> {
    let stale: &[&str] = &["policy.intel.tcb_statuses", "policy.intel.accepted_advisories"];
    let selected: fn(&mut Machine) = |machine| machine.quoting_enclave.misc_select = [1, 0, 0, 0];
    let debugged: fn(&mut Machine) = |machine| machine.quoting_enclave.attributes.flags |= 0b10;
    vec![
        ("id", json!("QE"), as_it_is, &["intel.collateral_tee"]),
        ("version", json!(1), as_it_is, &["Version"]),
        ("issueDate", json!("2026-01-02T00:00:00Z"), as_it_is, &["intel.qe_identity_time"]),
        ("nextUpdate", json!("2025-12-31T00:00:00Z"), as_it_is, &["intel.qe_identity_time"]),
        ("tcbEvaluationDataNumber", json!(16), as_it_is, &["policy.intel.minimum_tcb_evaluation_number"]),
        ("miscselect", json!("00000001"), as_it_is, &["intel.qe_misc_select"]),
        ("miscselectMask", json!("00000000"), selected, &[]),
        ("attributes", json!("11".repeat(16)), as_it_is, &["intel.qe_attributes"]),
        ("attributesMask", json!("01".to_owned() + &"00".repeat(15)), debugged, &[]),
        ("mrsigner", json!("11".repeat(32)), as_it_is, &["intel.qe_signer"]),
        ("isvprodid", json!(1), as_it_is, &["intel.qe_product"]),
        ("tcbLevels[].tcb.isvsvn", json!(7), as_it_is, stale),
        ("tcbLevels[].tcbDate", json!(""), as_it_is, &["Json"]),
        ("tcbLevels[].tcbStatus", json!("Revoked"), as_it_is, &stale[..1]),
        ("tcbLevels[].advisoryIDs", json!(["INTEL-SA-00001"]), as_it_is, &stale[1..]),
    ]
}

#[test]
fn each_member_of_each_document_is_looked_at() {
    for (index, rows) in [tcb_info_rows(), qe_identity_rows()].into_iter().enumerate() {
        let plain: Value =
            serde_json::from_slice(&Machine::tdx().documents()[index]).expect("a document is JSON");
        let mut in_document = BTreeSet::new();
        paths(&plain, "", &mut in_document);
        let in_rows: BTreeSet<String> = rows.iter().map(|row| row.0.to_owned()).collect();
        assert_eq!(in_document, in_rows);
        for (path, value, change, expected) in rows {
            let mut machine = Machine::tdx();
            change(&mut machine);
            let mut document = plain.clone();
            *member(&mut document, path) = value;
            machine.documents[index] = Some(document.to_string().into_bytes());
            assert_eq!(outcome(&machine), expected, "{path}");
        }
    }
}

#[test]
fn documents_are_closed() {
    for index in [0, 1] {
        let plain: Value =
            serde_json::from_slice(&Machine::tdx().documents()[index]).expect("a document is JSON");
        let mut objects = BTreeSet::new();
        object_paths(&plain, "", &mut objects);
        assert!(objects.len() >= 3, "{objects:?}");
        for path in objects {
            let mut document = plain.clone();
            let object = if path.is_empty() { &mut document } else { member(&mut document, &path) };
            object.as_object_mut().expect("an object").insert("surprise".into(), json!(1));
            let mut machine = Machine::tdx();
            machine.documents[index] = Some(document.to_string().into_bytes());
            assert_eq!(outcome(&machine), ["Json"], "a new member in {path:?}");
        }
        for name in plain.as_object().expect("an object").keys() {
            let mut document = plain.clone();
            document.as_object_mut().expect("an object").remove(name);
            let mut machine = Machine::tdx();
            machine.documents[index] = Some(document.to_string().into_bytes());
            let expected = match name.as_str() {
                "id" if index == 0 => "Version",
                "tdxModule" => "WrongTee",
                "tdxModuleIdentities" => "tdx.module_version",
                _ => "Json",
            };
            assert_eq!(outcome(&machine), [expected], "{name} is missing");
            // Twice the same member: which one counts is not for the reader to guess.
            let text = plain.to_string();
            let doubled = format!("{{\"{name}\":{},{}", plain[name], &text[1..]);
            machine.documents[index] = Some(doubled.into_bytes());
            assert_eq!(outcome(&machine), ["Json"], "{name} stands twice");
        }
        let mut empty = plain.clone();
        empty["tcbLevels"] = json!([]);
        let mut machine = Machine::tdx();
        machine.documents[index] = Some(empty.to_string().into_bytes());
        assert_eq!(outcome(&machine), ["NoLevels"]);
    }
}

/// Names what comes of a platform's evidence under a policy that accepts it as it was.
fn outcome(machine: &Machine) -> Vec<String> {
    let collateral = match machine.try_collateral() {
        Ok(collateral) => collateral,
        Err(error) => return vec![variant(&error)],
    };
    let policy = Policy::example(&[machine.root_digest()])
        .replace("measurements = \"expected\"", "measurements = \"any\"")
        .replace("digests = \"expected\"", "digests = \"any\"")
        .replace("report_data = \"expected\"", "report_data = \"any\"");
    let policy = Policy::parse(&policy).expect("well formed");
    let verifier = Verifier {
        policy: &policy,
        roots: &policy.roots(),
        accept_simulated: AcceptSimulated::Yes,
        provider: &AwsLc,
    };
    let expectations = Expectations {
        freshness: Freshness::Unchecked,
        workload: Workload::Unchecked,
        images: Vec::new(),
        channel: Channel::Unchecked,
    };
    let appraisal = verifier.verify_quote(&machine.quote(), &collateral, &expectations, NOW_MS);
    appraisal.verdict().failures().map(|check| check.code.as_str().to_owned()).collect()
}

/// The members that hold values; those in lists under the name of the list with `[]`. Lists of texts are
/// values.
fn paths(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if prefix.is_empty() { "" } else { "." };
                paths(value, &format!("{prefix}{dot}{name}"), into);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().for_each(|value| paths(value, &format!("{prefix}[]"), into));
        }
        _ => drop(into.insert(prefix.to_owned())),
    }
}

fn object_paths(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            into.insert(prefix.to_owned());
            for (name, value) in members {
                let dot = if prefix.is_empty() { "" } else { "." };
                object_paths(value, &format!("{prefix}{dot}{name}"), into);
            }
        }
        Value::Array(list) => {
            list.iter().for_each(|value| object_paths(value, &format!("{prefix}[]"), into));
        }
        _ => {}
    }
}

/// The member at a path; of lists the first.
fn member<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(value, |value, name| match name.strip_suffix("[]") {
        Some(name) => &mut value[name][0],
        None => &mut value[name],
    })
}

#[test]
fn bombs_are_refused_by_their_length() {
    let bomb = vec![b'['; 10 << 20];
    assert!(matches!(Quote::parse(&bomb), Err(casemate_evidence::intel::QuoteError::TooLong { .. })));
    assert!(matches!(TcbInfo::parse(&bomb), Err(CollateralError::TooLong { .. })));
    assert!(matches!(EnclaveIdentity::parse(&bomb), Err(CollateralError::TooLong { .. })));
    assert!(matches!(TcbInfo::parse_response(&bomb), Err(CollateralError::TooLong { .. })));
    assert!(matches!(
        Collateral::parse_json(&bomb),
        Err(CollateralFileError::Document(CollateralError::TooLong { .. }))
    ));
    // Below the limit, nesting ends it.
    assert!(matches!(TcbInfo::parse(&bomb[..100_000]), Err(CollateralError::Json { .. })));
    assert!(matches!(Collateral::parse_json(&bomb[..500_000]), Err(CollateralFileError::Json { .. })));
}

#[test]
fn an_answer_of_intels_service_is_split_where_its_signature_begins() {
    let machine = Machine::tdx();
    let [tcb_info, qe_identity] = machine.documents();
    let signature = Key::TcbSigning.sign(&tcb_info);
    let text = String::from_utf8(tcb_info.clone()).expect("JSON is text");
    let response = format!("{{\"tcbInfo\":{text},\"signature\":\"{signature}\"}}");
    let (found, found_signature) = TcbInfo::parse_response(response.as_bytes()).expect("an answer");
    assert_eq!((found.signed_bytes(), found_signature), (&tcb_info[..], signature));
    assert!(EnclaveIdentity::parse_response(response.as_bytes()).is_err(), "another document");
    let text = String::from_utf8(qe_identity.clone()).expect("JSON is text");
    let response = format!("{{\"enclaveIdentity\":{text},\"signature\":\"{signature}\"}}");
    let (found, _) = EnclaveIdentity::parse_response(response.as_bytes()).expect("an answer");
    assert_eq!(found.signed_bytes(), qe_identity);
    for broken in
        [response.replace("signature", "sign"), response.replace("{\"enclave", "{\"x\":1,\"enclave")]
    {
        assert!(EnclaveIdentity::parse_response(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn a_quote_that_names_its_pck_takes_the_certificates_from_the_collateral() {
    // A quote of version 3 with certification data of type 3, made from one of type 5.
    let machine = Machine::sgx();
    let whole = machine.quote();
    let cut = Quote::parse(&whole).expect("a quote");
    let name = [&[0xCC; 384][..], &[9; 16], &13u16.to_le_bytes(), &[0, 0]].concat();
    let casemate_evidence::intel::Certification::Certificates { bytes } = &cut.signature().certification
    else {
        panic!("the machine's quotes carry certificates");
    };
    let kept = whole.len() - bytes.len() - 6;
    let mut quote = whole[..kept].to_vec();
    quote.extend([3, 0]);
    quote.extend((name.len() as u32).to_le_bytes());
    quote.extend(&name);
    let length = (quote.len() - 48 - 384 - 4) as u32;
    quote[432..436].copy_from_slice(&length.to_le_bytes());
    let quote = || Quote::parse(&quote).expect("a quote");
    let mut collateral = machine.collateral();
    let error = casemate_verify::sgx::authenticate(quote(), &collateral, &roots(), NOW_MS, &AwsLc).err();
    assert_eq!(error, Some(E::NoPckChain { kind: 3 }));
    collateral.pck_chain = machine.pck_chain();
    assert!(casemate_verify::sgx::authenticate(quote(), &collateral, &roots(), NOW_MS, &AwsLc).is_ok());
    collateral.pck_chain.truncate(2);
    let error = casemate_verify::sgx::authenticate(quote(), &collateral, &roots(), NOW_MS, &AwsLc).err();
    assert_eq!(error, chain(C::Length { found: 2 }));
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Quote::parse(&bytes);
        let _ = TcbInfo::parse(&bytes);
        let _ = EnclaveIdentity::parse(&bytes);
        let _ = Collateral::parse_json(&bytes);
    }

    #[test]
    fn no_change_of_a_quote_or_document_causes_a_panic(
        at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        thread_local! {
            static INPUTS: (Vec<u8>, [Vec<u8>; 2]) = (Machine::tdx().quote(), Machine::tdx().documents());
        }
        INPUTS.with(|(quote, documents)| {
            let change = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let index = at.index(bytes.len());
                bytes[index] = value;
                bytes
            };
            let mut changed = change(quote);
            if let Ok(quote) = Quote::parse(&changed) {
                let _ = quote.signature().certification.certificates();
            }
            changed.truncate(cut.index(changed.len()));
            let _ = Quote::parse(&changed);
            let _ = TcbInfo::parse(&change(&documents[0]));
            let _ = EnclaveIdentity::parse(&change(&documents[1]));
        });
    }
}
