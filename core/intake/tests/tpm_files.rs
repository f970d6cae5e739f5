//! Files of TPMs and clouds become items of one bundle, whatever their order.

use casemate_evidence::bundle::{Bundle, Item};
use casemate_intake::{Error, File, Kind, Sorted};

const STATEMENT: &[u8] = b"\xFFTCG\x80\x18 rest";
const SIGNATURE: &[u8] = &[0, 0x14, 0, 0x0B, 1];
const PCRS: &[u8] =
    br#"{"sha256": {"7": "0707070707070707070707070707070707070707070707070707070707070707"}}"#;
const PUBLIC_AREA: &[u8] = &[0, 0x23, 0, 0x0B, 9];
const SIZED_PUBLIC_AREA: &[u8] = &[0, 5, 0, 0x23, 0, 0x0B, 9];
const LOG: &[u8] = &[0, 0, 0, 0, 3, 0, 0, 0, 7];
const LIST: &[u8] = b"10 ab ima-ng";

fn sort(files: &[&[u8]]) -> Result<Sorted, Error> {
    let files: Vec<File<'_>> = files.iter().map(|bytes| File { name: "a file", bytes }).collect();
    Sorted::read(&files)
}

#[test]
fn parts_of_a_quote_become_one_item() {
    let mut files = [STATEMENT, SIGNATURE, PCRS, PUBLIC_AREA, LOG, LIST];
    let bundle = sort(&files).expect("they belong together").bundle;
    assert_eq!(bundle.items().iter().map(Item::number).collect::<Vec<_>>(), [32, 33, 34, 35]);
    let quote = bundle.tpm_quote().expect("a quote");
    assert_eq!((quote.statement.as_slice(), quote.signature.as_slice()), (STATEMENT, SIGNATURE));
    assert_eq!((quote.pcrs[0].bank, quote.pcrs[0].index, quote.pcrs[0].value.len()), (0x0B, 7, 32));
    assert_eq!(bundle.tpm_key().expect("a key").public_area.as_slice(), PUBLIC_AREA);
    assert_eq!((bundle.event_log(), bundle.ima_list()), (Some(LOG), Some(LIST)));
    for _ in 0..files.len() {
        files.rotate_left(1);
        assert_eq!(sort(&files).expect("they belong together").bundle, bundle);
    }
    let sized = sort(&[STATEMENT, SIZED_PUBLIC_AREA]).expect("they belong together").bundle;
    assert_eq!(sized.tpm_key(), bundle.tpm_key(), "a TPM2B_PUBLIC is cut to what is in it");
}

#[test]
fn parts_beside_a_bundle_are_added_and_not_replaced() {
    let quote = Bundle::new([Item::TdxQuote(vec![1].into())]).to_bytes();
    let with_log = sort(&[&quote, LOG]).expect("they belong together").bundle;
    assert_eq!(with_log.items().iter().map(Item::number).collect::<Vec<_>>(), [16, 34]);
    let twice = sort(&[&with_log.to_bytes(), LOG]);
    assert!(matches!(twice, Err(Error::Twice { kind: Kind::EventLog, .. })), "{twice:?}");
}

#[test]
fn parts_alone_are_no_evidence_and_two_of_one_kind_are_one_too_many() {
    for part in [SIGNATURE, PCRS, PUBLIC_AREA, LOG, LIST] {
        assert!(matches!(sort(&[part]), Err(Error::NoEvidence { .. })), "{part:?}");
        assert!(matches!(sort(&[STATEMENT, part, part]), Err(Error::Twice { .. })), "{part:?}");
    }
    assert!(matches!(sort(&[STATEMENT, STATEMENT]), Err(Error::Twice { kind: Kind::TpmQuote, .. })));
    assert!(matches!(sort(&[b"{\"sha256\": 1}", STATEMENT]), Err(Error::Pcrs { .. })));
    let broken = b"-----BEGIN PUBLIC KEY-----";
    assert!(matches!(sort(&[broken, STATEMENT]), Err(Error::Certificates { .. })));
}

#[test]
fn a_document_is_cut_where_it_ends() {
    // Not a whole document: it stays as it is, and the verdict says what is wrong.
    let document: &[u8] = &[0x84, 0x44, 0xA1, 1, 0x38, 0x22, 0xA0];
    let bundle = sort(&[document]).expect("evidence").bundle;
    assert_eq!(bundle.nitro_document(), Some(document));
    assert_eq!(sort(&[b"HCLA"]).expect("evidence").bundle.azure_report(), Some(&b"HCLA"[..]));
}
