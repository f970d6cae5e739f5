//! Quotes and the reports in them: encode and parse are inverse, and what a layout reserves is refused.

use casemate_crypto::sign::SigningKey;
use casemate_evidence::intel::{Body, Quote, QuoteBuilder, QuoteError, QuoteVersion};
use casemate_evidence::tdx::{ServiceTd, TdAttributes, TeeTcbSvn, Xfam};
use casemate_evidence::{sgx, tdx};
use proptest::prelude::*;

fn attributes() -> impl Strategy<Value = TdAttributes> {
    const DEFINED: [u32; 12] = [0, 4, 5, 6, 16, 27, 28, 29, 30, 31, 62, 63];
    prop::collection::vec(prop::sample::select(&DEFINED[..]), 0..6).prop_map(|bits| {
        let bits = bits.iter().fold(0, |all, bit| all | 1 << bit);
        TdAttributes::from_bits(bits).expect("defined bits")
    })
}

prop_compose! {
    fn td_report()(
        bytes in prop::collection::vec(any::<u8>(), 16 + 48 * 9 + 8 + 64),
        td_attributes in attributes(),
        xfam in any::<u64>(),
        service_td in prop::option::of(any::<([u8; 16], [u8; 16])>()),
    ) -> tdx::ReportBuilder {
        let mut rest = bytes.as_slice();
        let mut next = |length: usize| {
            let (head, tail) = rest.split_at(length);
            rest = tail;
            head.to_vec()
        };
        let mut builder = tdx::ReportBuilder::new(TeeTcbSvn::try_from(&next(16)[..]).unwrap());
        builder.mr_seam = next(48)[..].try_into().unwrap();
        builder.mr_signer_seam = next(48)[..].try_into().unwrap();
        builder.seam_attributes = next(8).try_into().unwrap();
        builder.td_attributes = td_attributes;
        builder.xfam = Xfam::from_bits(xfam);
        builder.mr_td = next(48)[..].try_into().unwrap();
        builder.mr_config_id = next(48).try_into().unwrap();
        builder.mr_owner = next(48).try_into().unwrap();
        builder.mr_owner_config = next(48).try_into().unwrap();
        builder.rtmr = [(); 4].map(|()| builder.mr_td);
        builder.rtmr[0] = next(48)[..].try_into().unwrap();
        builder.rtmr[3] = next(48)[..].try_into().unwrap();
        builder.report_data = next(64)[..].try_into().unwrap();
        builder.service_td = service_td.map(|(svn, digest)| ServiceTd {
            tee_tcb_svn_2: svn.into(),
            mr_service_td: [digest; 3].concat()[..].try_into().unwrap(),
        });
        builder
    }
}

fn quote(
    version: QuoteVersion,
    body: Body,
    authentication: Vec<u8>,
    pem: Vec<u8>,
) -> (QuoteBuilder, Vec<u8>) {
    let key = SigningKey::from_bytes(&[7; 32]).unwrap();
    let builder = QuoteBuilder {
        version,
        body,
        header_svns: if matches!(body, Body::Sgx(_)) { [9, 14] } else { [0, 0] },
        user_data: [3; 20],
        attestation_key: key.public(),
        quoting_enclave: sgx::ReportBuilder::new([1; 32].into(), [2; 32].into()),
        qe_authentication_data: authentication,
        certificates_pem: pem,
    };
    let signature = key.sign(&builder.signed_bytes());
    let bytes = builder.finish(&signature, &key.sign(builder.qe_report().as_bytes()));
    (builder, bytes)
}

fn td() -> Body {
    Body::Tdx(tdx::ReportBuilder::new([5; 16].into()).finish())
}

fn enclave() -> Body {
    Body::Sgx(sgx::ReportBuilder::new([4; 32].into(), [5; 32].into()).finish())
}

proptest! {
    #[test]
    fn reports_of_trust_domains_read_back(builder in td_report()) {
        let report = builder.finish();
        prop_assert_eq!(tdx::Report::parse(report.as_bytes()), Ok(report));
        prop_assert_eq!(tdx::ReportBuilder::from(&report), builder);
    }

    #[test]
    fn quotes_read_back(
        builder in td_report(), authentication in prop::collection::vec(any::<u8>(), 0..80),
        pem in prop::collection::vec(any::<u8>(), 0..80), padding in 0usize..50,
    ) {
        let report = builder.finish();
        let version = if report.service_td().is_some() { QuoteVersion::V5 } else { QuoteVersion::V4 };
        let (builder, mut bytes) = quote(version, Body::Tdx(report), authentication, pem);
        let length = bytes.len();
        bytes.resize(length + padding, 0);
        let found = Quote::parse(&bytes).unwrap();
        prop_assert_eq!(found.as_bytes(), &bytes[..length]);
        prop_assert_eq!(found.padding_len(), padding);
        prop_assert_eq!(found.signed_bytes(), builder.signed_bytes());
        prop_assert_eq!(found.body(), &Body::Tdx(report));
        prop_assert_eq!(found.report_data(), report.report_data());
        prop_assert_eq!(&found.signature().qe_authentication_data, &builder.qe_authentication_data);
        prop_assert_eq!(found.signature().qe_report, builder.qe_report());
    }
}

#[test]
fn enclaves_are_quoted_in_every_version() {
    for version in [QuoteVersion::V3, QuoteVersion::V4, QuoteVersion::V5] {
        let (_, bytes) = quote(version, enclave(), vec![1], vec![2]);
        let found = Quote::parse(&bytes).unwrap();
        assert_eq!((found.version(), found.body(), found.tee_type()), (version, &enclave(), 0));
        assert_eq!((found.qe_svn(), found.pce_svn(), found.user_data()), (9, 14, [3; 20]));
    }
}

#[test]
fn a_quote_of_version_3_holds_no_trust_domain() {
    let (_, mut bytes) = quote(QuoteVersion::V4, td(), Vec::new(), Vec::new());
    bytes[0] = 3;
    assert_eq!(Quote::parse(&bytes), Err(QuoteError::TeeType { found: 0x81, version: 3 }));
}

#[test]
fn body_types_must_fit_the_tee() {
    let (_, bytes) = quote(QuoteVersion::V5, td(), Vec::new(), Vec::new());
    for (kind, size) in [(1u16, 384u32), (2, 648), (3, 584), (4, 700), (2, u32::MAX)] {
        let mut changed = bytes.clone();
        changed[48..50].copy_from_slice(&kind.to_le_bytes());
        changed[50..54].copy_from_slice(&size.to_le_bytes());
        assert_eq!(Quote::parse(&changed), Err(QuoteError::BodyType { kind, size, tee: 0x81 }));
    }
}

#[test]
fn reserved_bits_of_trust_domains_are_refused() {
    for bit in (1..4).chain([7]).chain(8..16).chain(17..27).chain(32..62) {
        assert!(TdAttributes::from_bits(1 << bit).is_err(), "bit {bit}");
    }
}

#[test]
fn reserved_bytes_of_enclaves_are_refused() {
    let report = sgx::ReportBuilder::new([4; 32].into(), [5; 32].into()).finish();
    for offset in (20..32).chain(96..128).chain(160..192).chain(262..304) {
        let mut bytes = *report.as_bytes();
        bytes[offset] = 1;
        let expected = sgx::ReportError::Reserved { offset, found: 1 };
        assert_eq!(sgx::Report::parse(&bytes), Err(expected));
    }
}

#[test]
fn lengths_decide_which_report_it_is() {
    let (short, long) = (tdx::Report::LEN_1_0, tdx::Report::LEN_1_5);
    for length in [0, short - 1, short + 1, long - 1, long + 1] {
        let found = tdx::Report::parse(&vec![0; length]);
        assert_eq!(found, Err(tdx::ReportError::Length { found: length }));
    }
    assert!(tdx::Report::parse(&vec![0; short]).unwrap().service_td().is_none());
    assert!(tdx::Report::parse(&vec![0; long]).unwrap().service_td().is_some());
}

#[test]
fn a_workload_slot_ends_in_zeros() {
    let mut builder = tdx::ReportBuilder::new([5; 16].into());
    builder.mr_config_id[..32].fill(0x9C);
    assert_eq!(builder.finish().workload_slot(), Some([0x9C; 32]));
    for index in 32..48 {
        let mut changed = builder.clone();
        changed.mr_config_id[index] = 1;
        assert_eq!(changed.finish().workload_slot(), None, "byte {index}");
    }
}
