//! Certificates and revocation lists: who may sign, whom, and until when?

use casemate_crypto::AwsLc;
use casemate_evidence::intel::{PckError, Quote};
use casemate_verify::intel::{
    AuthenticateError as E, AuthenticatedCollateral, ChainError as C, Document, DocumentError as D, Link,
};
use casemate_verify::tdx;
use der::asn1::ObjectIdentifier;

use crate::machine::{chain, document, refused, roots, run};
use crate::support::fields::fields;
use crate::support::intel::{AUTHORITY, Cert, Key, List, Machine, authority, leaf};
use crate::support::{BASIC_CONSTRAINTS, DAY_MS, KEY_USAGE, NOW_MS};

type Certificate = fn(&mut Machine) -> &mut Cert;

const ROOT: Certificate = |machine| &mut machine.root;

const PCK_AUTHORITY: Certificate = |machine| &mut machine.authority;

const PCK: Certificate = |machine| &mut machine.pck;

const TCB_SIGNING: Certificate = |machine| &mut machine.tcb_signing;

/// What becomes of a change of one field of one certificate; `None` where the field means nothing.
fn expected_of_certificate(link: Link, field: &str) -> Option<E> {
    // Root and signer are certificates of the collateral, the others of the quote.
    let wrap = |error| match link {
        Link::Root | Link::TcbInfoSigner => document(error),
        _ => chain(error),
    };
    let issuer_name = if link == Link::Pck { AUTHORITY } else { crate::support::intel::ROOT };
    match (link, field) {
        // A serial number is looked up in the lists, below.
        (_, "serial") => None,
        (Link::Root, "subject") => wrap(C::Issuer {
            link,
            found: crate::support::intel::ROOT.to_owned(),
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
        (Link::Root, "key") => wrap(C::UntrustedRoot {
            found: other_root_digest(),
            name: crate::support::intel::ROOT.to_owned(),
        }),
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
                    let expected = if of_root { crate::support::intel::ROOT } else { AUTHORITY };
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
fn the_sgx_extension_is_closed() {
    let id = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
    let plain = Machine::tdx().pck_chain()[0].clone();
    let content = plain.extension(id).expect("a PCK certificate has one").to_vec();
    let with = |content: Vec<u8>| refused(|machine| machine.pck.extensions.push((id, false, content)));
    let pck = |error| E::Chain(C::Pck(error));
    assert_eq!(with(vec![5, 0]), pck(PckError::Encoding { name: "content" }));
    // The last value again, at the end.
    let parts = elements(&content);
    let rebuilt = |parts: &[Vec<u8>]| crate::support::sequence(parts);
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
