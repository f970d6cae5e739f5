//! What does the certificate of a report's signing key say about chip and firmware?
//!
//! Source: AMD 57230 §3.1, the extensions of VCEK and VLEK certificates.

use der::oid::ObjectIdentifier;
use der::{Decode as _, Encode as _};

use super::bits::SigningKeyKind;
use super::product::Product;
use super::tcb::TcbVersion;
use crate::ChipId;
use crate::x509::{Certificate, PublicKey};
use casemate_crypto::P384PublicKey;

/// A VCEK or VLEK certificate's statements; nothing about its signature is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    kind: SigningKeyKind,
    structure_version: u8,
    product_name: String,
    product: Product,
    tcb: TcbVersion,
    hardware_id: Option<HardwareId>,
    provider: Option<String>,
    public_key: P384PublicKey,
}

/// The chip that a VCEK belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardwareId {
    /// 64 bytes: Milan and Genoa.
    Long([u8; 64]),
    /// 8 bytes: Turin.
    Short([u8; 8]),
}

/// Why a certificate is no VCEK or VLEK certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// An extension that every leaf of this kind and product has is absent.
    #[error("the certificate has no {name} extension; is it a VCEK or VLEK certificate?")]
    Missing {
        /// AMD's name of the extension.
        name: &'static str,
    },
    /// An extension has another encoding than AMD specifies.
    #[error("the {name} extension has an unexpected encoding (AMD 57230 section 3.1)")]
    Encoding {
        /// AMD's name of the extension.
        name: &'static str,
    },
    /// An extension below AMD's arc, or a critical one, that this version does not know.
    #[error("unknown extension {found}; it may state something that matters: update Casemate")]
    Unknown {
        /// The extension.
        found: ObjectIdentifier,
    },
    /// An extension that this product does not have.
    #[error("the {name} extension does not belong in a {product} certificate")]
    Unexpected {
        /// AMD's name of the extension.
        name: &'static str,
        /// The certificate's product.
        product: Product,
    },
    /// A product that this version does not know.
    #[error("unknown product {found:?}; expected Milan, Genoa or Turin, with or without a stepping")]
    UnknownProduct {
        /// The productName extension.
        found: String,
    },
    /// The subject is named neither SEV-VCEK nor SEV-VLEK, or contradicts the extensions.
    #[error("subject {found:?} with the extensions of a {kind}", kind = kind.name())]
    Subject {
        /// The subject's common name.
        found: String,
        /// What the extensions describe.
        kind: SigningKeyKind,
    },
    /// The key is not on P-384.
    #[error("the certified key is not a P-384 key")]
    KeyKind,
    /// A leaf that claims to be an authority.
    #[error("the certificate lets its subject issue certificates; a VCEK or VLEK never may")]
    Authority,
}

impl Leaf {
    /// Reads the extensions of a VCEK or VLEK certificate.
    ///
    /// # Errors
    /// [`LeafError`].
    pub fn read(certificate: &Certificate) -> Result<Self, LeafError> {
        if certificate.may_sign_certificates() {
            return Err(LeafError::Authority);
        }
        let extensions = Extensions::of(certificate)?;
        let product_name =
            extensions.text(PRODUCT_NAME)?.ok_or(LeafError::Missing { name: PRODUCT_NAME.1 })?;
        let Some(product) = Product::from_extension(&product_name) else {
            return Err(LeafError::UnknownProduct { found: product_name });
        };
        let hardware_id = extensions.hardware_id(product)?;
        let provider = extensions.text(CSP_ID)?;
        let kind = match (&hardware_id, &provider) {
            (Some(_), None) => SigningKeyKind::Vcek,
            (None, Some(_)) => SigningKeyKind::Vlek,
            (None, None) => return Err(LeafError::Missing { name: HWID.1 }),
            (Some(_), Some(_)) => return Err(LeafError::Unexpected { name: CSP_ID.1, product }),
        };
        let subject = certificate.subject_common_name();
        if subject.strip_prefix("SEV-") != Some(kind.name()) {
            return Err(LeafError::Subject { found: subject, kind });
        }
        let PublicKey::P384(public_key) = *certificate.public_key() else {
            return Err(LeafError::KeyKind);
        };
        Ok(Self {
            kind,
            structure_version: extensions.number(STRUCT_VERSION)?,
            tcb: extensions.tcb(product)?,
            product_name,
            product,
            hardware_id,
            provider,
            public_key,
        })
    }

    /// VCEK or VLEK.
    pub fn kind(&self) -> SigningKeyKind {
        self.kind
    }

    /// structVersion.
    pub fn structure_version(&self) -> u8 {
        self.structure_version
    }

    /// productName, with its stepping: `Milan-B0`.
    pub fn product_name(&self) -> &str {
        &self.product_name
    }

    /// The product line.
    pub fn product(&self) -> Product {
        self.product
    }

    /// The TCB version for which AMD issued this key, in the layout of a report's REPORTED_TCB.
    pub fn tcb(&self) -> TcbVersion {
        self.tcb
    }

    /// The patch levels that make up [`Self::tcb`], in its byte order, by AMD's names: `blSPL`, `spl4` and so on.
    pub fn patch_levels(&self) -> impl Iterator<Item = (&'static str, u8)> + use<> {
        tcb_extensions(self.product).into_iter().map(|(_, name)| name).zip(*self.tcb.as_bytes())
    }

    /// hwid: the chip; VCEK only.
    pub fn hardware_id(&self) -> Option<HardwareId> {
        self.hardware_id
    }

    /// cspId: the cloud provider to which the key was issued; VLEK only.
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// The key that signs reports.
    pub fn public_key(&self) -> &P384PublicKey {
        &self.public_key
    }

    /// The extensions of a VCEK certificate for this chip and firmware, as identifier and content of
    /// the octet string: for the software TEE and for tests.
    ///
    /// `chip_id` has the 64 bytes of a report; of a product with short hardware ids the first 8 count.
    pub fn vcek_extensions(
        product: Product,
        tcb: TcbVersion,
        chip_id: &ChipId,
    ) -> Vec<(ObjectIdentifier, Vec<u8>)> {
        let number = |value: u8| value.to_der().expect("a byte has a DER encoding");
        let name = der::asn1::Ia5StringRef::new(product.name()).and_then(|text| text.to_der());
        let mut list = vec![
            (STRUCT_VERSION.0, number(u8::from(product == Product::Turin))),
            (PRODUCT_NAME.0, name.expect("product names are ASCII")),
        ];
        for (extension, value) in tcb_extensions(product).iter().zip(tcb.as_bytes()) {
            list.push((extension.0, number(*value)));
        }
        let length = if product.has_short_hardware_id() { 8 } else { 64 };
        list.push((HWID.0, chip_id.as_bytes()[..length].to_vec()));
        list
    }
}

impl HardwareId {
    /// The bytes, 8 or 64.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            HardwareId::Long(bytes) => bytes,
            HardwareId::Short(bytes) => bytes,
        }
    }

    /// The CHIP_ID that reports of this chip carry: short ids are followed by zeros.
    pub fn chip_id(&self) -> ChipId {
        let mut bytes = [0; 64];
        bytes[..self.as_bytes().len()].copy_from_slice(self.as_bytes());
        ChipId::from(bytes)
    }
}

/// The AMD extensions of one certificate, each known and present once.
struct Extensions<'a>(Vec<(ObjectIdentifier, &'a [u8])>);

impl<'a> Extensions<'a> {
    fn of(certificate: &'a Certificate) -> Result<Self, LeafError> {
        let mut list = Vec::new();
        for (identifier, critical, value) in certificate.extensions() {
            let known = KNOWN.iter().any(|extension| extension.0 == identifier);
            if !known && (critical || AMD_ARC.parent_of(&identifier)) {
                return Err(LeafError::Unknown { found: identifier });
            }
            list.push((identifier, value));
        }
        Ok(Self(list))
    }

    fn find(&self, extension: Extension) -> Option<&'a [u8]> {
        self.0.iter().find(|(identifier, _)| *identifier == extension.0).map(|(_, value)| *value)
    }

    fn number(&self, extension: Extension) -> Result<u8, LeafError> {
        let value = self.find(extension).ok_or(LeafError::Missing { name: extension.1 })?;
        u8::from_der(value).map_err(|_| LeafError::Encoding { name: extension.1 })
    }

    fn text(&self, extension: Extension) -> Result<Option<String>, LeafError> {
        self.find(extension)
            .map(|value| {
                der::asn1::Ia5StringRef::from_der(value)
                    .map(|text| text.as_str().to_owned())
                    .map_err(|_| LeafError::Encoding { name: extension.1 })
            })
            .transpose()
    }

    fn hardware_id(&self, product: Product) -> Result<Option<HardwareId>, LeafError> {
        let Some(value) = self.find(HWID) else { return Ok(None) };
        let length = if product.has_short_hardware_id() { 8 } else { 64 };
        // The octet string of the extension holds the id itself; some certificates wrap it in a second
        // octet string, and the lengths tell the two apart.
        let value = match value {
            [0x04, inner, id @ ..] if value.len() == length + 2 && usize::from(*inner) == length => id,
            id => id,
        };
        let id = if product.has_short_hardware_id() {
            value.try_into().map(HardwareId::Short)
        } else {
            value.try_into().map(HardwareId::Long)
        };
        id.map(Some).map_err(|_| LeafError::Encoding { name: HWID.1 })
    }

    fn tcb(&self, product: Product) -> Result<TcbVersion, LeafError> {
        let foreign = if product == Product::Turin { SPL_4 } else { FMC_SPL };
        if self.find(foreign).is_some() {
            return Err(LeafError::Unexpected { name: foreign.1, product });
        }
        let mut bytes = [0; 8];
        for (byte, extension) in bytes.iter_mut().zip(tcb_extensions(product)) {
            *byte = self.number(extension)?;
        }
        Ok(TcbVersion::from(bytes))
    }
}

trait ParentOf {
    fn parent_of(&self, other: &ObjectIdentifier) -> bool;
}

impl ParentOf for ObjectIdentifier {
    fn parent_of(&self, other: &ObjectIdentifier) -> bool {
        other.as_bytes().starts_with(self.as_bytes())
    }
}

type Extension = (ObjectIdentifier, &'static str);

/// The extensions that make up a TCB version, in the byte order of the product's layout.
fn tcb_extensions(product: Product) -> [Extension; 8] {
    match product {
        Product::Turin => [FMC_SPL, BL_SPL, TEE_SPL, SNP_SPL, SPL_5, SPL_6, SPL_7, UCODE_SPL],
        Product::Milan | Product::Genoa => [BL_SPL, TEE_SPL, SPL_4, SPL_5, SPL_6, SPL_7, SNP_SPL, UCODE_SPL],
    }
}

const AMD_ARC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704");
const STRUCT_VERSION: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.1"), "structVersion");
const PRODUCT_NAME: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2"), "productName");
const BL_SPL: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1"), "blSPL");
const TEE_SPL: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2"), "teeSPL");
const SNP_SPL: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3"), "snpSPL");
const SPL_4: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.4"), "spl4");
const SPL_5: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.5"), "spl5");
const SPL_6: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.6"), "spl6");
const SPL_7: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.7"), "spl7");
const UCODE_SPL: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8"), "ucodeSPL");
const FMC_SPL: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9"), "fmcSPL");
const HWID: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4"), "hwid");
const CSP_ID: Extension = (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5"), "cspId");
const KNOWN: [Extension; 13] = [
    STRUCT_VERSION,
    PRODUCT_NAME,
    BL_SPL,
    TEE_SPL,
    SNP_SPL,
    SPL_4,
    SPL_5,
    SPL_6,
    SPL_7,
    UCODE_SPL,
    FMC_SPL,
    HWID,
    CSP_ID,
];
