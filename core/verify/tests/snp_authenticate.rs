//! From a genuine report and its chain: change one thing, sign anew where that is part of the attack,
//! and expect one error.

mod support;

use casemate_crypto::{AwsLc, P384Signature, Provider, RustCrypto};
use casemate_evidence::snp::{CpuId, KeyInfo, Layout, LeafError, Product, SigningKeyKind, TcbError};
use casemate_evidence::x509::{self, Certificate, RevocationList};
use casemate_verify::snp::{
    AuthenticateError as E, AuthenticatedChain, ChainError as C, Genuine, Link, authenticate,
};
use casemate_verify::{Roots, TrustClass};
use support::{BASIC_CONSTRAINTS, DAY_MS, HWID, KEY_USAGE, ListParts, NOW_MS, PRODUCT_NAME, Rsa, Tee, ia5};

fn run_with(tee: &Tee, now_ms: u64, provider: &dyn Provider) -> Result<Genuine, E> {
    let roots = Roots::builtin().with_simulated([Tee::new(Product::Genoa).simulated_root()]);
    authenticate(tee.sign_report(), &tee.endorsements(), &roots, now_ms, provider)
}

fn run(tee: &Tee) -> Result<Genuine, E> {
    let answer = run_with(tee, NOW_MS, &AwsLc);
    let other = run_with(tee, NOW_MS, &RustCrypto);
    assert_eq!(answer.as_ref().err(), other.as_ref().err(), "the back ends disagree");
    answer
}

fn refused(change: impl FnOnce(&mut Tee)) -> E {
    let mut tee = Tee::new(Product::Genoa);
    change(&mut tee);
    run(&tee).expect_err("one thing was changed")
}

#[test]
fn every_product_is_genuine_as_it_stands() {
    for product in Product::ALL {
        let genuine = run(&Tee::new(product)).expect("nothing was changed");
        assert_eq!(genuine.product(), product);
        assert_eq!(genuine.trust_class(), TrustClass::Simulated);
        assert_eq!(genuine.reported_tcb(), support::tcb(product));
        assert_eq!(genuine.chip_id(), Some(support::chip_id(product)));
        let vlek = run(&Tee::new(product).with_vlek(product)).expect("nothing was changed");
        assert_eq!(vlek.signing_key(), SigningKeyKind::Vlek);
    }
}

#[test]
fn a_root_that_nobody_lists_is_refused() {
    let tee = Tee::new(Product::Genoa);
    for roots in [Roots::builtin(), Roots::none()] {
        let error = authenticate(tee.sign_report(), &tee.endorsements(), &roots, NOW_MS, &AwsLc)
            .expect_err("refused");
        assert!(
            matches!(error, E::Chain(C::UntrustedRoot { found, .. }) if found == tee.root_digest()),
            "{error}"
        );
    }
}

#[test]
fn a_root_with_amds_name_and_another_key_is_refused() {
    let mut tee = Tee::new(Product::Genoa);
    for certificate in [&mut tee.root, &mut tee.intermediate] {
        certificate.issuer = "ARK-Genoa".to_owned();
    }
    tee.root.subject = "ARK-Genoa".to_owned();
    let error = authenticate(tee.sign_report(), &tee.endorsements(), &Roots::builtin(), NOW_MS, &AwsLc);
    assert!(matches!(error, Err(E::Chain(C::UntrustedRoot { .. }))));
}

#[test]
fn each_certificate_must_be_signed_by_the_one_above() {
    let signature = |link| E::Chain(C::Signature { link });
    assert_eq!(refused(|tee| tee.root.signer = Rsa::Other), signature(Link::Root));
    assert_eq!(refused(|tee| tee.intermediate.signer = Rsa::Other), signature(Link::Intermediate));
    assert_eq!(refused(|tee| tee.leaf.signer = Rsa::Other), signature(Link::Leaf));
    assert_eq!(refused(|tee| tee.leaf.signer = Rsa::Root), signature(Link::Leaf));
}

#[test]
fn each_certificate_must_name_the_one_above() {
    for (link, change) in [
        (Link::Root, (|tee| tee.root.issuer = "X".to_owned()) as fn(&mut Tee)),
        (Link::Intermediate, |tee| tee.intermediate.issuer = "X".to_owned()),
        (Link::Leaf, |tee| tee.leaf.issuer = "X".to_owned()),
    ] {
        let error = refused(change);
        assert!(matches!(&error, E::Chain(C::Issuer { link: found, .. }) if *found == link), "{error}");
    }
}

#[test]
fn issuers_need_the_right_to_issue() {
    let no_authority = vec![0x30, 0];
    let encipherment = vec![3, 2, 5, 0x20];
    let not_authority = |link| E::Chain(C::NotAuthority { link });
    assert_eq!(
        refused(|tee| *tee.root.extension_mut(BASIC_CONSTRAINTS) = no_authority.clone()),
        not_authority(Link::Root)
    );
    assert_eq!(
        refused(|tee| *tee.root.extension_mut(KEY_USAGE) = encipherment.clone()),
        not_authority(Link::Root)
    );
    assert_eq!(
        refused(|tee| *tee.intermediate.extension_mut(BASIC_CONSTRAINTS) = no_authority.clone()),
        E::Chain(C::PathLength { link: Link::Intermediate, found: None, expected: "0" })
    );
    assert_eq!(
        refused(|tee| *tee.intermediate.extension_mut(KEY_USAGE) = encipherment.clone()),
        not_authority(Link::Leaf)
    );
    assert_eq!(
        refused(|tee| tee.intermediate.extensions.retain(|(id, ..)| *id != KEY_USAGE)),
        not_authority(Link::Leaf)
    );
}

#[test]
fn path_lengths_leave_room_for_one_intermediate_and_no_more() {
    let path = |length| vec![0x30, 6, 1, 1, 0xFF, 2, 1, length];
    assert_eq!(
        refused(|tee| *tee.root.extension_mut(BASIC_CONSTRAINTS) = path(0)),
        E::Chain(C::PathLength { link: Link::Root, found: Some(0), expected: "at least 1, or none" })
    );
    assert_eq!(
        refused(|tee| *tee.intermediate.extension_mut(BASIC_CONSTRAINTS) = path(1)),
        E::Chain(C::PathLength { link: Link::Intermediate, found: Some(1), expected: "0" })
    );
}

#[test]
fn authorities_with_unknown_critical_extensions_are_refused() {
    let found = der::asn1::ObjectIdentifier::new_unwrap("2.5.29.30"); // name constraints
    for (link, change) in [
        (Link::Root, (|tee, id| tee.root.extensions.push((id, true, vec![0x30, 0]))) as fn(&mut Tee, _)),
        (Link::Intermediate, |tee, id| tee.intermediate.extensions.push((id, true, vec![0x30, 0]))),
    ] {
        assert_eq!(refused(|tee| change(tee, found)), E::Chain(C::CriticalExtension { link, found }));
    }
    let mut harmless = Tee::new(Product::Genoa);
    harmless.root.extensions.push((found, false, vec![0x30, 0]));
    assert!(run(&harmless).is_ok());
}

#[test]
fn each_certificate_must_be_valid_now() {
    let parts = |tee: &mut Tee, link| match link {
        Link::Root => std::mem::replace(&mut tee.root.not_after_ms, NOW_MS - 1000),
        Link::Intermediate => std::mem::replace(&mut tee.intermediate.not_after_ms, NOW_MS - 1000),
        _ => std::mem::replace(&mut tee.leaf.not_after_ms, NOW_MS - 1000),
    };
    for link in [Link::Root, Link::Intermediate, Link::Leaf] {
        let error = refused(|tee| {
            parts(tee, link);
        });
        assert_eq!(error, E::Chain(C::Expired { link, not_after_ms: NOW_MS - 1000, now_ms: NOW_MS }));
    }
    let not_before_ms = NOW_MS + 1000;
    for (link, change) in [
        (Link::Root, (|tee| tee.root.not_before_ms = NOW_MS + 1000) as fn(&mut Tee)),
        (Link::Intermediate, |tee| tee.intermediate.not_before_ms = NOW_MS + 1000),
        (Link::Leaf, |tee| tee.leaf.not_before_ms = NOW_MS + 1000),
    ] {
        assert_eq!(refused(change), E::Chain(C::NotYetValid { link, not_before_ms, now_ms: NOW_MS }));
    }
}

#[test]
fn a_chain_verified_once_does_not_outlive_its_certificates() {
    let tee = Tee::new(Product::Genoa);
    let roots = Roots::none().with_simulated([tee.simulated_root()]);
    let chain = AuthenticatedChain::verify(&tee.endorsements(), &roots, NOW_MS, &AwsLc).expect("good");
    let report = tee.sign_report();
    assert!(chain.authenticate(report.clone(), tee.leaf.not_after_ms).is_ok());
    let late = tee.leaf.not_after_ms + 1000;
    assert!(matches!(chain.authenticate(report.clone(), late), Err(E::Chain(C::Expired { .. }))));
    let early = tee.leaf.not_before_ms - 1000;
    assert!(matches!(chain.authenticate(report, early), Err(E::Chain(C::NotYetValid { .. }))));
}

#[test]
fn revocation_lists_must_be_good_and_current_and_spare_the_chain() {
    let with_list = |change: fn(&mut ListParts)| {
        move |tee: &mut Tee| {
            let mut list = ListParts::new(&tee.root.subject);
            change(&mut list);
            tee.revocation_list = Some(list);
        }
    };
    let mut tee = Tee::new(Product::Genoa);
    with_list(|_| {})(&mut tee);
    let genuine = run(&tee).expect("the list names neither certificate");
    assert_eq!(genuine.revocation_list_made_ms(), Some(NOW_MS - 10 * DAY_MS));

    let link = Link::RevocationList;
    assert_eq!(refused(with_list(|list| list.signer = Rsa::Other)), E::Chain(C::Signature { link }));
    assert_eq!(refused(with_list(|list| list.signer = Rsa::Intermediate)), E::Chain(C::Signature { link }));
    assert!(matches!(
        refused(with_list(|list| list.issuer = "X".to_owned())),
        E::Chain(C::Issuer { link: Link::RevocationList, .. })
    ));
    let not_after_ms = NOW_MS - 1000;
    assert_eq!(
        refused(with_list(|list| list.next_update_ms = NOW_MS - 1000)),
        E::Chain(C::Expired { link, not_after_ms, now_ms: NOW_MS })
    );
    let not_before_ms = NOW_MS + 1000;
    assert_eq!(
        refused(with_list(|list| list.this_update_ms = NOW_MS + 1000)),
        E::Chain(C::NotYetValid { link, not_before_ms, now_ms: NOW_MS })
    );
    assert_eq!(
        refused(|tee| {
            tee.intermediate.serial = vec![0x55];
            with_list(|_| {})(tee);
        }),
        E::Chain(C::Revoked { link: Link::Intermediate })
    );
    assert_eq!(
        refused(|tee| {
            *tee.root.extension_mut(KEY_USAGE) = vec![3, 2, 2, 0x04]; // certificates, not lists
            with_list(|_| {})(tee);
        }),
        E::Chain(C::NotAuthority { link })
    );
}

#[test]
fn leaves_must_be_vcek_or_vlek_certificates_of_the_product_of_their_authority() {
    let leaf = |error| E::Chain(C::Leaf(error));
    assert_eq!(
        refused(|tee| tee.leaf.extensions.retain(|(id, ..)| *id != HWID)),
        leaf(LeafError::Missing { name: "hwid" })
    );
    assert_eq!(
        refused(|tee| *tee.leaf.extension_mut(PRODUCT_NAME) = ia5("Venice")),
        leaf(LeafError::UnknownProduct { found: "Venice".to_owned() })
    );
    assert_eq!(
        refused(|tee| tee.leaf.extension_mut(HWID).truncate(63)),
        leaf(LeafError::Encoding { name: "hwid" })
    );
    assert_eq!(
        refused(|tee| tee.leaf.subject = "SEV-VLEK".to_owned()),
        leaf(LeafError::Subject { found: "SEV-VLEK".to_owned(), kind: SigningKeyKind::Vcek })
    );
    assert_eq!(
        refused(|tee| tee.leaf.extensions.push((support::CSP_ID, false, ia5("provider")))),
        leaf(LeafError::Unexpected { name: "cspId", product: Product::Genoa })
    );
    let new_spl = der::asn1::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.10");
    assert_eq!(
        refused(|tee| tee.leaf.extensions.push((new_spl, false, vec![2, 1, 0]))),
        leaf(LeafError::Unknown { found: new_spl })
    );
    let foreign = der::asn1::ObjectIdentifier::new_unwrap("1.2.3.4");
    assert_eq!(
        refused(|tee| tee.leaf.extensions.push((foreign, true, vec![5, 0]))),
        leaf(LeafError::Unknown { found: foreign })
    );
    let fmc = der::asn1::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
    assert_eq!(
        refused(|tee| tee.leaf.extensions.push((fmc, false, vec![2, 1, 0]))),
        leaf(LeafError::Unexpected { name: "fmcSPL", product: Product::Genoa })
    );
    assert_eq!(
        refused(|tee| {
            tee.leaf.extensions.push((BASIC_CONSTRAINTS, true, vec![0x30, 3, 1, 1, 0xFF]));
            tee.leaf.extensions.push((KEY_USAGE, true, vec![3, 2, 1, 6]));
        }),
        leaf(LeafError::Authority)
    );
    assert_eq!(refused(|tee| tee.leaf.public_key = support::rsa_spki(Rsa::Other)), leaf(LeafError::KeyKind));
    assert_eq!(
        refused(|tee| {
            tee.intermediate.subject = "SEV-VLEK-Genoa".to_owned();
            tee.leaf.issuer = "SEV-VLEK-Genoa".to_owned();
        }),
        E::Chain(C::Intermediate { found: "SEV-VLEK-Genoa".to_owned(), expected: "SEV-Genoa".to_owned() })
    );
    assert_eq!(
        refused(|tee| *tee.leaf.extension_mut(PRODUCT_NAME) = ia5("Milan-B0")),
        E::Chain(C::Intermediate { found: "SEV-Genoa".to_owned(), expected: "SEV-Milan".to_owned() })
    );
}

#[test]
fn each_byte_of_the_signed_part_is_signed() {
    let tee = Tee::new(Product::Genoa);
    let roots = Roots::none().with_simulated([tee.simulated_root()]);
    let chain = AuthenticatedChain::verify(&tee.endorsements(), &roots, NOW_MS, &AwsLc).expect("good");
    let good = *tee.sign_report().as_bytes();
    let mut changed = 0;
    for offset in 0..0x330 {
        let mut bytes = good;
        bytes[offset] ^= 1;
        let Ok(report) = casemate_evidence::snp::Report::parse(&bytes) else { continue };
        changed += 1;
        let error = chain.authenticate(report, NOW_MS).expect_err("a byte was changed");
        // Flipping MASK_CHIP_KEY or SIGNING_KEY is noticed before the signature is looked at.
        let before = matches!(error, E::Unsigned | E::SigningKey { .. }) && offset == 0x48;
        assert!(before || error == E::Signature, "offset {offset:#x}: {error}");
    }
    assert!(changed > 500, "only {changed} changes were well formed");
}

#[test]
fn reports_must_be_signed_by_the_kind_of_key_they_name() {
    let flags = |bits| KeyInfo::from_bits(bits).expect("defined bits");
    assert_eq!(refused(|tee| tee.report.key_info = flags(0b10)), E::Unsigned);
    assert_eq!(refused(|tee| tee.report.key_info = flags(7 << 2)), E::Unsigned);
    assert_eq!(
        refused(|tee| tee.report.key_info = flags(1 << 2)),
        E::SigningKey { found: SigningKeyKind::Vlek, expected: SigningKeyKind::Vcek }
    );
    assert_eq!(
        refused(|tee| tee.leaf_key = p384::ecdsa::SigningKey::from_slice(&[0x22; 48]).expect("a key")),
        E::Signature
    );
}

#[test]
fn signatures_out_of_range_are_refused() {
    let tee = Tee::new(Product::Genoa);
    let roots = Roots::none().with_simulated([tee.simulated_root()]);
    let good = *tee.sign_report().signature().as_bytes();
    let mut zero_r = good;
    zero_r[..48].fill(0);
    let mut zero_s = good;
    zero_s[48..].fill(0);
    for bytes in [zero_r, zero_s, [0; 96], [0xFF; 96]] {
        for provider in [&AwsLc as &dyn Provider, &RustCrypto] {
            let report = tee.report.finish(&P384Signature::from(bytes));
            let answer = authenticate(report, &tee.endorsements(), &roots, NOW_MS, provider);
            assert_eq!(answer.expect_err("no signature"), E::Signature);
        }
    }
}

#[test]
fn report_and_certificate_must_agree() {
    let milan = CpuId { family: 0x19, model: 1, stepping: 1 };
    assert_eq!(
        refused(|tee| tee.report.layout = Layout::V3 { cpuid: milan }),
        E::Processor { found: Some(Product::Milan), expected: Product::Genoa }
    );
    let unknown = CpuId { family: 0x1A, model: 0x50, stepping: 0 };
    assert_eq!(
        refused(|tee| tee.report.layout = Layout::V3 { cpuid: unknown }),
        E::Processor { found: None, expected: Product::Genoa }
    );
    for index in [0, 6, 7] {
        let error = refused(|tee| tee.report.reported_tcb = support::lower(tee.report.reported_tcb, index));
        assert!(matches!(error, E::Tcb { .. }), "{error}");
    }
    for field in [
        (|tee| tee.report.current_tcb = [10, 0, 3, 0, 0, 0, 23, 84].into()) as fn(&mut Tee),
        |tee| tee.report.committed_tcb = [10, 0, 3, 0, 0, 0, 23, 84].into(),
        |tee| tee.report.launch_tcb = [10, 0, 3, 0, 0, 0, 23, 84].into(),
    ] {
        let expected = TcbError::Reserved { product: Product::Genoa, index: 2, found: 3 };
        assert_eq!(refused(field), E::TcbLayout(expected));
    }
    assert_eq!(refused(|tee| tee.report.chip_id = [0; 64].into()), E::ChipMasked);
    let error = refused(|tee| tee.report.chip_id = [2; 64].into());
    assert!(matches!(error, E::Chip { .. }), "{error}");
}

#[test]
fn turin_chip_ids_end_in_zeros() {
    let mut tee = Tee::new(Product::Turin);
    let mut bytes = *tee.report.chip_id.as_bytes();
    bytes[8] = 1;
    tee.report.chip_id = bytes.into();
    assert!(matches!(run(&tee), Err(E::Chip { .. })));
}

#[test]
fn certificates_of_another_shape_are_not_read() {
    let good = Tee::new(Product::Genoa).leaf;
    let der = good.to_der();
    assert!(Certificate::parse(&der).is_ok());
    let trailing: Vec<u8> = der.iter().copied().chain([0]).collect();
    assert!(matches!(Certificate::parse(&trailing), Err(x509::Error::Malformed(_))));
    assert!(matches!(Certificate::parse(&der[..der.len() - 1]), Err(x509::Error::Malformed(_))));
    assert_eq!(
        Certificate::parse(&vec![0; Certificate::MAXIMUM_LEN + 1]),
        Err(x509::Error::TooLong { found: Certificate::MAXIMUM_LEN + 1, maximum: Certificate::MAXIMUM_LEN })
    );
    let mut twice = good.clone();
    twice.extensions.push(twice.extensions[0].clone());
    assert_eq!(
        Certificate::parse(&twice.to_der()),
        Err(x509::Error::DuplicateExtension { found: good.extensions[0].0 })
    );
    // The last byte of the unsigned algorithm identifier is the salt length.
    let salt = der.windows(5).rposition(|window| window == [0xA2, 3, 2, 1, 48]).expect("the salt length");
    let mut other_salt = der.clone();
    other_salt[salt + 4] = 32;
    assert_eq!(Certificate::parse(&other_salt), Err(x509::Error::AlgorithmsDiffer));
    let first = der.windows(5).position(|window| window == [0xA2, 3, 2, 1, 48]).expect("the salt length");
    other_salt[first + 4] = 32;
    assert!(matches!(Certificate::parse(&other_salt), Err(x509::Error::SignatureAlgorithm { .. })));
    assert!(matches!(RevocationList::parse(&der), Err(x509::Error::Malformed(_))));
    let mut list = ListParts::new("ARK");
    assert!(RevocationList::parse(&list.to_der()).is_ok());
    list.critical_extension = true;
    assert!(matches!(RevocationList::parse(&list.to_der()), Err(x509::Error::CriticalExtension { .. })));
}
