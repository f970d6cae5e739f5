//! Does a trusted root vouch for this certificate?
//!
//! Path validation (RFC 5280 §6.1) for the vendors whose chains are of any length and come unordered: TPM
//! makers, clouds, NVIDIA. A [`Profile`] says what one kind of chain is like. SNP and TDX have chains of
//! a fixed shape, and modules of their own.

use casemate_crypto::Provider;
use casemate_crypto::hash::Sha256;
use casemate_evidence::x509::{Certificate, RevocationList};
use der::oid::{AssociatedOid as _, ObjectIdentifier};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use crate::signature::{Sha1, SignatureError, verify_x509};
use crate::verdict::{Code, Comparison, Node, broken, not_genuine};

/// What one kind of chain is like.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Critical extensions that are understood, beyond basic constraints and key usage.
    pub known_extensions: &'static [ObjectIdentifier],
    /// Whether an authority's certificate may be signed with SHA-1.
    pub sha1: Sha1,
    /// Greatest number of authorities above the leaf, the root among them.
    pub maximum_authorities: usize,
}

/// Certificates above a leaf and the lists that may revoke them, in any order; well formed, nothing about
/// their signatures is known.
#[derive(Debug, Clone, Copy)]
pub struct Endorsers<'a> {
    /// Intermediates and roots. At most [`MAXIMUM_CERTIFICATES`] are looked at.
    pub certificates: &'a [Certificate],
    /// Revocation lists. Those of authorities that the path does not need are not looked at.
    pub revocation_lists: &'a [RevocationList],
}

/// A certificate that a trusted root vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatedPath {
    /// Digest of the root's `SubjectPublicKeyInfo`.
    pub root_key_digest: Sha256,
    /// Common name that the root gives itself.
    pub root_name: String,
    /// Digest of the `SubjectPublicKeyInfo` of whoever issued the leaf.
    pub issuer_key_digest: Sha256,
    /// First moment at which every certificate is valid, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Last moment at which every certificate and every list used is valid.
    pub not_after_ms: u64,
    /// When the oldest list was made, if each certificate below the root was looked up in one.
    pub revocation_lists_made_ms: Option<u64>,
}

/// Why no trusted root vouches for a certificate.
///
/// `depth` counts from the leaf, which is 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// More certificates than any chain needs.
    #[error("{found} certificates came along, at most {maximum} are looked at; send one chain")]
    TooManyCertificates {
        /// How many.
        found: usize,
        /// Greatest number accepted.
        maximum: usize,
    },
    /// The path is longer than chains of this kind are.
    #[error("no trusted root within {maximum} certificates above the leaf")]
    TooLong {
        /// Greatest number of authorities.
        maximum: usize,
    },
    /// No certificate has the name of the issuer.
    #[error(
        "no certificate of {issuer:?}, which issued certificate {depth} of the chain; send the whole chain"
    )]
    MissingIssuer {
        /// The certificate whose issuer is missing.
        depth: usize,
        /// Common name of the issuer.
        issuer: String,
    },
    /// A self-signed certificate that is not among the trusted roots.
    #[error("root {name:?} with key {found} is not trusted")]
    UntrustedRoot {
        /// Digest of its key.
        found: Sha256,
        /// Common name.
        name: String,
    },
    /// The leaf is itself a root.
    #[error("the certificate is self-signed: no authority vouches for it")]
    SelfSigned,
    /// A signature that the issuer did not make.
    #[error("certificate {depth} of the chain: {source}")]
    Signature {
        /// Which certificate.
        depth: usize,
        /// What is wrong.
        source: SignatureError,
    },
    /// The issuer may not issue certificates.
    #[error("certificate {depth} of the chain issued another, but is no authority")]
    NotAuthority {
        /// The issuer.
        depth: usize,
    },
    /// The issuer allows fewer authorities below itself than there are.
    #[error("certificate {depth} of the chain allows {allowed} authorities below it, there are {found}")]
    PathLength {
        /// The issuer.
        depth: usize,
        /// Its path length.
        allowed: u8,
        /// Authorities below it.
        found: usize,
    },
    /// A critical extension that this kind of chain does not have.
    #[error(
        "certificate {depth} of the chain has critical extension {found}, which Casemate does not know here"
    )]
    CriticalExtension {
        /// Which certificate.
        depth: usize,
        /// The extension.
        found: ObjectIdentifier,
    },
    /// Not valid yet.
    #[error(
        "certificate {depth} of the chain is valid from {not_before_ms} ms on, now is {now_ms}; check the clock"
    )]
    NotYetValid {
        /// Which certificate.
        depth: usize,
        /// First moment of validity, milliseconds since 1970.
        not_before_ms: u64,
        /// Time of verification, milliseconds since 1970.
        now_ms: u64,
    },
    /// No longer valid.
    #[error("certificate {depth} of the chain was valid until {not_after_ms} ms, now is {now_ms}")]
    Expired {
        /// Which certificate.
        depth: usize,
        /// Last moment of validity, milliseconds since 1970.
        not_after_ms: u64,
        /// Time of verification, milliseconds since 1970.
        now_ms: u64,
    },
    /// The list that should say whether a certificate is revoked is not one.
    #[error("the revocation list for certificate {depth} of the chain {fault}; fetch a current one")]
    RevocationList {
        /// The certificate that it is about.
        depth: usize,
        /// What is wrong with the list.
        fault: ListFault,
    },
    /// The issuer revoked a certificate.
    #[error("certificate {depth} of the chain was revoked by its issuer")]
    Revoked {
        /// Which certificate.
        depth: usize,
    },
}

/// What is wrong with a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListFault {
    /// Its issuer's key did not sign it.
    #[error("is not signed by its issuer")]
    Signature,
    /// Its issuer may not sign lists.
    #[error("is signed by an authority that may not sign lists")]
    NotAuthority,
    /// It is from the future.
    #[error("is from the future")]
    NotYetValid,
    /// A newer one is due.
    #[error("is out of date")]
    Expired,
}

/// Which check a certificate fails for which no trusted root vouches.
pub(crate) fn failed_path(error: &PathError) -> Box<Node> {
    use PathError as E;
    match error {
        E::UntrustedRoot { found, .. } => {
            not_genuine(Code::ChainRoot, found.as_ref(), Comparison::OneOf, "the trusted roots")
        }
        E::TooManyCertificates { .. } | E::TooLong { .. } | E::MissingIssuer { .. } | E::SelfSigned => {
            broken(Code::ChainIssuer, error)
        }
        E::Signature { .. } => broken(Code::ChainSignature, error),
        E::NotAuthority { .. } | E::PathLength { .. } | E::CriticalExtension { .. } => {
            broken(Code::ChainRight, error)
        }
        E::NotYetValid { not_before_ms, now_ms, .. } => {
            not_genuine(Code::ChainTime, *now_ms, Comparison::AtLeast, *not_before_ms)
        }
        E::Expired { not_after_ms, now_ms, .. } => {
            not_genuine(Code::ChainTime, *now_ms, Comparison::AtMost, *not_after_ms)
        }
        E::RevocationList { .. } | E::Revoked { .. } => broken(Code::ChainRevocation, error),
    }
}

/// Greatest number of certificates that are looked at.
pub const MAXIMUM_CERTIFICATES: usize = 64;

/// Finds the path from `leaf` to a root whose key is in `roots` (digests of `SubjectPublicKeyInfo`), and
/// checks every certificate on it, at time `now_ms` (milliseconds since 1970).
///
/// Of each certificate: name and signature of its issuer, the issuer's right to issue and its path
/// length, critical extensions, validity, and revocation where there is a list of its issuer. What the
/// leaf's key is for is the caller's to check.
///
/// # Errors
/// [`PathError`].
pub fn authenticate_certificate(
    leaf: &Certificate,
    endorsers: &Endorsers<'_>,
    roots: &[Sha256],
    profile: &Profile,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<AuthenticatedPath, PathError> {
    let path = find_path(leaf, endorsers.certificates, roots, profile, provider)?;
    for (depth, certificate) in path.iter().enumerate() {
        check_certificate(depth, certificate, profile, now_ms)?;
    }
    let mut not_after_ms = path.iter().map(|certificate| certificate.not_after_ms()).min().unwrap_or(0);
    let mut made_ms = Some(u64::MAX);
    for (depth, pair) in path.windows(2).enumerate() {
        let lists = endorsers.revocation_lists;
        let used = check_revocation(depth, pair[0], pair[1], lists, profile, now_ms, provider)?;
        made_ms = used.and_then(|list| Some(made_ms?.min(list.this_update_ms())));
        not_after_ms = used.map_or(not_after_ms, |list| not_after_ms.min(list.next_update_ms()));
    }
    let root = path.last().expect("a path has a leaf and a root");
    Ok(AuthenticatedPath {
        root_key_digest: root.public_key_digest(),
        root_name: root.subject_common_name(),
        issuer_key_digest: path[1].public_key_digest(),
        not_before_ms: path.iter().map(|certificate| certificate.not_before_ms()).max().unwrap_or(0),
        not_after_ms,
        revocation_lists_made_ms: made_ms,
    })
}

/// The certificates from leaf to trusted root, each signed by the next, which has the right to do so.
fn find_path<'a>(
    leaf: &'a Certificate,
    pool: &'a [Certificate],
    roots: &[Sha256],
    profile: &Profile,
    provider: &dyn Provider,
) -> Result<Vec<&'a Certificate>, PathError> {
    if pool.len() > MAXIMUM_CERTIFICATES {
        let (found, maximum) = (pool.len(), MAXIMUM_CERTIFICATES);
        return Err(PathError::TooManyCertificates { found, maximum });
    }
    if leaf.issuer() == leaf.subject() {
        return Err(PathError::SelfSigned);
    }
    let mut path = vec![leaf];
    while path.len() <= profile.maximum_authorities {
        let depth = path.len() - 1;
        let issuer = find_issuer(depth, path[depth], pool, roots, profile, provider)?;
        if !issuer.may_sign_certificates() {
            return Err(PathError::NotAuthority { depth: depth + 1 });
        }
        if let Some(allowed) = issuer.path_length().filter(|allowed| usize::from(*allowed) < depth) {
            return Err(PathError::PathLength { depth: depth + 1, allowed, found: depth });
        }
        path.push(issuer);
        if roots.contains(&issuer.public_key_digest()) {
            return Ok(path);
        }
        if issuer.issuer() == issuer.subject() {
            let name = issuer.subject_common_name();
            return Err(PathError::UntrustedRoot { found: issuer.public_key_digest(), name });
        }
    }
    Err(PathError::TooLong { maximum: profile.maximum_authorities })
}

/// The certificate in `pool` whose key signed `certificate`; of several that of a trusted root.
fn find_issuer<'a>(
    depth: usize,
    certificate: &Certificate,
    pool: &'a [Certificate],
    roots: &[Sha256],
    profile: &Profile,
    provider: &dyn Provider,
) -> Result<&'a Certificate, PathError> {
    let mut failure = PathError::MissingIssuer { depth, issuer: certificate.issuer_common_name() };
    // What a TPM or a host had signed may be anybody's choice; what a vendor signed for itself is not.
    let sha1 = if depth == 0 { Sha1::Refused } else { profile.sha1 };
    let named = || pool.iter().filter(|candidate| candidate.subject() == certificate.issuer());
    let trusted = |candidate: &&Certificate| roots.contains(&candidate.public_key_digest());
    for candidate in named().filter(trusted).chain(named().filter(|candidate| !trusted(candidate))) {
        let verified = verify_x509(
            candidate.public_key(),
            certificate.signature_algorithm(),
            sha1,
            certificate.signed_bytes(),
            certificate.signature(),
            provider,
        );
        match verified {
            Ok(()) => return Ok(candidate),
            Err(source) => failure = PathError::Signature { depth, source },
        }
    }
    Err(failure)
}

fn check_certificate(
    depth: usize,
    certificate: &Certificate,
    profile: &Profile,
    now_ms: u64,
) -> Result<(), PathError> {
    let mut known = vec![BasicConstraints::OID, KeyUsage::OID];
    known.extend_from_slice(profile.known_extensions);
    if let Some(found) = certificate.critical_extension_beyond(&known) {
        return Err(PathError::CriticalExtension { depth, found });
    }
    let (not_before_ms, not_after_ms) = (certificate.not_before_ms(), certificate.not_after_ms());
    if now_ms < not_before_ms {
        return Err(PathError::NotYetValid { depth, not_before_ms, now_ms });
    }
    // X.509 states whole seconds, and the last one is valid to its end (RFC 5280 §4.1.2.5).
    if now_ms / 1000 > not_after_ms / 1000 {
        return Err(PathError::Expired { depth, not_after_ms, now_ms });
    }
    Ok(())
}

/// The list of `issuer`, if there is one; it must be good and must not name `certificate`.
fn check_revocation<'a>(
    depth: usize,
    certificate: &Certificate,
    issuer: &Certificate,
    lists: &'a [RevocationList],
    profile: &Profile,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<Option<&'a RevocationList>, PathError> {
    let Some(list) = lists.iter().find(|list| list.issuer() == issuer.subject()) else { return Ok(None) };
    let bad = |fault| Err(PathError::RevocationList { depth, fault });
    if !issuer.may_sign_revocation_lists() {
        return bad(ListFault::NotAuthority);
    }
    let verified = verify_x509(
        issuer.public_key(),
        list.signature_algorithm(),
        profile.sha1,
        list.signed_bytes(),
        list.signature(),
        provider,
    );
    if verified.is_err() {
        return bad(ListFault::Signature);
    }
    if now_ms < list.this_update_ms() {
        return bad(ListFault::NotYetValid);
    }
    if now_ms / 1000 > list.next_update_ms() / 1000 {
        return bad(ListFault::Expired);
    }
    if list.revoked().any(|serial| serial == certificate.serial_number()) {
        return Err(PathError::Revoked { depth });
    }
    Ok(Some(list))
}
