//! A device of NVIDIA's and a signer of manifests made of software, for tests: one thing is changed at a time
//! and signed anew. Beside `mod support`.
#![allow(dead_code)] // each test file uses its part

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_crypto::RustCrypto;
use casemate_crypto::hash::{Sha256, sha384};
use casemate_evidence::Measurement;
use casemate_evidence::bundle::NvidiaDevice;
use casemate_evidence::nvidia::{
    Manifest, ManifestError as ManifestFormat, Report, ReportBuilder, ReportError as Format,
};
use casemate_evidence::snp::Product;
use casemate_evidence::x509::Certificate;
use casemate_verify::nvidia::{
    GenuineManifest, GenuineReport, ManifestError, ReportError, authenticate_manifest, authenticate_report,
    nonce_for,
};
use der::asn1::ObjectIdentifier;
use p384::ecdsa::SigningKey;
use p384::ecdsa::signature::Signer as _;

use crate::support::{CertificateParts, KEY_USAGE, NOW_MS, Rsa, Tee, rsa_spki, tagged};

pub const FIRMWARE: [u8; 48] = [0xF1; 48];
pub const DICE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1");

/// What the device should be asked.
pub fn nonce() -> Sha256 {
    nonce_for(&[0x77; 64])
}

/// A device, its certificates, and what it answers.
#[derive(Clone)]
pub struct Device {
    pub tee: Tee,
    pub report: ReportBuilder,
    pub signer: SigningKey,
}

/// Why it was not accepted.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    Format(Format),
    Genuine(ReportError),
}

impl Device {
    pub fn new() -> Self {
        let measurements: Vec<Measurement> = (1..=40).map(|byte| [byte; 48].into()).collect();
        let mut report = ReportBuilder::new(*nonce().as_bytes(), &measurements);
        report.opaque = vec![
            (3, b"550.90.07\0".to_vec()),
            (6, vec![0, 0x9F, 0, 0x96, 1, 0, 0, 0]),
            (11, vec![0xAA]),
            (15, b"882\0".to_vec()),
            (17, b"1010\0".to_vec()),
            (18, b"0200\0".to_vec()),
            (20, FIRMWARE.to_vec()),
        ];
        let mut tee = Tee::new(Product::Genoa);
        make_leaf(&mut tee.leaf);
        name_chip(&mut tee, "GH100");
        tee.leaf.extensions.push((DICE, false, dice(&FIRMWARE)));
        let signer = tee.leaf_key.clone();
        Self { tee, report, signer }
    }

    pub fn chain(&self) -> Vec<Certificate> {
        [&self.tee.leaf, &self.tee.intermediate, &self.tee.root]
            .map(|parts| Certificate::parse(&parts.to_der()).expect("a certificate"))
            .to_vec()
    }

    pub fn item(&self) -> NvidiaDevice {
        let certificates = self.chain().iter().map(|one| one.as_der().to_vec().into()).collect();
        NvidiaDevice { report: self.bytes().into(), certificates }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.report.finish(&sign(&self.signer, &self.report.signed_bytes()))
    }

    pub fn judge(&self) -> Result<GenuineReport, Refusal> {
        let report = Report::parse(&self.bytes()).map_err(Refusal::Format)?;
        let genuine = authenticate_report(report, &self.chain(), &roots(&self.tee), NOW_MS, &RustCrypto)
            .map_err(Refusal::Genuine)?;
        genuine.check_nonce(&nonce()).map_err(Refusal::Genuine)?;
        Ok(genuine)
    }

    pub fn refusal(&self) -> Option<Refusal> {
        self.judge().err()
    }
}

/// A second GPU: another chip, whose own key signs another leaf.
pub fn other_chip() -> Device {
    let mut device = Device::new();
    device.tee.leaf.signer = Rsa::Other;
    device.tee.intermediate.public_key = rsa_spki(Rsa::Other);
    device
}

/// A switch, and the manifest of its VBIOS.
pub fn switch() -> (Device, Golden) {
    let mut device = other_chip();
    name_chip(&mut device.tee, "LS_10");
    device.report.opaque.retain(|(kind, _)| *kind != 3);
    let mut golden = Golden::vbios();
    golden.product = "LS10".to_owned();
    (device, golden)
}

/// A chip's own certificate, and that of its firmware.
pub fn name_chip(tee: &mut Tee, chip: &str) {
    tee.intermediate.subject = format!("{chip} A01 GSP BROM");
    tee.leaf.issuer.clone_from(&tee.intermediate.subject);
    tee.leaf.subject = format!("{chip} A01 GSP FMC LF");
}

/// A leaf that may sign data and has no extension of AMD's.
pub fn make_leaf(parts: &mut CertificateParts) {
    // Key usage: digital signature (RFC 5280 §4.2.1.3).
    parts.extensions = vec![(KEY_USAGE, true, vec![3, 2, 7, 0x80])];
}

/// As Hopper writes it: version, key (here none), and the digest.
pub fn dice(digest: &[u8; 48]) -> Vec<u8> {
    tagged(0x30, &[vec![2, 1, 1], tagged(0x30, &[]), firmware_id(digest)].concat())
}

/// As Blackwell writes it: a vendor, then a list of digests of which the first counts.
pub fn dice_tcb_info(digest: &[u8; 48]) -> Vec<u8> {
    let ids = [firmware_id(digest), firmware_id(&[0; 48])].concat();
    tagged(0x30, &[tagged(0x80, b"NVIDIA"), tagged(0xA6, &ids)].concat())
}

pub fn firmware_id(digest: &[u8; 48]) -> Vec<u8> {
    let sha384 = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
    tagged(0x30, &[&sha384[..], &tagged(4, digest)].concat())
}

pub fn roots(tee: &Tee) -> [Sha256; 1] {
    [Certificate::parse(&tee.root.to_der()).expect("a certificate").public_key_digest()]
}

pub fn sign(key: &SigningKey, message: &[u8]) -> [u8; 96] {
    let signature: p384::ecdsa::Signature = key.sign(message);
    signature.to_bytes().as_slice().try_into().expect("96 bytes")
}

/// A manifest of a driver or a VBIOS, and who signs it.
#[derive(Clone)]
pub struct Golden {
    pub tee: Tee,
    pub signer: SigningKey,
    pub product: String,
    pub version: String,
    /// Lines of the payload.
    pub resources: Vec<String>,
    /// What is changed in the text before it is signed.
    pub before: Vec<(&'static str, &'static str)>,
    /// What is changed afterwards.
    pub after: Vec<(&'static str, &'static str)>,
}

pub fn resource(index: u8, active: bool, values: &[[u8; 48]]) -> String {
    let digits = |value: &[u8; 48]| value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hashes: String =
        values.iter().enumerate().map(|(n, value)| format!(" h:Hash{n}=\"{}\"", digits(value))).collect();
    let active = if active { "True" } else { "False" };
    format!(
        r#"<Resource type="Measurement" index="{index}" active="{active}" alternatives="{}"{hashes} name="M" size="48"/>"#,
        values.len()
    )
}

impl Golden {
    pub fn new(version: &str, resources: Vec<String>) -> Self {
        let mut tee = Tee::new(Product::Genoa);
        make_leaf(&mut tee.leaf);
        let signer = tee.leaf_key.clone();
        let (product, version) = ("GH100".to_owned(), version.to_owned());
        Self { tee, signer, product, version, resources, before: Vec::new(), after: Vec::new() }
    }

    /// Measurements 0 to 9, and one that is not compared.
    pub fn driver() -> Self {
        let mut resources: Vec<String> =
            (0..10).map(|index| resource(index, true, &[[0xEE; 48], [index + 1; 48]])).collect();
        resources.push(resource(10, false, &[[0; 48]]));
        Self::new("550.90.07", resources)
    }

    /// Measurements 20 to 35.
    pub fn vbios() -> Self {
        Self::new("96.00.9F.00.01", (20..36).map(|index| resource(index, true, &[[index + 1; 48]])).collect())
    }

    pub fn text(&self, digest: &[u8; 48], value: &[u8; 96]) -> String {
        let certificates: String = [&self.tee.leaf, &self.tee.intermediate, &self.tee.root]
            .iter()
            .map(|parts| format!("<X509Certificate>{}</X509Certificate>", STANDARD.encode(parts.to_der())))
            .collect();
        let (digest, value) = (STANDARD.encode(digest), STANDARD.encode(value));
        let (product, version, resources) = (&self.product, &self.version, self.resources.join("\n  "));
        let text = format!(
            r##"<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:h="http://www.w3.org/2001/04/xmlenc#sha384" tagId="a1" name="{product}">
  <Meta product="{product}" colloquialVersion="{version}"/>
  <Payload>{resources}</Payload>
<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo><CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"/><SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"/><Reference URI=""><Transforms><Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/><Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/></Transforms><DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"/><DigestValue>{digest}</DigestValue></Reference></SignedInfo><SignatureValue>{value}</SignatureValue><KeyInfo><X509Data>{certificates}</X509Data></KeyInfo></Signature></SoftwareIdentity>
"##
        );
        change(text, &self.before)
    }

    pub fn signed(&self) -> Result<String, ManifestFormat> {
        let unsigned = Manifest::parse(self.text(&[0; 48], &[0; 96]).as_bytes())?;
        let digest = *sha384(&unsigned.signature().document).as_bytes();
        let stated = Manifest::parse(self.text(&digest, &[0; 96]).as_bytes())?;
        let value = sign(&self.signer, &stated.signature().signed_info);
        Ok(change(self.text(&digest, &value), &self.after))
    }

    /// The signed document.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.signed().expect("well formed").into_bytes()
    }

    pub fn judge(&self) -> Result<GenuineManifest, ManifestError> {
        let text = self.signed().expect("well formed");
        let manifest = Manifest::parse(text.as_bytes()).expect("well formed");
        authenticate_manifest(manifest, &roots(&self.tee), NOW_MS, &RustCrypto)
    }
}

pub fn change(text: String, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not there");
        text.replacen(from, to, 1)
    })
}
