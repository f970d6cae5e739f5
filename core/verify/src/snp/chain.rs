//! Does a trusted root vouch for this signing key?

use std::sync::Arc;

use casemate_crypto::hash::{HashAlgorithm, Sha256};
use casemate_crypto::{PreparedP384, Provider, sign};
use casemate_evidence::snp::{Leaf, LeafError, Product, SigningKeyKind};
use casemate_evidence::x509::{Certificate, PublicKey, RevocationList, SignatureAlgorithm};
use serde::Serialize;

use super::endorsements::Endorsements;
use crate::trust::{Anchor, Roots, TrustClass};

/// A signing key that a trusted root vouches for, ready to verify reports.
///
/// Made by [`verify`](Self::verify) only. Keep it while reports of the same chip and firmware arrive:
/// each then costs one P-384 verification.
pub struct AuthenticatedChain {
    pub(super) leaf: Arc<Leaf>,
    pub(super) key: Box<dyn PreparedP384>,
    pub(super) anchor: Anchor,
    pub(super) root_key_digest: Sha256,
    pub(super) root_name: Arc<str>,
    pub(super) not_before_ms: u64,
    pub(super) not_after_ms: u64,
    pub(super) revocation_list_made_ms: Option<u64>,
}

/// A certificate's place in the chain, or the revocation list beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// ARK.
    Root,
    /// ASK or ASVK.
    Intermediate,
    /// VCEK or VLEK.
    Leaf,
    /// The root's revocation list.
    RevocationList,
}

/// Why no trusted root vouches for the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The root's key is in no list of trusted roots.
    #[error(
        "root {name:?} with key {found} is not trusted; if it is a simulated TEE, list the digest under \
         [simulated_roots]"
    )]
    UntrustedRoot {
        /// Digest of the root's key.
        found: Sha256,
        /// Common name that the root gives itself.
        name: String,
    },
    /// A certificate names another issuer than the certificate above it.
    #[error("the {link} names issuer {found:?}, but the certificate above it is {expected:?}")]
    Issuer {
        /// Which certificate.
        link: Link,
        /// Common name of the issuer it names.
        found: String,
        /// Common name of the certificate above.
        expected: String,
    },
    /// A signature was not made by the certificate above.
    #[error("the signature of the {link} was not made by the key of the certificate above it")]
    Signature {
        /// Which certificate.
        link: Link,
    },
    /// Signed in another way than AMD signs (AMD 57230 §2: RSASSA-PSS with SHA-384).
    #[error("the {link} is not signed with RSASSA-PSS and SHA-384, as AMD's are")]
    SignatureAlgorithm {
        /// Which certificate.
        link: Link,
    },
    /// The key of an issuing certificate is not RSA of 2048 to 4096 bits with exponent 65537.
    #[error("the key that should have signed the {link} is no RSA key of 2048 to 4096 bits")]
    IssuerKey {
        /// The certificate that it should have signed.
        link: Link,
    },
    /// Root or intermediate that may not issue certificates, or root that may not sign revocation lists.
    #[error("the certificate above the {link} does not have the right to issue it")]
    NotAuthority {
        /// The certificate that it issued.
        link: Link,
    },
    /// Root or intermediate with a critical extension that Casemate does not know (RFC 5280 §4.2).
    #[error("the {link} has critical extension {found}, which Casemate does not know")]
    CriticalExtension {
        /// Which certificate.
        link: Link,
        /// The extension.
        found: der::oid::ObjectIdentifier,
    },
    /// An intermediate that would let the leaf be an authority, or a root that allows no intermediate.
    #[error("path length {found:?} of the {link}, expected {expected}")]
    PathLength {
        /// Which certificate.
        link: Link,
        /// What it says.
        found: Option<u8>,
        /// What the place in the chain asks for.
        expected: &'static str,
    },
    /// Not valid yet.
    #[error("the {link} is valid from {not_before_ms} ms on, now is {now_ms}; check the clock")]
    NotYetValid {
        /// Which certificate or list.
        link: Link,
        /// First moment of validity, milliseconds since 1970.
        not_before_ms: u64,
        /// Time of verification, milliseconds since 1970.
        now_ms: u64,
    },
    /// No longer valid.
    #[error("the {link} was valid until {not_after_ms} ms, now is {now_ms}; fetch newer endorsements")]
    Expired {
        /// Which certificate or list.
        link: Link,
        /// Last moment of validity, milliseconds since 1970.
        not_after_ms: u64,
        /// Time of verification, milliseconds since 1970.
        now_ms: u64,
    },
    /// The root revoked a certificate.
    #[error("the root revoked the {link}")]
    Revoked {
        /// Which certificate.
        link: Link,
    },
    /// The leaf is no VCEK or VLEK certificate.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The leaf's product is not the product of the root.
    #[error("a {found} leaf under the root of {expected}")]
    Product {
        /// Product of the leaf.
        found: Product,
        /// Product of the root.
        expected: Product,
    },
    /// A VCEK under the authority of VLEKs, or the reverse, or of another product.
    #[error("issued by {found:?}, but keys of this kind and product come from {expected:?}")]
    Intermediate {
        /// Common name of the intermediate.
        found: String,
        /// Common name it should have.
        expected: String,
    },
    /// The leaf's key is no point of the curve.
    #[error("the certified key is not a point of P-384")]
    LeafKey,
}

impl AuthenticatedChain {
    /// Verifies the chain from root to leaf, at time `now_ms` (milliseconds since 1970).
    ///
    /// Checks that the root's key is trusted, and of every certificate: signature, names, right to issue,
    /// validity, revocation if there is a list; then kind and product of the leaf. A revocation list
    /// that is present must be good and current; that one is present at all is for the policy to ask.
    ///
    /// # Errors
    /// [`ChainError`], the first that applies, from the root down.
    pub fn verify(
        endorsements: &Endorsements,
        roots: &Roots,
        now_ms: u64,
        provider: &dyn Provider,
    ) -> Result<Self, ChainError> {
        let Endorsements { leaf, intermediate, root, revocation_list } = endorsements;
        let root_key_digest = root.public_key_digest();
        let anchor = verify_upper_part(intermediate, root, roots, provider)?;
        verify_certificate(Link::Leaf, leaf, intermediate, provider)?;
        for (link, certificate) in
            [(Link::Root, root), (Link::Intermediate, intermediate), (Link::Leaf, leaf)]
        {
            check_time(link, certificate.not_before_ms(), certificate.not_after_ms(), now_ms)?;
        }
        if let Some(list) = revocation_list {
            verify_current_revocation_list(list, root, now_ms, provider)?;
            check_not_revoked(list, endorsements)?;
        }
        let leaf_statements = Leaf::read(leaf)?;
        check_issuer_of_kind(&leaf_statements, intermediate, anchor)?;
        let key = provider.prepare_p384(leaf_statements.public_key()).map_err(|_| ChainError::LeafKey)?;
        let certificates = [root, intermediate, leaf];
        let list_end = revocation_list.as_ref().map_or(u64::MAX, RevocationList::next_update_ms);
        Ok(Self {
            leaf: leaf_statements.into(),
            key,
            anchor,
            root_key_digest,
            root_name: root.subject_common_name().into(),
            not_before_ms: certificates
                .iter()
                .map(|certificate| certificate.not_before_ms())
                .max()
                .unwrap_or(0),
            not_after_ms: certificates
                .iter()
                .map(|certificate| certificate.not_after_ms())
                .fold(list_end, u64::min),
            revocation_list_made_ms: revocation_list.as_ref().map(RevocationList::this_update_ms),
        })
    }

    /// Whether the root is AMD's or simulated.
    pub fn trust_class(&self) -> TrustClass {
        self.anchor.trust_class()
    }

    /// What the leaf says of product, firmware and chip.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Digest of the root's key.
    pub fn root_key_digest(&self) -> Sha256 {
        self.root_key_digest
    }

    /// Last moment at which the chain and its revocation list hold, in milliseconds since 1970.
    pub fn not_after_ms(&self) -> u64 {
        self.not_after_ms
    }

    pub(super) fn check_time(&self, now_ms: u64) -> Result<(), ChainError> {
        check_time(Link::Leaf, self.not_before_ms, self.not_after_ms, now_ms)
    }
}

impl std::fmt::Debug for AuthenticatedChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthenticatedChain")
            .field("leaf", &self.leaf)
            .field("anchor", &self.anchor)
            .field("root_key_digest", &self.root_key_digest)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Link::Root => "root",
            Link::Intermediate => "intermediate",
            Link::Leaf => "leaf",
            Link::RevocationList => "revocation list",
        })
    }
}

/// What an intermediate may certify, once a trusted root vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// Keys of this product.
    pub product: Product,
    /// Keys of this kind.
    pub signing_key: SigningKeyKind,
    /// Whether the root is AMD's or simulated.
    pub trust_class: TrustClass,
}

/// Checks that a trusted root vouches for `intermediate` at time `now_ms` (milliseconds since 1970):
/// the part of a chain that all keys of a product share.
///
/// # Errors
/// [`ChainError`], the first that applies.
pub fn verify_authority(
    intermediate: &Certificate,
    root: &Certificate,
    roots: &Roots,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<Authority, ChainError> {
    let anchor = verify_upper_part(intermediate, root, roots, provider)?;
    for (link, certificate) in [(Link::Root, root), (Link::Intermediate, intermediate)] {
        check_time(link, certificate.not_before_ms(), certificate.not_after_ms(), now_ms)?;
    }
    let name = intermediate.subject_common_name();
    let is_named = |product: Product, signing_key| name == intermediate_name(product, signing_key);
    let candidates = Product::ALL.into_iter().flat_map(|product| {
        [SigningKeyKind::Vcek, SigningKeyKind::Vlek].map(|signing_key| (product, signing_key))
    });
    let found = candidates
        .filter(|(product, _)| !matches!(anchor, Anchor::Amd(expected) if expected != *product))
        .find(|(product, signing_key)| is_named(*product, *signing_key));
    match found {
        Some((product, signing_key)) => {
            Ok(Authority { product, signing_key, trust_class: anchor.trust_class() })
        }
        None => Err(ChainError::Intermediate {
            found: name,
            expected: match anchor {
                Anchor::Amd(product) => format!("SEV-{product} or SEV-VLEK-{product}"),
                Anchor::Simulated => "SEV-PRODUCT or SEV-VLEK-PRODUCT".to_owned(),
            },
        }),
    }
}

/// Checks that `root` is trusted at time `now_ms` (milliseconds since 1970), by itself.
///
/// # Errors
/// [`ChainError`], the first that applies.
pub fn verify_root(
    root: &Certificate,
    roots: &Roots,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<TrustClass, ChainError> {
    let anchor = find_root(root, roots)?;
    verify_certificate(Link::Root, root, root, provider)?;
    check_time(Link::Root, root.not_before_ms(), root.not_after_ms(), now_ms)?;
    Ok(anchor.trust_class())
}

fn find_root(root: &Certificate, roots: &Roots) -> Result<Anchor, ChainError> {
    let found = root.public_key_digest();
    let unknown = || ChainError::UntrustedRoot { found, name: root.subject_common_name() };
    roots.find(&found).ok_or_else(unknown)
}

/// Checks that the root is trusted and issued the intermediate, and what both may do. Not validity.
fn verify_upper_part(
    intermediate: &Certificate,
    root: &Certificate,
    roots: &Roots,
    provider: &dyn Provider,
) -> Result<Anchor, ChainError> {
    let anchor = find_root(root, roots)?;
    verify_certificate(Link::Root, root, root, provider)?;
    verify_certificate(Link::Intermediate, intermediate, root, provider)?;
    check_path_lengths(root, intermediate)?;
    check_extensions(root, intermediate)?;
    Ok(anchor)
}

/// Checks that `issuer` issued `certificate`: names, right to issue, signature. Not validity.
///
/// # Errors
/// [`ChainError::Issuer`], [`ChainError::NotAuthority`], [`ChainError::SignatureAlgorithm`],
/// [`ChainError::IssuerKey`], [`ChainError::Signature`].
pub fn verify_certificate(
    link: Link,
    certificate: &Certificate,
    issuer: &Certificate,
    provider: &dyn Provider,
) -> Result<(), ChainError> {
    if certificate.issuer() != issuer.subject() {
        return Err(ChainError::Issuer {
            link,
            found: certificate.issuer_common_name(),
            expected: issuer.subject_common_name(),
        });
    }
    if !issuer.may_sign_certificates() {
        return Err(ChainError::NotAuthority { link });
    }
    check_algorithm(link, certificate.signature_algorithm())?;
    verify_signature(link, issuer, certificate.signed_bytes(), certificate.signature(), provider)
}

/// Checks that `list` is the current list of `root` at time `now_ms` (milliseconds since 1970).
///
/// # Errors
/// As [`verify_revocation_list`], and [`ChainError::NotYetValid`], [`ChainError::Expired`].
pub fn verify_current_revocation_list(
    list: &RevocationList,
    root: &Certificate,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<(), ChainError> {
    verify_revocation_list(list, root, provider)?;
    check_time(Link::RevocationList, list.this_update_ms(), list.next_update_ms(), now_ms)
}

/// Checks that `root` issued `list`: names, right to do so, signature. Not its validity.
///
/// # Errors
/// As [`verify_certificate`].
pub fn verify_revocation_list(
    list: &RevocationList,
    root: &Certificate,
    provider: &dyn Provider,
) -> Result<(), ChainError> {
    let link = Link::RevocationList;
    if list.issuer() != root.subject() {
        return Err(ChainError::Issuer {
            link,
            found: list.issuer_common_name(),
            expected: root.subject_common_name(),
        });
    }
    if !root.may_sign_revocation_lists() {
        return Err(ChainError::NotAuthority { link });
    }
    check_algorithm(link, list.signature_algorithm())?;
    verify_signature(link, root, list.signed_bytes(), list.signature(), provider)
}

fn check_algorithm(link: Link, found: SignatureAlgorithm) -> Result<(), ChainError> {
    match found {
        SignatureAlgorithm::RsaPss(HashAlgorithm::Sha384) => Ok(()),
        _ => Err(ChainError::SignatureAlgorithm { link }),
    }
}

fn verify_signature(
    link: Link,
    issuer: &Certificate,
    message: &[u8],
    signature: &[u8],
    provider: &dyn Provider,
) -> Result<(), ChainError> {
    let PublicKey::Rsa { modulus, exponent } = issuer.public_key() else {
        return Err(ChainError::IssuerKey { link });
    };
    provider.verify_rsa_pss_sha384(modulus, exponent, message, signature).map_err(|error| match error {
        sign::Error::NotAKey => ChainError::IssuerKey { link },
        _ => ChainError::Signature { link },
    })
}

/// ARK allows one intermediate, and ASK or ASVK allow none below them (AMD 57230 §2, certificate chain).
fn check_path_lengths(root: &Certificate, intermediate: &Certificate) -> Result<(), ChainError> {
    if root.path_length() == Some(0) {
        return Err(ChainError::PathLength {
            link: Link::Root,
            found: Some(0),
            expected: "at least 1, or none",
        });
    }
    match intermediate.path_length() {
        Some(0) => Ok(()),
        found => Err(ChainError::PathLength { link: Link::Intermediate, found, expected: "0" }),
    }
}

/// The leaf's extensions are judged by [`Leaf::read`].
fn check_extensions(root: &Certificate, intermediate: &Certificate) -> Result<(), ChainError> {
    for (link, certificate) in [(Link::Root, root), (Link::Intermediate, intermediate)] {
        if let Some(found) = certificate.unknown_critical_extension() {
            return Err(ChainError::CriticalExtension { link, found });
        }
    }
    Ok(())
}

fn check_time(link: Link, not_before_ms: u64, not_after_ms: u64, now_ms: u64) -> Result<(), ChainError> {
    if now_ms < not_before_ms {
        return Err(ChainError::NotYetValid { link, not_before_ms, now_ms });
    }
    // X.509 states whole seconds, and the last one is valid to its end (RFC 5280 §4.1.2.5).
    if now_ms / 1000 > not_after_ms / 1000 {
        return Err(ChainError::Expired { link, not_after_ms, now_ms });
    }
    Ok(())
}

/// The root's list can name intermediates. Leaves have serial number 0 (AMD 57230 §3.1) and another
/// issuer, so they cannot appear on it.
fn check_not_revoked(list: &RevocationList, endorsements: &Endorsements) -> Result<(), ChainError> {
    for (link, certificate) in
        [(Link::Root, &endorsements.root), (Link::Intermediate, &endorsements.intermediate)]
    {
        if list.revoked().any(|serial| serial == certificate.serial_number()) {
            return Err(ChainError::Revoked { link });
        }
    }
    Ok(())
}

fn check_issuer_of_kind(leaf: &Leaf, intermediate: &Certificate, anchor: Anchor) -> Result<(), ChainError> {
    let found = leaf.product();
    if let Anchor::Amd(expected) = anchor
        && found != expected
    {
        return Err(ChainError::Product { found, expected });
    }
    let expected = intermediate_name(found, leaf.kind());
    let found = intermediate.subject_common_name();
    if found == expected { Ok(()) } else { Err(ChainError::Intermediate { found, expected }) }
}

/// AMD 57230 §2: the ASK certifies VCEKs, the ASVK certifies VLEKs.
fn intermediate_name(product: Product, signing_key: SigningKeyKind) -> String {
    match signing_key {
        SigningKeyKind::Vlek => format!("SEV-VLEK-{product}"),
        _ => format!("SEV-{product}"),
    }
}
