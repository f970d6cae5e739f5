//! What endorses evidence, and how does it travel?
//!
//! One item is one thing that an Endorser made. A list of items in a file carries endorsements to a
//! machine without a network (`docs/reference/endorsements.md`). Kinds of other Endorsers get numbers of
//! their own here and a module of their own beside `amd` and `intel`.

use std::borrow::Cow;
use std::path::PathBuf;

use casemate_crypto::hash::{Sha256, sha256};
use casemate_crypto::sign;
use casemate_evidence::bundle::IntelCollateral;
use casemate_evidence::intel::Tee;
use casemate_evidence::snp::{Product, SigningKeyKind, TcbVersion};
use casemate_evidence::x509::Certificate;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::error::Error;
use crate::intel::Platform;
use crate::{amd, intel, nvidia};

/// One thing that an Endorser made, unverified.
///
/// Numbers are for ever: 1 to 15 are AMD's, 16 to 31 Intel's, 32 to 47 of clouds and TPM vendors, 48 to 63
/// NVIDIA's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum Item {
    /// An ARK certificate, DER.
    #[n(1)]
    AmdRoot(#[n(0)] ByteVec),
    /// An ASK or ASVK certificate, DER.
    #[n(2)]
    AmdIntermediate(#[n(0)] ByteVec),
    /// A VCEK or VLEK certificate, DER.
    #[n(3)]
    AmdSigningKey(#[n(0)] ByteVec),
    /// The list of revoked certificates that an ARK signed, DER.
    #[n(4)]
    AmdRevocationList(#[n(0)] ByteVec),
    /// Everything that Intel publishes about a kind of platform.
    #[n(16)]
    IntelCollateral(#[n(0)] Box<PlatformCollateral>),
    /// The list of TCB evaluation data numbers of a TEE.
    #[n(17)]
    IntelEvaluationNumbers(#[n(0)] SignedNumbers),
    /// What a driver or VBIOS of NVIDIA's should measure: XML as it is published.
    #[n(48)]
    NvidiaManifest(#[n(0)] ByteVec),
}

/// Intel's collateral of a kind of platform, with what its own bytes do not tell: who signed the list of
/// revoked platforms.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PlatformCollateral {
    /// As evidence carries it; without a PCK chain.
    #[n(0)]
    pub collateral: IntelCollateral,
    /// Intel SGX PCK Platform CA or Processor CA, DER.
    #[n(1)]
    pub pck_authority: ByteVec,
}

/// A list of TCB evaluation data numbers and its signature; certificates in DER.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SignedNumbers {
    /// The JSON text that is signed.
    #[n(0)]
    pub body: ByteVec,
    /// Over the text.
    #[n(1)]
    pub signature: sign::Signature,
    /// Intel SGX TCB Signing.
    #[n(2)]
    pub signer: ByteVec,
    /// Intel SGX Root CA.
    #[n(3)]
    pub root: ByteVec,
}

/// Where an item belongs. Made of the item's own statements, so no name given from outside chooses it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Key {
    /// The root of a product.
    AmdRoot {
        /// Product line.
        product: Product,
    },
    /// The intermediate of a product.
    AmdIntermediate {
        /// Product line.
        product: Product,
        /// Which keys it certifies.
        signing_key: Kind,
    },
    /// The key of a chip, or of a cloud provider, at a TCB version.
    AmdSigningKey {
        /// Product line.
        product: Product,
        /// Whose key.
        holder: Holder,
        /// TCB version.
        tcb: TcbVersion,
    },
    /// A root's revocation list.
    AmdRevocationList {
        /// Product line.
        product: Product,
    },
    /// Collateral of a kind of Intel platform.
    IntelCollateral {
        /// The platform.
        platform: Platform,
    },
    /// TCB evaluation data numbers.
    IntelEvaluationNumbers {
        /// Of which TEE.
        tee: Tee,
    },
    /// A manifest of NVIDIA's.
    NvidiaManifest {
        /// The chip.
        product: String,
        /// Version of driver or VBIOS.
        version: String,
        /// SHA-256 of the document: one version may have several.
        digest: Sha256,
    },
}

/// Whose key an AMD certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A chip, by its hardware id: 8 or 64 bytes.
    Chip(Vec<u8>),
    /// A cloud provider, by the digest of its name.
    Provider(Sha256),
}

/// [`SigningKeyKind`] without "none", and ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// VCEK.
    Vcek,
    /// VLEK.
    Vlek,
}

impl Item {
    /// The number of the kind on the wire.
    pub fn number(&self) -> u8 {
        match self {
            Item::AmdRoot(_) => 1,
            Item::AmdIntermediate(_) => 2,
            Item::AmdSigningKey(_) => 3,
            Item::AmdRevocationList(_) => 4,
            Item::IntelCollateral(_) => 16,
            Item::IntelEvaluationNumbers(_) => 17,
            Item::NvidiaManifest(_) => 48,
        }
    }

    /// What people call it.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Item::AmdRoot(_) => "AMD root",
            Item::AmdIntermediate(_) => "AMD intermediate",
            Item::AmdSigningKey(_) => "AMD signing key",
            Item::AmdRevocationList(_) => "AMD revocation list",
            Item::IntelCollateral(_) => "Intel collateral",
            Item::IntelEvaluationNumbers(_) => "Intel TCB evaluation data numbers",
            Item::NvidiaManifest(_) => "NVIDIA manifest",
        }
    }

    /// The bytes as they are kept: what AMD made, or deterministic CBOR of what Intel sends in parts.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Item::AmdRoot(der)
            | Item::AmdIntermediate(der)
            | Item::AmdSigningKey(der)
            | Item::AmdRevocationList(der)
            | Item::NvidiaManifest(der) => Cow::Borrowed(der),
            Item::IntelCollateral(set) => Cow::Owned(casemate_canon::to_cbor(set)),
            Item::IntelEvaluationNumbers(numbers) => Cow::Owned(casemate_canon::to_cbor(numbers)),
        }
    }

    /// A certificate of AMD's, told by what it says of itself.
    pub fn amd_certificate(certificate: &Certificate) -> Self {
        let der = certificate.as_der().to_vec().into();
        match (certificate.may_sign_certificates(), certificate.issuer() == certificate.subject()) {
            (true, true) => Item::AmdRoot(der),
            (true, false) => Item::AmdIntermediate(der),
            (false, _) => Item::AmdSigningKey(der),
        }
    }

    /// Where it belongs.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::NotEndorsed`], [`Error::Collateral`], [`Error::Manifest`] for bytes that are not what the
    /// kind says.
    pub fn key(&self) -> Result<Key, Error> {
        let origin = self.kind_name();
        match self {
            Item::IntelCollateral(set) => intel::key_of_set(set, origin),
            Item::IntelEvaluationNumbers(numbers) => intel::key_of_numbers(numbers, origin),
            Item::NvidiaManifest(document) => nvidia::key_of_manifest(document, origin),
            Item::AmdRoot(der) => amd::key_of_root(der, origin),
            Item::AmdIntermediate(der) => amd::key_of_intermediate(der, origin),
            Item::AmdSigningKey(der) => amd::leaf_key(&amd::parse_certificate(der, origin)?, origin),
            Item::AmdRevocationList(der) => amd::key_of_list(der, origin),
        }
    }
}

impl Key {
    /// Where the item lies below a store's folder.
    pub fn path(&self) -> PathBuf {
        let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        PathBuf::from(match self {
            Key::AmdRoot { product } => format!("amd/{product}/root.der"),
            Key::AmdIntermediate { product, signing_key } => {
                format!("amd/{product}/{}-intermediate.der", signing_key.name().to_lowercase())
            }
            Key::AmdSigningKey { product, holder: Holder::Chip(id), tcb } => {
                format!("amd/{product}/vcek-{}-{tcb}.der", digits(id))
            }
            Key::AmdSigningKey { product, holder: Holder::Provider(name), tcb } => {
                format!("amd/{product}/vlek-{}-{tcb}.der", digits(&name.as_bytes()[..16]))
            }
            Key::AmdRevocationList { product } => format!("amd/{product}/revocation.crl"),
            Key::IntelCollateral { platform: Platform { tee, fmspc, authority } } => {
                format!("intel/{}-{fmspc}-{}.cbor", intel::tee_path(*tee), authority.name())
            }
            Key::IntelEvaluationNumbers { tee } => {
                format!("intel/{}-evaluation-numbers.cbor", intel::tee_path(*tee))
            }
            Key::NvidiaManifest { digest, .. } => format!("nvidia/{digest}.xml"),
        })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::AmdRoot { product } => write!(f, "ARK of {product}"),
            Key::AmdIntermediate { product, signing_key: Kind::Vcek } => write!(f, "ASK of {product}"),
            Key::AmdIntermediate { product, signing_key: Kind::Vlek } => write!(f, "ASVK of {product}"),
            Key::AmdSigningKey { product, holder: Holder::Chip(id), tcb } => {
                write!(f, "VCEK of {product} chip {}, TCB {tcb}", casemate_canon::Short::new(id))
            }
            Key::AmdSigningKey { product, holder: Holder::Provider(name), tcb } => {
                write!(f, "VLEK of {product}, provider {}, TCB {tcb}", name.short())
            }
            Key::AmdRevocationList { product } => write!(f, "revocation list of {product}"),
            Key::IntelCollateral { platform } => write!(f, "collateral of {platform}"),
            Key::IntelEvaluationNumbers { tee } => {
                write!(f, "TCB evaluation data numbers of {}", intel::tee_name(*tee))
            }
            Key::NvidiaManifest { product, version, .. } => write!(f, "manifest of {product} {version}"),
        }
    }
}

impl Holder {
    /// The provider of this name.
    pub(crate) fn provider(name: &str) -> Self {
        Holder::Provider(sha256(name.as_bytes()))
    }
}

impl Kind {
    /// The kind, or `None` for reports that nobody signed.
    pub(crate) fn of(kind: SigningKeyKind) -> Option<Self> {
        match kind {
            SigningKeyKind::Vcek => Some(Kind::Vcek),
            SigningKeyKind::Vlek => Some(Kind::Vlek),
            SigningKeyKind::None => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Vcek => "VCEK",
            Kind::Vlek => "VLEK",
        }
    }
}

/// Endorsements for a machine without a network.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OfflineBundle {
    #[n(0)]
    version: u8,
    #[n(1)]
    items: Vec<Item>,
}

impl OfflineBundle {
    /// Version of the format.
    pub const VERSION: u8 = 1;
    /// Greatest size in bytes.
    pub const MAXIMUM_LEN: usize = 64 * 1024 * 1024;

    /// A bundle of these items, in their one order, each once.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Self {
        let mut encoded: Vec<(Vec<u8>, Item)> =
            items.into_iter().map(|item| (casemate_canon::to_cbor(&item), item)).collect();
        encoded.sort_by(|(a, _), (b, _)| a.cmp(b));
        encoded.dedup_by(|(a, _), (b, _)| a == b);
        Self { version: Self::VERSION, items: encoded.into_iter().map(|(_, item)| item).collect() }
    }

    /// Reads a bundle; its items stay unverified.
    ///
    /// # Errors
    /// [`Error::OfflineBundle`], [`Error::OfflineVersion`], [`Error::OfflineOrder`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let bundle: Self =
            casemate_canon::from_cbor(bytes, Self::MAXIMUM_LEN).map_err(Error::OfflineBundle)?;
        if bundle.version != Self::VERSION {
            return Err(Error::OfflineVersion { found: bundle.version });
        }
        let encoded: Vec<Vec<u8>> = bundle.items.iter().map(casemate_canon::to_cbor).collect();
        match encoded.windows(2).position(|pair| pair[0] >= pair[1]) {
            Some(index) => Err(Error::OfflineOrder { index: index + 1 }),
            None => Ok(bundle),
        }
    }

    /// The bytes that [`parse`](Self::parse) reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        casemate_canon::to_cbor(self)
    }

    /// The items.
    pub fn items(&self) -> &[Item] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_bytes_of_the_reference_hold() {
        // docs/reference/endorsements.md
        let bundle = OfflineBundle::new([
            Item::AmdRevocationList(vec![0xCC].into()),
            Item::AmdSigningKey(vec![0xAA].into()),
            Item::AmdSigningKey(vec![0xAB].into()),
            Item::AmdSigningKey(vec![0xAA].into()),
        ]);
        let bytes = bundle.to_bytes();
        assert_eq!(
            bytes,
            [0x82, 1, 0x83, 0x82, 3, 0x81, 0x41, 0xAA, 0x82, 3, 0x81, 0x41, 0xAB, 0x82, 4, 0x81, 0x41, 0xCC]
        );
        assert_eq!(OfflineBundle::parse(&bytes).unwrap(), bundle);
    }

    #[test]
    fn another_version_order_or_kind_is_refused() {
        let item = [0x82, 1, 0x81, 0x41, 0xAA];
        let twice = [&[0x82, 1, 0x82][..], &item, &item].concat();
        assert!(matches!(OfflineBundle::parse(&twice), Err(Error::OfflineOrder { index: 1 })));
        let version = [&[0x82, 2, 0x81][..], &item].concat();
        assert!(matches!(OfflineBundle::parse(&version), Err(Error::OfflineVersion { found: 2 })));
        let unknown = [0x82, 1, 0x81, 0x82, 0x18, 99, 0x81, 0x41, 0xAA];
        assert!(matches!(OfflineBundle::parse(&unknown), Err(Error::OfflineBundle(_))));
        assert!(matches!(OfflineBundle::parse(b""), Err(Error::OfflineBundle(_))));
    }

    #[test]
    fn no_statement_of_an_item_leads_out_of_the_folder() {
        let key = |holder| Key::AmdSigningKey { product: Product::Milan, holder, tcb: [7; 8].into() };
        for key in [key(Holder::Chip(b"../../etc".to_vec())), key(Holder::provider("../../etc/passwd"))] {
            let path = key.path();
            assert!(path.starts_with("amd/Milan") && path.components().count() == 3, "{}", path.display());
        }
    }
}
