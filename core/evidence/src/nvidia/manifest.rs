//! What should an NVIDIA device measure?
//!
//! A SWID tag (ISO/IEC 19770-2:2015) with one payload of golden measurements, and an XML signature around it
//! (W3C XML Signature 1.1, enveloped). Of the signature's many ways only the one that NVIDIA uses is read:
//! Canonical XML 1.1, SHA-384, ECDSA on P-384.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::xml::{self, Element, XmlError};
use crate::Measurement;
use crate::x509::{self, Certificate};

/// A manifest, well formed; nothing about its signature is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    tag_id: String,
    product: String,
    version: String,
    references: Vec<Reference>,
    signature: ManifestSignature,
}

/// What a measurement should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Index in the manifest, from 0; a report counts from 1.
    pub index: u8,
    /// Whether it is compared.
    pub active: bool,
    /// Any of these is good.
    pub values: Vec<Measurement>,
}

/// The parts of the signature, and the bytes that they cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSignature {
    /// Canonical form of the document without its signature; its SHA-384 is signed.
    pub document: Vec<u8>,
    /// SHA-384 of the document, as it is stated.
    pub digest: [u8; 48],
    /// Canonical form of the statement, which is signed.
    pub signed_info: Vec<u8>,
    /// ECDSA on P-384 over SHA-384: r, then s, big-endian.
    pub value: [u8; 96],
    /// The signer's certificate, and those above it.
    pub certificates: Vec<Certificate>,
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not text.
    #[error("the manifest is not UTF-8")]
    Encoding,
    /// Not XML as manifests are written.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// An element is missing, or another stands in its place.
    #[error("the manifest has no {expected} where it should be, or more than one")]
    Element {
        /// The element.
        expected: &'static str,
    },
    /// An attribute is missing.
    #[error("{element} has no attribute `{attribute}`")]
    Attribute {
        /// The element.
        element: &'static str,
        /// The attribute.
        attribute: &'static str,
    },
    /// Another algorithm than NVIDIA uses.
    #[error("{element} names algorithm {found:?}, expected {expected:?}")]
    Algorithm {
        /// The element.
        element: &'static str,
        /// Algorithm found.
        found: String,
        /// Algorithm expected.
        expected: &'static str,
    },
    /// A signature over something else than the whole document.
    #[error("the signature refers to {found:?}, expected the whole document")]
    ReferenceUri {
        /// What it refers to.
        found: String,
    },
    /// Not base64 of the right length.
    #[error("{element} is not base64 of {expected}")]
    Base64 {
        /// The element.
        element: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// A certificate cannot be read.
    #[error("certificate in the manifest: {0}")]
    Certificate(#[from] x509::Error),
    /// A golden measurement that Casemate does not understand whole.
    #[error("golden measurement {position}: {fault}")]
    Reference {
        /// Position in the payload, from 0.
        position: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Encoding)?;
        let root = xml::parse(text)?;
        if (root.namespace.as_str(), root.name.as_str()) != (SWID, "SoftwareIdentity") {
            return Err(ManifestError::Element { expected: "SoftwareIdentity" });
        }
        let (meta, payload) = (only(&root, SWID, "Meta")?, only(&root, SWID, "Payload")?);
        Ok(Self {
            tag_id: attribute(&root, "SoftwareIdentity", "tagId")?,
            product: attribute(meta, "Meta", "product")?,
            version: attribute(meta, "Meta", "colloquialVersion")?,
            references: read_references(payload)?,
            signature: read_signature(&root)?,
        })
    }

    /// Name of the document.
    pub fn tag_id(&self) -> &str {
        &self.tag_id
    }

    /// The chip, such as `GH100`.
    pub fn product(&self) -> &str {
        &self.product
    }

    /// The version that it describes: of a driver, or of a VBIOS.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What each measurement should be, in the order of the indices.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The signature and what it covers.
    pub fn signature(&self) -> &ManifestSignature {
        &self.signature
    }
}

fn read_references(payload: &Element) -> Result<Vec<Reference>, ManifestError> {
    let mut references: Vec<Reference> = Vec::new();
    for (position, element) in payload.elements().enumerate() {
        let wrong = |fault| ManifestError::Reference { position, fault };
        if (element.namespace.as_str(), element.name.as_str()) != (SWID, "Resource") {
            return Err(wrong("not a Resource"));
        }
        let reference = read_reference(element).map_err(wrong)?;
        if references.last().is_some_and(|last| last.index >= reference.index) {
            return Err(wrong("indices must ascend, each once"));
        }
        references.push(reference);
    }
    Ok(references)
}

fn read_reference(element: &Element) -> Result<Reference, &'static str> {
    let (mut index, mut active, mut alternatives) = (None, None, None);
    let mut values: Vec<(usize, Measurement)> = Vec::new();
    for found in &element.attributes {
        match (found.namespace.as_str(), found.name.as_str()) {
            ("", "type") if found.value == "Measurement" => {}
            ("", "size") if found.value == "48" => {}
            ("", "name") => {}
            ("", "index") => {
                index = Some(found.value.parse().map_err(|_| "`index` is not a number below 256")?)
            }
            ("", "alternatives") => {
                alternatives = Some(found.value.parse().map_err(|_| "`alternatives` is not a number")?);
            }
            ("", "active") => {
                active = Some(match found.value.as_str() {
                    "True" => true,
                    "False" => false,
                    _ => return Err("`active` is neither True nor False"),
                });
            }
            (SHA384, name) => {
                let number = name.strip_prefix("Hash").and_then(|digits| digits.parse().ok());
                values.push((
                    number.ok_or("a digest that is not named Hash and a number")?,
                    read_digest(&found.value)?,
                ));
            }
            _ => return Err("an attribute or value that Casemate does not know; update Casemate"),
        }
    }
    values.sort_by_key(|(number, _)| *number);
    if !values.iter().map(|(number, _)| *number).eq(0..values.len()) || values.is_empty() {
        return Err("digests must be named Hash0, Hash1 and so on");
    }
    if alternatives != Some(values.len()) {
        return Err("`alternatives` is not the number of digests");
    }
    Ok(Reference {
        index: index.ok_or("no `index`")?,
        active: active.ok_or("no `active`")?,
        values: values.into_iter().map(|(_, value)| value).collect(),
    })
}

fn read_digest(digits: &str) -> Result<Measurement, &'static str> {
    let bytes =
        casemate_canon::reexport::hex::decode(digits).map_err(|_| "a digest that is not hexadecimal")?;
    Measurement::try_from(bytes.as_slice()).map_err(|_| "a digest that is not of 48 bytes")
}

fn read_signature(root: &Element) -> Result<ManifestSignature, ManifestError> {
    let signature = only(root, DSIG, "Signature")?;
    let info = only(signature, DSIG, "SignedInfo")?;
    let reference = only(info, DSIG, "Reference")?;
    let uri = attribute(reference, "Reference", "URI")?;
    if !uri.is_empty() {
        return Err(ManifestError::ReferenceUri { found: uri });
    }
    check_algorithm(only(info, DSIG, "CanonicalizationMethod")?, "CanonicalizationMethod", C14N_1_1)?;
    check_algorithm(only(info, DSIG, "SignatureMethod")?, "SignatureMethod", ECDSA_SHA384)?;
    check_algorithm(only(reference, DSIG, "DigestMethod")?, "DigestMethod", DSIG_SHA384)?;
    let transforms: Vec<&Element> = only(reference, DSIG, "Transforms")?.elements().collect();
    let [enveloped, canonical] = transforms[..] else {
        return Err(ManifestError::Element { expected: "two Transforms" });
    };
    check_algorithm(enveloped, "Transform", ENVELOPED)?;
    check_algorithm(canonical, "Transform", C14N_1_1)?;
    let data = only(only(signature, DSIG, "KeyInfo")?, DSIG, "X509Data")?;
    let certificates = data.elements().map(read_certificate).collect::<Result<_, _>>()?;
    let is_signature = |element: &Element| element.namespace == DSIG && element.name == "Signature";
    Ok(ManifestSignature {
        document: root.canonical_without(is_signature),
        digest: base64(only(reference, DSIG, "DigestValue")?, "DigestValue", "48 bytes")?,
        signed_info: info.canonical_below(&[root, signature]),
        value: base64(only(signature, DSIG, "SignatureValue")?, "SignatureValue", "96 bytes")?,
        certificates,
    })
}

fn read_certificate(element: &Element) -> Result<Certificate, ManifestError> {
    if (element.namespace.as_str(), element.name.as_str()) != (DSIG, "X509Certificate") {
        return Err(ManifestError::Element { expected: "X509Certificate" });
    }
    let der = decode(element).ok_or(ManifestError::Base64 { element: "X509Certificate", expected: "DER" })?;
    Ok(Certificate::parse(&der)?)
}

fn check_algorithm(
    element: &Element,
    name: &'static str,
    expected: &'static str,
) -> Result<(), ManifestError> {
    let found = attribute(element, name, "Algorithm")?;
    if found == expected && element.children.is_empty() {
        Ok(())
    } else {
        Err(ManifestError::Algorithm { element: name, found, expected })
    }
}

fn base64<const LENGTH: usize>(
    element: &Element,
    name: &'static str,
    expected: &'static str,
) -> Result<[u8; LENGTH], ManifestError> {
    let bytes = decode(element).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(ManifestError::Base64 { element: name, expected })
}

fn decode(element: &Element) -> Option<Vec<u8>> {
    let text: String = element.text()?.split_ascii_whitespace().collect();
    STANDARD.decode(text).ok()
}

/// The one element of this name.
fn only<'a>(above: &'a Element, namespace: &str, name: &'static str) -> Result<&'a Element, ManifestError> {
    let mut found = above.elements().filter(|element| element.namespace == namespace && element.name == name);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(ManifestError::Element { expected: name }),
    }
}

fn attribute(
    element: &Element,
    name: &'static str,
    attribute: &'static str,
) -> Result<String, ManifestError> {
    let found = element.attribute(attribute).map(str::to_owned);
    found.ok_or(ManifestError::Attribute { element: name, attribute })
}

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const SHA384: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const C14N_1_1: &str = "http://www.w3.org/2006/12/xml-c14n11";
const DSIG_SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#sha384";
const ECDSA_SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
