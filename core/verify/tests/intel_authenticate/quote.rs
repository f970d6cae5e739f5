//! The quote: each byte of it, its Quoting Enclave, and the collateral that fits it.

use casemate_crypto::AwsLc;
use casemate_evidence::intel::{EnclaveIdentity, Quote, QuoteVersion, TcbInfo};
use casemate_verify::intel::{AuthenticateError as E, AuthenticatedCollateral, ChainError as C, Collateral};
use casemate_verify::{TrustClass, tdx};
use proptest::prelude::*;

use crate::machine::{chain, refused, roots, run};
use crate::support::NOW_MS;
use crate::support::fields::fields;
use crate::support::intel::{Key, Machine};

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
pub(crate) fn variant(error: &dyn std::fmt::Debug) -> String {
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
