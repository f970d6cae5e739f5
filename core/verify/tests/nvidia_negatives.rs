//! Each check of NVIDIA's evidence refuses what it should, by its own name: a device and a signer of
//! manifests made of software, of which one thing is changed at a time and signed anew.

#[path = "support/nvidia.rs"]
mod nvidia;
mod support;

use casemate_crypto::RustCrypto;
use casemate_crypto::hash::Sha256;
use casemate_evidence::nvidia::{
    BlockBuilder, Manifest, ManifestError as ManifestFormat, OpaqueError, Report, ReportBuilder,
    ReportError as Format, XmlError,
};
use casemate_evidence::x509::Certificate;
use casemate_verify::certificates::PathError;
use casemate_verify::nvidia::{
    ManifestError, MeasurementError, Mismatch, ReportError, authenticate_manifest, authenticate_report,
    compare, nonce_for,
};
use casemate_verify::signature::SignatureError;
use der::asn1::ObjectIdentifier;
use nvidia::{DICE, Device, FIRMWARE, Golden, Refusal, change, dice, dice_tcb_info, nonce, resource, roots};
use p384::ecdsa::SigningKey;
use support::fields::fields;
use support::{BASIC_CONSTRAINTS, DAY_MS, KEY_USAGE, NOW_MS, Rsa};

#[test]
fn each_field_of_a_report_is_looked_at() {
    let good = Device::new();
    assert_eq!(good.refusal(), None);
    let format = |error| Some(Refusal::Format(error));
    for field in fields!(ReportBuilder {
        request_version,
        request_code,
        attributes,
        operation,
        nonce,
        slot,
        response_version,
        response_code,
        response_parameters,
        count,
        record_length,
        blocks,
        device_nonce,
        opaque_length,
        opaque
    }) {
        let mut device = good.clone();
        let report = &mut device.report;
        let expected = match field {
            "request_version" => {
                report.request_version = 0x12;
                format(Format::Version { message: "request", found: 0x12 })
            }
            "request_code" => {
                report.request_code = 0xE1;
                format(Format::Code { message: "request", found: 0xE1, expected: 0xE0 })
            }
            "attributes" => {
                report.attributes = 0;
                format(Format::NotSigned { found: 0 })
            }
            "operation" => {
                report.operation = 1;
                format(Format::NotAll { found: 1 })
            }
            "nonce" => {
                report.nonce = [9; 32];
                Some(Refusal::Genuine(ReportError::Nonce { found: [9; 32].into(), expected: nonce() }))
            }
            "slot" => {
                report.slot = 8;
                format(Format::Slot { found: 8 })
            }
            "response_version" => {
                report.response_version = 0x10;
                format(Format::Version { message: "response", found: 0x10 })
            }
            "response_code" => {
                report.response_code = 0x7F;
                format(Format::Code { message: "response", found: 0x7F, expected: 0x60 })
            }
            "response_parameters" => {
                report.response_parameters = [0, 1];
                format(Format::Parameters { found: [0, 1], slot: 0 })
            }
            "count" => {
                report.count = Some(39);
                format(Format::Count { stated: 39, found: 40 })
            }
            "record_length" => {
                report.record_length = Some(40 * 55 - 1);
                let last = casemate_evidence::Truncated { offset: 39 * 55 + 7, needed: 48, left: 47 };
                format(Format::Truncated(last))
            }
            "blocks" => {
                report.blocks.swap(0, 1);
                format(Format::Order { found: 1, previous: 2 })
            }
            // The device's own choice: anything is as good, as long as it signs it.
            "device_nonce" => {
                report.device_nonce = [0; 32];
                None
            }
            "opaque_length" => {
                report.opaque_length = Some(u16::MAX);
                let found = device.refusal();
                assert!(matches!(found, Some(Refusal::Format(Format::Truncated(_)))), "{found:?}");
                continue;
            }
            "opaque" => {
                let twice = report.opaque[0].clone();
                report.opaque.push(twice);
                format(Format::Opaque(OpaqueError::Duplicate { kind: 3 }))
            }
            other => panic!("field {other} has no row"),
        };
        assert_eq!(device.refusal(), expected, "{field}");
    }
}

#[test]
fn each_field_of_a_measurement_is_looked_at() {
    for field in fields!(BlockBuilder { index, specification, block_length, kind, value_length, value }) {
        let mut device = Device::new();
        let block = &mut device.report.blocks[0];
        let expected = match field {
            "index" => {
                block.index = 0;
                Some(Format::Order { found: 0, previous: 0 })
            }
            "specification" => {
                block.specification = 2;
                Some(Format::Specification { index: 1, found: 2 })
            }
            "block_length" => {
                block.block_length = 50;
                Some(Format::Length { index: 1, block: 50, value: 48 })
            }
            "kind" => {
                block.kind = 0x81;
                Some(Format::Kind { index: 1, found: 0x81 })
            }
            "value_length" => {
                block.value_length = 32;
                Some(Format::Length { index: 1, block: 51, value: 32 })
            }
            // Compared with manifests: below.
            "value" => {
                block.value = [0; 48].into();
                None
            }
            other => panic!("field {other} has no row"),
        };
        assert_eq!(device.refusal(), expected.map(Refusal::Format), "{field}");
    }
}

#[test]
fn fields_of_nvidia_have_their_forms() {
    for (kind, value, expected) in [
        (3, &b"550\x01"[..], "ASCII and zeros"),
        (3, b"550\x00x", "ASCII and zeros"),
        (6, &[1, 2, 3], "5 bytes and 3 zeros, or ASCII"),
        (11, &[0x56], "one byte, 55 or AA"),
        (15, b"\xFF", "ASCII and zeros"),
        (17, b"\n", "ASCII and zeros"),
        (18, b" ", "ASCII and zeros"),
        (20, &[1; 47], "48 bytes"),
    ] {
        let mut device = Device::new();
        device.report.opaque.retain(|(found, _)| *found != kind);
        device.report.opaque.push((kind, value.to_vec()));
        let form = OpaqueError::Form { kind, found: value.len(), expected };
        assert_eq!(device.refusal(), Some(Refusal::Format(Format::Opaque(form))), "{kind}");
    }
    let genuine = Device::new().judge().expect("genuine");
    let opaque = genuine.report().opaque();
    assert_eq!(opaque.vbios_version().as_deref(), Some("96.00.9F.00.01"));
    assert_eq!(opaque.board(), Some(["1010", "0200", "882"].map(str::to_owned)));
}

#[test]
fn reports_end_where_they_end() {
    let bytes = Device::new().bytes();
    for length in 0..bytes.len() {
        assert!(Report::parse(&bytes[..length]).is_err(), "cut to {length} bytes");
    }
    let with = |tail: &[u8]| Report::parse(&[&bytes, tail].concat());
    assert_eq!(with(&[0]).expect("a text of C").as_bytes(), bytes);
    assert_eq!(with(&[1]), Err(Format::Trailing { found: 1 }));
    assert_eq!(with(&[0, 0]), Err(Format::Trailing { found: 2 }));
    let long = vec![0; Report::MAXIMUM_LEN + 1];
    assert_eq!(Report::parse(&long), Err(Format::TooLong { found: long.len() }));
}

#[test]
fn only_a_device_of_nvidia_s_is_genuine() {
    let genuine = |error| Some(Refusal::Genuine(error));
    let mut other_key = Device::new();
    other_key.signer = SigningKey::from_slice(&[0x33; 48]).expect("a key");
    assert_eq!(other_key.refusal(), genuine(ReportError::Signature(SignatureError::Mismatch)));

    let mut other_firmware = Device::new();
    other_firmware.tee.leaf.extensions[1].2 = dice(&[0xF2; 48]);
    let (found, certified) = (Box::new(FIRMWARE), Some(Box::new([0xF2; 48])));
    assert_eq!(other_firmware.refusal(), genuine(ReportError::FirmwareId { found, certified }));
    let mut unstated = Device::new();
    unstated.tee.leaf.extensions.pop();
    let found = Box::new(FIRMWARE);
    let none = genuine(ReportError::FirmwareId { found, certified: None });
    assert_eq!(unstated.refusal(), none);
    // Blackwell's number and form; one in the form of the other, both at once, and another hash are none.
    let tcb_info = ObjectIdentifier::new_unwrap("2.23.133.5.4.1.1");
    let with = |extensions: &[(ObjectIdentifier, Vec<u8>)]| {
        let mut device = unstated.clone();
        let extensions = extensions.iter().map(|(id, content)| (*id, false, content.clone()));
        device.tee.leaf.extensions.extend(extensions);
        device.refusal()
    };
    assert_eq!(with(&[(tcb_info, dice_tcb_info(&FIRMWARE))]), None);
    assert_eq!(with(&[(tcb_info, dice(&FIRMWARE))]), none);
    assert_eq!(with(&[(DICE, dice_tcb_info(&FIRMWARE))]), none);
    assert_eq!(with(&[(DICE, dice(&FIRMWARE)), (tcb_info, dice_tcb_info(&FIRMWARE))]), none);
    let mut other_hash = dice(&FIRMWARE);
    let at = other_hash.len() - 51;
    other_hash[at] = 1;
    assert_eq!(with(&[(DICE, other_hash)]), none);

    for extensions in [
        vec![(BASIC_CONSTRAINTS, true, vec![0x30, 3, 1, 1, 0xFF]), (KEY_USAGE, true, vec![3, 2, 7, 0x80])],
        vec![(KEY_USAGE, true, vec![3, 2, 2, 4])],
        Vec::new(),
    ] {
        let mut no_device = Device::new();
        no_device.tee.leaf.extensions = extensions;
        let name = no_device.tee.leaf.subject.clone();
        assert_eq!(no_device.refusal(), genuine(ReportError::NotDevice { name }));
    }

    let mut forged = Device::new();
    forged.tee.leaf.signer = Rsa::Other;
    let depth = 0;
    let source = SignatureError::Mismatch;
    assert_eq!(forged.refusal(), genuine(ReportError::Path(PathError::Signature { depth, source })));
    let mut old = Device::new();
    old.tee.leaf.not_after_ms = NOW_MS - DAY_MS;
    let not_after_ms = NOW_MS - DAY_MS;
    let expired = PathError::Expired { depth, not_after_ms, now_ms: NOW_MS };
    assert_eq!(old.refusal(), genuine(ReportError::Path(expired)));

    let device = Device::new();
    let report = Report::parse(&device.bytes()).expect("well formed");
    let judge = |chain: &[Certificate], roots: &[Sha256]| {
        authenticate_report(report.clone(), chain, roots, NOW_MS, &RustCrypto).map(drop)
    };
    assert_eq!(judge(&[], &roots(&device.tee)), Err(ReportError::NoCertificates));
    let stranger = judge(&device.chain(), &casemate_verify::nvidia::DEVICE_ROOTS);
    assert!(matches!(stranger, Err(ReportError::Path(PathError::UntrustedRoot { .. }))), "{stranger:?}");
    let mut rsa = device.chain();
    rsa[0] = Certificate::parse(&{
        let mut leaf = device.tee.leaf.clone();
        leaf.public_key = device.tee.intermediate.public_key.clone();
        leaf.to_der()
    })
    .expect("a certificate");
    assert_eq!(judge(&rsa, &roots(&device.tee)), Err(ReportError::KeyKind));
}

#[test]
fn the_nonce_binds_a_device_to_one_report_of_the_cpu() {
    // docs/reference/nvidia.md
    assert_eq!(nonce_for(&[0; 64]).to_string(), WORKED_NONCE);
    assert_ne!(nonce_for(&[0; 64]), nonce_for(&[1; 64]));
    let genuine = Device::new().judge().expect("genuine");
    let other = nonce_for(&[0x78; 64]);
    assert_eq!(genuine.check_nonce(&other), Err(ReportError::Nonce { found: nonce(), expected: other }));
}

const WORKED_NONCE: &str = "fa4c139713bf549e2ecb1d000a76439f356033c83fab530dc74aba94748a84b5";

#[test]
fn a_device_with_golden_measurements_is_accepted_and_any_other_named() {
    let device = Device::new();
    let genuine = device.judge().expect("genuine");
    let (driver, vbios) = (Golden::driver(), Golden::vbios());
    let judge = |golden: &Golden| golden.judge().expect("genuine");
    assert_eq!(compare(&genuine, Some(&judge(&driver)), &judge(&vbios), &[]), Ok(26));

    let mut changed = device.clone();
    changed.report.blocks[3].value = [0xBB; 48].into();
    changed.report.blocks[10].value = [0xBB; 48].into(); // of index 10: not compared
    let changed = changed.judge().expect("genuine all the same");
    let mismatch = Mismatch {
        index: 3,
        found: Some([0xBB; 48].into()),
        expected: vec![[0xEE; 48].into(), [4; 48].into()],
    };
    let found = compare(&changed, Some(&judge(&driver)), &judge(&vbios), &[]);
    assert_eq!(found, Err(MeasurementError::Mismatch { mismatches: vec![mismatch] }));

    assert_eq!(compare(&changed, Some(&judge(&driver)), &judge(&vbios), &[3]), Ok(25));

    let mut fewer = device.clone();
    fewer.report.blocks.truncate(35);
    let fewer = fewer.judge().expect("genuine all the same");
    let missing = Mismatch { index: 35, found: None, expected: vec![[36; 48].into()] };
    let found = compare(&fewer, Some(&judge(&driver)), &judge(&vbios), &[]);
    assert_eq!(found, Err(MeasurementError::Mismatch { mismatches: vec![missing] }));
    // The video decoder is not measured while it is off; nothing else is excused by that.
    let mut off = device.clone();
    off.report.blocks.truncate(35);
    off.report.opaque[2].1 = vec![0x55];
    let off = off.judge().expect("genuine");
    assert_eq!(compare(&off, Some(&judge(&driver)), &judge(&vbios), &[]), Ok(25));

    let (driver_version, text) = (Some("550.90.07".to_owned()), |text: &str| Some(text.to_owned()));
    let mut other = driver.clone();
    other.version = "550.90.08".to_owned();
    let found = compare(&genuine, Some(&judge(&other)), &judge(&vbios), &[]);
    let expected = MeasurementError::Driver { found: driver_version.clone(), manifest: text("550.90.08") };
    assert_eq!(found, Err(expected));
    let found = compare(&genuine, None, &judge(&vbios), &[]);
    assert_eq!(found, Err(MeasurementError::Driver { found: driver_version, manifest: None }));
    let mut other = vbios.clone();
    other.version = "96.00.9F.00.02".to_owned();
    let found = compare(&genuine, Some(&judge(&driver)), &judge(&other), &[]);
    let expected =
        MeasurementError::Vbios { found: text("96.00.9F.00.01"), manifest: "96.00.9F.00.02".to_owned() };
    assert_eq!(found, Err(expected));
    let mut other = vbios.clone();
    other.product = "GB100".to_owned();
    let found = compare(&genuine, Some(&judge(&driver)), &judge(&other), &[]);
    let expected = MeasurementError::OtherProduct { driver: "GH100".to_owned(), vbios: "GB100".to_owned() };
    assert_eq!(found, Err(expected));
    let mut both = vbios.clone();
    both.resources.insert(0, resource(9, true, &[[10; 48]]));
    let found = compare(&genuine, Some(&judge(&driver)), &judge(&both), &[]);
    assert_eq!(found, Err(MeasurementError::Overlap { index: 9 }));

    // A switch has no driver, and a manifest of one is not for it.
    let mut switch = device;
    switch.report.opaque.remove(0);
    let switch = switch.judge().expect("genuine");
    assert_eq!(compare(&switch, None, &judge(&vbios), &[]), Ok(16));
    let found = compare(&switch, Some(&judge(&driver)), &judge(&vbios), &[]);
    assert_eq!(found, Err(MeasurementError::Driver { found: None, manifest: text("550.90.07") }));
}

#[test]
fn a_manifest_counts_only_as_nvidia_signed_it() {
    let good = Golden::driver();
    good.judge().expect("genuine");
    let after = |from, to| {
        let mut golden = good.clone();
        golden.after = vec![(from, to)];
        golden.judge().map(drop)
    };
    // A golden value, whether it is compared, the version, the name, and even white space.
    for (from, to) in [
        ("index=\"0\" active=\"True\"", "index=\"0\" active=\"False\""),
        ("h:Hash0=\"ee", "h:Hash0=\"ef"),
        ("colloquialVersion=\"550.90.07\"", "colloquialVersion=\"550.90.08\""),
        ("tagId=\"a1\"", "tagId=\"a2\""),
        ("\n  <Meta", "\n <Meta"),
    ] {
        let found = after(from, to);
        assert!(matches!(found, Err(ManifestError::Digest { .. })), "{from}: {found:?}");
    }
    // The same document in other words is the same document.
    assert_eq!(after("tagId=\"a1\" name=\"GH100\"", "name=\"GH100\"   tagId = \"a1\""), Ok(()));
    // What the signature states of itself.
    assert_eq!(
        after("<SignedInfo><Canon", "<SignedInfo> <Canon"),
        Err(ManifestError::Signature(SignatureError::Mismatch))
    );

    let changed = |change: fn(&mut Golden)| {
        let mut golden = good.clone();
        change(&mut golden);
        golden.judge().map(drop)
    };
    let mismatch = ManifestError::Signature(SignatureError::Mismatch);
    let stranger = |golden: &mut Golden| golden.signer = SigningKey::from_slice(&[0x33; 48]).expect("a key");
    assert_eq!(changed(stranger), Err(mismatch));
    let forged = changed(|golden| golden.tee.leaf.signer = Rsa::Other);
    assert!(matches!(forged, Err(ManifestError::Path(PathError::Signature { .. }))), "{forged:?}");
    let expired = changed(|golden| golden.tee.leaf.not_after_ms = NOW_MS - DAY_MS);
    assert!(matches!(expired, Err(ManifestError::Path(PathError::Expired { .. }))), "{expired:?}");
    let authority = changed(|golden| golden.tee.leaf.extensions[0].2 = vec![3, 2, 2, 4]);
    assert!(matches!(authority, Err(ManifestError::NotSigner { .. })), "{authority:?}");
    let rsa = changed(|golden| golden.tee.leaf.public_key = golden.tee.root.public_key.clone());
    assert_eq!(rsa, Err(ManifestError::KeyKind));
    let text = good.signed().expect("well formed");
    let manifest = Manifest::parse(text.as_bytes()).expect("well formed");
    let foreign =
        authenticate_manifest(manifest, &casemate_verify::nvidia::MANIFEST_ROOTS, NOW_MS, &RustCrypto);
    assert!(
        matches!(foreign, Err(ManifestError::Path(PathError::UntrustedRoot { .. }))),
        "{:?}",
        foreign.map(drop)
    );
}

#[test]
fn manifests_are_closed() {
    use ManifestFormat as F;
    let algorithm = |element: &'static str| move |error: &F| matches!(error, F::Algorithm { element: found, .. } if *found == element);
    let fault = |text: &'static str| move |error: &F| matches!(error, F::Reference { fault, .. } if fault.starts_with(text));
    let missing = |element: &'static str| move |error: &F| matches!(error, F::Element { expected } if *expected == element);
    type Row = (&'static str, &'static str, Box<dyn Fn(&F) -> bool>);
    let rows: Vec<Row> = vec![
        ("/schema.xsd\"", "/schema.xsd2\"", Box::new(missing("SoftwareIdentity"))),
        ("<Meta ", "<Meta2 ", Box::new(missing("Meta"))),
        ("<Payload>", "<Payload/><Payload>", Box::new(missing("Payload"))),
        (" tagId=\"a1\"", "", Box::new(|error| matches!(error, F::Attribute { attribute: "tagId", .. }))),
        (
            " product=\"GH100\"",
            "",
            Box::new(|error| matches!(error, F::Attribute { attribute: "product", .. })),
        ),
        (
            "xml-c14n11\"/><SignatureMethod",
            "xml-c14n\"/><SignatureMethod",
            Box::new(algorithm("CanonicalizationMethod")),
        ),
        ("#ecdsa-sha384", "#ecdsa-sha256", Box::new(algorithm("SignatureMethod"))),
        (
            "xmldsig-more#sha384\"/><DigestValue",
            "xmlenc#sha384\"/><DigestValue",
            Box::new(algorithm("DigestMethod")),
        ),
        ("#enveloped-signature", "#base64", Box::new(algorithm("Transform"))),
        ("<Transforms>", "<Transforms><Transform Algorithm=\"x\"/>", Box::new(missing("two Transforms"))),
        (
            "URI=\"\"",
            "URI=\"#x\"",
            Box::new(|error| matches!(error, F::ReferenceUri { found } if found == "#x")),
        ),
        (
            "<DigestValue>",
            "<DigestValue>AAAA",
            Box::new(|error| matches!(error, F::Base64 { element: "DigestValue", .. })),
        ),
        (
            "<SignatureValue>",
            "<SignatureValue>!",
            Box::new(|error| matches!(error, F::Base64 { element: "SignatureValue", .. })),
        ),
        (
            "<X509Certificate>",
            "<X509Certificate>!",
            Box::new(|error| matches!(error, F::Base64 { element: "X509Certificate", .. })),
        ),
        (
            "<X509Certificate>",
            "<X509Certificate>AAAA</X509Certificate><X509Certificate>",
            Box::new(|error| matches!(error, F::Certificate(_))),
        ),
        ("<X509Data>", "<X509Data><X509CRL/>", Box::new(missing("X509Certificate"))),
        ("</SignedInfo>", "</SignedInfo><SignedInfo/>", Box::new(missing("SignedInfo"))),
        ("index=\"1\"", "index=\"0\"", Box::new(fault("indices must ascend"))),
        ("index=\"1\"", "index=\"256\"", Box::new(fault("`index`"))),
        (" index=\"1\"", "", Box::new(fault("no `index`"))),
        (" active=\"True\"", "", Box::new(fault("no `active`"))),
        ("active=\"True\"", "active=\"true\"", Box::new(fault("`active`"))),
        ("alternatives=\"2\"", "alternatives=\"1\"", Box::new(fault("`alternatives` is not the number"))),
        ("h:Hash1", "h:Hash2", Box::new(fault("digests must be named"))),
        ("h:Hash1", "h:Sum1", Box::new(fault("a digest that is not named"))),
        ("h:Hash0=\"ee", "h:Hash0=\"", Box::new(fault("a digest that is not of 48"))),
        ("h:Hash0=\"ee", "h:Hash0=\"zz", Box::new(fault("a digest that is not hex"))),
        ("type=\"Measurement\"", "type=\"Other\"", Box::new(fault("an attribute or value"))),
        ("size=\"48\"", "size=\"32\"", Box::new(fault("an attribute or value"))),
        ("size=\"48\"", "size=\"48\" more=\"1\"", Box::new(fault("an attribute or value"))),
        ("<Payload>", "<Payload><File/>", Box::new(fault("not a Resource"))),
        (
            "<SoftwareIdentity",
            "<?xml version=\"1.0\"?><SoftwareIdentity",
            Box::new(|error| matches!(error, F::Xml(XmlError::Refused { .. }))),
        ),
    ];
    let good = Golden::driver().signed().expect("well formed");
    Manifest::parse(good.as_bytes()).expect("well formed");
    for (from, to, expected) in rows {
        let changed = change(good.clone(), &[(from, to)]);
        let error = Manifest::parse(changed.as_bytes()).expect_err(from);
        assert!(expected(&error), "{from} to {to}: {error:?}");
    }
    assert_eq!(Manifest::parse(&[0xFF]), Err(F::Encoding));
}
