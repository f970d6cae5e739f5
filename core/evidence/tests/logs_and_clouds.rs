//! Event logs, IMA entries, HCL reports and AWS's documents with one field changed at a time: each field has a
//! row with its own refusal, and a field without a row fails the test.

use casemate_crypto::hash::HashAlgorithm;
use casemate_evidence::azure::{HclReport, HclReportError, RuntimeData, RuntimeDataError};
use casemate_evidence::eventlog::{EventLog, Format, LogEnd, LogError, ReplayError};
use casemate_evidence::ima::{BankRule, Entry, EntryError, List, ListError};
use casemate_evidence::nitro::{Document, DocumentError};
use casemate_evidence::tpm::{Attest, Public, Signature};
use proptest::prelude::*;

type Field = (&'static str, Vec<u8>);

fn join(fields: &[Field]) -> Vec<u8> {
    fields.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
}

fn with(fields: &[Field], name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut fields = fields.to_vec();
    fields.iter_mut().find(|(found, _)| *found == name).expect("a field of that name").1 = bytes.to_vec();
    join(&fields)
}

fn le(number: u32) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// Checks that `rows` has every field, in order, and that each change meets its refusal.
fn check<E: PartialEq + std::fmt::Debug>(
    fields: &[Field],
    rows: Vec<(&str, Vec<u8>, E)>,
    parse: impl Fn(&[u8]) -> Result<(), E>,
) {
    assert_eq!(parse(&join(fields)), Ok(()));
    let names: Vec<&str> = rows.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "each field has a row");
    for (name, bytes, refusal) in rows {
        assert_eq!(parse(&with(fields, name, &bytes)), Err(refusal), "{name}");
    }
}

/// A crypto-agile log: header, and one separator in PCR 7.
fn log_fields() -> Vec<Field> {
    vec![
        ("header.pcrIndex", le(0)),
        ("header.eventType", le(3)),
        ("header.digest", vec![0; 20]),
        ("header.eventSize", le(33)),
        ("header.signature", b"Spec ID Event03\0".to_vec()),
        ("header.platformClass", le(0)),
        ("header.version", vec![0, 2, 0, 2]),
        ("header.numberOfAlgorithms", le(1)),
        ("header.algorithmId", vec![0x0B, 0]),
        ("header.digestSize", vec![32, 0]),
        ("header.vendorInfoSize", vec![0]),
        ("event.pcrIndex", le(7)),
        ("event.eventType", le(4)),
        ("event.digests.count", le(1)),
        ("event.digests.algorithmId", vec![0x0B, 0]),
        ("event.digests.digest", HashAlgorithm::Sha256.digest(&[0; 4]).as_bytes().to_vec()),
        ("event.eventSize", le(4)),
        ("event.event", vec![0; 4]),
    ]
}

#[test]
fn each_field_of_an_event_log_has_its_own_refusal() {
    let fields = log_fields();
    let good = EventLog::parse(&join(&fields)).expect("a log").replay().expect("it replays");
    // What no rule of the format binds must change what the log replays to, or be the header's.
    #[derive(Debug, PartialEq)]
    enum Notice {
        Refused(LogError),
        NotAHeader,
        OtherValue,
        OnlyStated,
        NotCovered,
    }
    let parse = |bytes: &[u8]| {
        // Without its header a log is read as one of TPM 1.2.
        if EventLog::parse(&bytes[..65]).is_ok_and(|head| head.format == Format::Sha1) {
            return Err(Notice::NotAHeader);
        }
        let log = EventLog::parse(bytes).map_err(Notice::Refused)?;
        if log.replay().expect("it replays") != good {
            return Err(Notice::OtherValue);
        }
        if log.events[1].coverage() != casemate_evidence::eventlog::Coverage::Whole {
            return Err(Notice::NotCovered);
        }
        if log != EventLog::parse(&join(&log_fields())).expect("a log") {
            return Err(Notice::OnlyStated);
        }
        Ok(())
    };
    let refused = Notice::Refused;
    let truncated = |event, offset, needed, left| {
        let source = casemate_evidence::Truncated { offset, needed, left };
        refused(LogError::Truncated { event, source })
    };
    let other_digest = vec![1; 32];
    check(
        &fields,
        vec![
            ("header.pcrIndex", le(1), Notice::OnlyStated),
            ("header.eventType", le(4), Notice::NotAHeader),
            ("header.digest", vec![1; 20], refused(LogError::HeaderDigest)),
            ("header.eventSize", le(34), refused(LogError::HeaderTrailing { found: 1 })),
            ("header.signature", b"Spec ID Event02\0".to_vec(), Notice::NotAHeader),
            ("header.platformClass", le(1), Notice::OnlyStated),
            ("header.version", vec![0, 2, 1, 2], Notice::OnlyStated),
            ("header.numberOfAlgorithms", le(17), refused(LogError::BankCount { found: 17 })),
            (
                "header.algorithmId",
                vec![0x0C, 0],
                refused(LogError::DigestLength { algorithm: 0x0C, found: 32 }),
            ),
            (
                "header.digestSize",
                vec![31, 0],
                refused(LogError::DigestLength { algorithm: 0x0B, found: 31 }),
            ),
            ("header.vendorInfoSize", vec![5], Notice::OnlyStated),
            (
                "event.pcrIndex",
                le(24),
                refused(LogError::Register { event: 1, found: 24, expected: "a PCR, 0 to 23" }),
            ),
            ("event.eventType", le(3), Notice::OtherValue),
            (
                "event.digests.count",
                le(2),
                refused(LogError::DigestCount { event: 1, found: 2, expected: 1 }),
            ),
            ("event.digests.algorithmId", vec![4, 0], refused(LogError::UnknownBank { event: 1, found: 4 })),
            ("event.digests.digest", other_digest, Notice::OtherValue),
            ("event.eventSize", le(5), truncated(1, 115, 5, 4)),
            ("event.event", vec![1; 4], Notice::NotCovered),
        ],
        parse,
    );
}

#[test]
fn a_log_ends_in_padding_or_is_refused() {
    let good = join(&log_fields());
    let end = |tail: &[u8]| EventLog::parse(&[&good[..], tail].concat()).map(|log| log.end);
    assert_eq!(end(&[]), Ok(LogEnd::Exact));
    assert_eq!(end(&[0xFF; 100]), Ok(LogEnd::Padding { len: 100, byte: 0xFF }));
    assert_eq!(end(&[0; 3]), Ok(LogEnd::Padding { len: 3, byte: 0 }));
    assert_eq!(end(&[1, 2, 3]), Ok(LogEnd::Fragment { len: 3 }));
    assert!(matches!(end(&[1; 100]), Err(LogError::Register { .. } | LogError::DigestCount { .. })));
    assert!(EventLog::parse_ccel(&good).is_err(), "PCR 7 is no register of a CCEL");
    let huge = vec![0; EventLog::MAXIMUM_LEN + 1];
    assert_eq!(EventLog::parse(&huge), Err(LogError::TooLong { found: huge.len() }));
}

#[test]
fn the_startup_locality_is_stated_once_and_first() {
    let event = |kind: u32, data: &[u8]| {
        [&le(0)[..], &le(kind), &le(1), &[0x0B, 0], &[0; 32], &le(data.len() as u32), data].concat()
    };
    let locality = |byte| event(3, &[b"StartupLocality\0", &[byte][..]].concat());
    let header: Vec<u8> = join(&log_fields()[..11]);
    let replay = |events: &[Vec<u8>]| {
        EventLog::parse(&[&header[..], &events.concat()].concat()).expect("a log").replay()
    };
    let separator = event(4, &[0; 4]);
    assert_eq!(replay(&[locality(3), separator.clone()]).expect("good").startup_locality, Some(3));
    assert_ne!(replay(&[locality(3), separator.clone()]), replay(std::slice::from_ref(&separator)));
    assert_eq!(replay(&[locality(2)]), Err(ReplayError::StartupLocality { event: 1, found: vec![2] }));
    assert_eq!(replay(&[locality(3), locality(3)]), Err(ReplayError::StartupLocalityTwice { event: 2 }));
    assert_eq!(replay(&[separator, locality(3)]), Err(ReplayError::StartupLocalityLate { event: 2 }));
}

/// One entry `ima-ng` of a file, as a line.
fn line() -> Vec<Field> {
    vec![
        ("pcr", b"10 ".to_vec()),
        ("template hash", [template_hash().as_slice(), b" "].concat()),
        ("template", b"ima-ng ".to_vec()),
        ("digest", [b"sha1:".as_slice(), "ab".repeat(20).as_bytes(), b" "].concat()),
        ("name", b"/bin/sh".to_vec()),
    ]
}

fn template_hash() -> Vec<u8> {
    let digest = [&b"sha1:\0"[..], &[0xAB; 20]].concat();
    let data = [&le(26)[..], &digest, &le(8), b"/bin/sh\0"].concat();
    HashAlgorithm::Sha1.digest(&data).to_string().into_bytes()
}

#[test]
fn each_field_of_an_ima_entry_has_its_own_refusal() {
    #[derive(Debug, PartialEq)]
    enum Notice {
        Refused(EntryError),
        TemplateHash,
        OtherRegister,
    }
    let parse = |bytes: &[u8]| {
        let entry = Entry::parse_ascii(bytes).map_err(Notice::Refused)?;
        entry.check_template_hash().map_err(|_| Notice::TemplateHash)?;
        if entry.pcr == 10 { Ok(()) } else { Err(Notice::OtherRegister) }
    };
    check(
        &line(),
        vec![
            ("pcr", b"11 ".to_vec(), Notice::OtherRegister),
            ("template hash", b"00ff ".to_vec(), Notice::Refused(EntryError::TemplateHash { found: 2 })),
            (
                "template",
                b"ima-xx ".to_vec(),
                Notice::Refused(EntryError::Template { found: "ima-xx".to_owned() }),
            ),
            (
                "digest",
                b"sha1:abab ".to_vec(),
                Notice::Refused(EntryError::DigestLength { algorithm: HashAlgorithm::Sha1, found: 2 }),
            ),
            ("name", b"/bin/so".to_vec(), Notice::TemplateHash),
        ],
        parse,
    );
    let refused = |text: &str| Entry::parse_ascii(text.as_bytes()).expect_err("it is broken");
    assert_eq!(refused(""), EntryError::Missing { field: "pcr" });
    assert!(matches!(refused("24 00 ima-ng"), EntryError::Pcr { .. }));
    assert_eq!(refused("10 zz"), EntryError::NotHex { field: "template hash" });
    assert_eq!(List::parse_ascii(b"10"), Err(ListError::Cut));
}

#[test]
fn binary_and_ascii_lists_say_the_same() {
    let ascii = List::parse_ascii(&[join(&line()), b"\n".to_vec()].concat()).expect("a list");
    let hash = ascii.entries[0].template_hash;
    let data = [&le(26)[..], b"sha1:\0", &[0xAB; 20], &le(8), b"/bin/sh\0"].concat();
    let binary = [&le(10)[..], hash.as_bytes(), &le(6), b"ima-ng", &le(data.len() as u32), &data].concat();
    let read = List::parse_binary(&binary, HashAlgorithm::Sha1).expect("a list");
    assert_eq!(read, ascii);
    let start = casemate_crypto::hash::Digest::filled(HashAlgorithm::Sha256, 0);
    let own = ascii.replay(10, start, BankRule::OwnDigest).last();
    let padded = ascii.replay(10, start, BankRule::PaddedSha1).last();
    assert_ne!(own, padded);
    assert!(List::parse_binary(&binary[..binary.len() - 1], HashAlgorithm::Sha1).is_err());
}

const RUNTIME: &[u8] = br#"{"keys":[],"vm-configuration":{"secure-boot":true}}"#;

fn hcl_fields() -> Vec<Field> {
    let len = RUNTIME.len() as u32;
    vec![
        ("signature", b"HCLA".to_vec()),
        ("version", le(2)),
        ("report_size", le(32 + 1184 + 20 + len)),
        ("request_type", le(2)),
        ("status", le(0)),
        ("reserved", vec![0; 12]),
        ("tee_report", vec![0; 1184]),
        ("data_size", le(20 + len)),
        ("data_version", le(1)),
        ("report_type", le(4)),
        ("hash_type", le(1)),
        ("variable_data_size", le(len)),
        ("variable_data", RUNTIME.to_vec()),
        ("padding", vec![0; 8]),
    ]
}

#[test]
fn each_field_of_an_hcl_report_has_its_own_refusal() {
    use HclReportError as E;
    let good = HclReport::parse(&join(&hcl_fields())).expect("a report").binding();
    let size = |field, found, expected| E::Size { field, found, expected };
    let len = RUNTIME.len();
    let mut late = vec![0; 1184];
    late[1024] = 1; // a TDREPORT has 1024 bytes
    check(
        &hcl_fields(),
        vec![
            ("signature", b"HCLB".to_vec(), E::Signature { found: *b"HCLB" }),
            ("version", le(3), E::Version { found: 3 }),
            ("report_size", le(9), size("report_size", 9, 1236 + len)),
            ("request_type", le(3), E::RequestType { found: 3 }),
            ("status", le(1), E::Status { found: 1 }),
            ("reserved", vec![1; 12], E::Reserved { offset: 20 }),
            ("tee_report", late, E::Reserved { offset: 32 + 1024 }),
            ("data_size", le(9), size("data_size", 9, 20 + len)),
            ("data_version", le(2), E::DataVersion { found: 2 }),
            ("report_type", le(3), E::ReportType { found: 3 }),
            ("hash_type", le(4), E::HashType { found: 4 }),
            ("variable_data_size", le(1), size("data_size", 20 + len as u32, 21)),
            ("variable_data", vec![b' '; len], E::Trailing { offset: usize::MAX }),
            ("padding", vec![0, 1], E::Trailing { offset: 1236 + len + 1 }),
        ],
        |bytes| {
            let report = HclReport::parse(bytes)?;
            // The runtime data is bound by its digest, whatever it says.
            if report.binding() == good { Ok(()) } else { Err(E::Trailing { offset: usize::MAX }) }
        },
    );
}

#[test]
fn runtime_data_names_nothing_twice() {
    let parse = |text: &str| RuntimeData::parse(text.as_bytes());
    let key =
        |kid: &str| format!(r#"{{"kid":"{kid}","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"v5q3"}}"#);
    let with_keys = |keys: &str| format!(r#"{{"keys":[{keys}],"vm-configuration":{{}}}}"#);
    assert!(parse(&with_keys(&key("HCLAkPub"))).is_ok());
    let twice = with_keys(&format!("{},{}", key("HCLAkPub"), key("HCLAkPub")));
    assert_eq!(parse(&twice), Err(RuntimeDataError::DuplicateKey { id: "HCLAkPub".to_owned() }));
    for text in [
        r#"{"keys":[],"keys":[],"vm-configuration":{}}"#,
        r#"{"keys":[],"vm-configuration":{"a":true,"a":false}}"#,
        r#"{"keys":[],"vm-configuration":{},"x":1,"x":2}"#,
        r#"{"keys":[],"vm-configuration":{"a":{"b":1}}}"#,
        r#"{"keys":[]}"#,
        r#"{"keys":[],"vm-configuration":{}} "#.trim_end_matches(' ').trim_end_matches('}'),
    ] {
        assert!(matches!(parse(text), Err(RuntimeDataError::Json { .. })), "{text}");
    }
    let symmetric = with_keys(r#"{"kid":"x","key_ops":[],"kty":"oct","e":"","n":""}"#);
    assert!(matches!(parse(&symmetric), Err(RuntimeDataError::KeyKind { .. })));
    let zero = with_keys(r#"{"kid":"x","key_ops":[],"kty":"RSA","e":"AQAB","n":"AJqt"}"#);
    assert!(matches!(parse(&zero), Err(RuntimeDataError::KeyNumber { field: "n", .. })));
}

/// A document of AWS with small fields; the CBOR is written by hand so that each part is a field.
fn nitro_payload() -> Vec<Field> {
    let text = |text: &str| [&[0x60 + text.len() as u8][..], text.as_bytes()].concat();
    let entry = |name: &str, value: &[u8]| [&text(name)[..], value].concat();
    vec![
        ("map", vec![0xA6]),
        ("module_id", entry("module_id", &text("i-1"))),
        ("digest", entry("digest", &text("SHA384"))),
        ("timestamp", entry("timestamp", &[0x01])),
        ("pcrs", entry("pcrs", &[&[0xA1, 0x00, 0x58, 48][..], &[5; 48]].concat())),
        ("certificate", entry("certificate", &[0x41, 1])),
        ("cabundle", entry("cabundle", &[0x81, 0x41, 1])),
    ]
}

fn nitro_document(payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16).to_be_bytes();
    [&[0x84, 0x44, 0xA1, 0x01, 0x38, 0x22, 0xA0, 0x59][..], &len, payload, &[0x58, 96], &[3; 96]].concat()
}

#[test]
fn each_field_of_an_aws_document_has_its_own_refusal() {
    use DocumentError as E;
    let text = |text: &str| [&[0x60 + text.len() as u8][..], text.as_bytes()].concat();
    let entry = |name: &str, value: &[u8]| [&text(name)[..], value].concat();
    let size = |field, found, minimum, maximum| E::Size { field, found, minimum, maximum };
    check(
        &nitro_payload(),
        vec![
            ("map", vec![0xA5], E::Trailing { part: "payload", found: 12 }),
            ("module_id", entry("module_id", &text("")), size("module_id", 0, 1, 256)),
            ("digest", entry("digest", &text("SHA256")), E::Digest { found: "SHA256".to_owned() }),
            ("timestamp", entry("timestamp", &[0x20]), E::Payload { field: "timestamp", offset: 39 }),
            (
                "pcrs",
                entry("pcrs", &[&[0xA1, 0x18, 32, 0x58, 48][..], &[5; 48]].concat()),
                E::PcrIndex { found: 32 },
            ),
            ("certificate", entry("certificate", &[0x40]), size("certificate", 0, 1, 1024)),
            ("cabundle", entry("cabundle", &[0x80]), size("cabundle", 0, 1, 16)),
        ],
        |bytes| Document::parse(&nitro_document(bytes)).map(drop),
    );
    let good = nitro_document(&join(&nitro_payload()));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Document::parse(&bytes).expect_err("it is broken")
    };
    assert!(matches!(changed(0, 0x83), E::Cose { .. }));
    assert_eq!(changed(5, 0x21), E::Algorithm);
    assert_eq!(changed(6, 0xA1), E::Unprotected);
    assert_eq!(changed(good.len() - 97, 95), E::SignatureLength { found: 95 });
    let longer = [&good[..], &[0]].concat();
    assert_eq!(Document::parse(&longer), Err(E::Trailing { part: "signature", found: 1 }));
    let tagged = [&[0xD2][..], &good].concat();
    assert_eq!(Document::parse(&tagged).map(|document| document.module_id), Ok("i-1".to_owned()));
    let twice = with(&nitro_payload(), "timestamp", &entry("digest", &text("SHA384")));
    let error = Document::parse(&nitro_document(&twice));
    assert_eq!(error, Err(E::DuplicateField { field: "digest" }));
    let unknown = with(&nitro_payload(), "timestamp", &entry("other", &[0]));
    let error = Document::parse(&nitro_document(&unknown));
    assert_eq!(error, Err(E::UnknownField { found: "other".to_owned() }));
}

proptest! {
    /// Whatever the bytes: an answer, and no panic.
    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Attest::parse(&bytes);
        let _ = Public::parse(&bytes);
        let _ = Signature::parse(&bytes);
        let _ = HclReport::parse(&bytes);
        let _ = RuntimeData::parse(&bytes);
        let _ = Document::parse(&bytes);
        let _ = List::parse_ascii(&bytes);
        let _ = List::parse_binary(&bytes, HashAlgorithm::Sha256);
        for log in [EventLog::parse(&bytes), EventLog::parse_ccel(&bytes)].into_iter().flatten() {
            let _ = log.replay();
            log.events.iter().for_each(|event| drop((event.decode(), event.coverage())));
        }
    }

    /// One changed byte of something that is good.
    #[test]
    fn no_changed_byte_causes_a_panic(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let changed = |mut bytes: Vec<u8>| {
            let index = at.index(bytes.len());
            bytes[index] = byte;
            bytes
        };
        if let Ok(log) = EventLog::parse(&changed(join(&log_fields()))) {
            let _ = log.replay();
            log.events.iter().for_each(|event| drop((event.decode(), event.coverage())));
        }
        let _ = HclReport::parse(&changed(join(&hcl_fields()))).and_then(|report| report.runtime());
        let _ = Document::parse(&changed(nitro_document(&join(&nitro_payload()))));
        let _ = Entry::parse_ascii(&changed(join(&line()))).map(|entry| entry.check_template_hash());
    }
}
