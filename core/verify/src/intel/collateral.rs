//! What does Intel say now, and is it Intel that says so?

use std::sync::OnceLock;

use casemate_crypto::hash::Sha256;
use casemate_crypto::{Provider, sign};
use casemate_evidence::bundle::IntelCollateral;
use casemate_evidence::intel::{CollateralError, EnclaveIdentity, Fmspc, Pck, TcbInfo, Tee};
use casemate_evidence::x509::{self, Certificate, PublicKey, RevocationList};
use serde::{Deserialize, Serialize};

use super::certificate::{
    ChainError, Link, check_certificate_time, check_extensions, check_leaf, check_not_revoked, check_subject,
    check_time, verify_certificate, verify_revocation_list,
};
use crate::trust::{Roots, TrustClass};

/// What Intel publishes about a kind of platform; well formed, nothing about its signatures is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral {
    /// Judgements of the platform's firmware.
    pub tcb_info: TcbInfo,
    /// Over the TCB info.
    pub tcb_info_signature: sign::Signature,
    /// Intel SGX TCB Signing.
    pub tcb_info_signer: Certificate,
    /// Which Quoting Enclave is genuine, and judgements of it.
    pub qe_identity: EnclaveIdentity,
    /// Over the identity.
    pub qe_identity_signature: sign::Signature,
    /// Intel SGX TCB Signing.
    pub qe_identity_signer: Certificate,
    /// Intel SGX Root CA.
    pub root: Certificate,
    /// Authorities that the root revoked.
    pub root_revocation_list: RevocationList,
    /// Platforms that their authority revoked.
    pub pck_revocation_list: RevocationList,
    /// PCK certificate, its authority and the root, for quotes that name their PCK only; else empty.
    pub pck_chain: Vec<Certificate>,
}

/// Collateral that a trusted root vouches for, and that is current.
///
/// Made by [`verify`](Self::verify) only. Keep it while quotes of the same kind of platform arrive: each then
/// costs three P-256 verifications, of the platform's certificate, its Quoting Enclave and the quote.
#[derive(Debug, Clone)]
pub struct AuthenticatedCollateral {
    pub(super) collateral: Collateral,
    pub(super) trust_class: TrustClass,
    pub(super) root_key_digest: Sha256,
    not_before_ms: u64,
    not_after_ms: u64,
    /// The first authority found good, which quotes of other platforms bring as well.
    pck_authority: OnceLock<Certificate>,
}

/// One of the two documents that Intel signs with its TCB signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    /// TCB info.
    TcbInfo,
    /// Identity of the Quoting Enclave.
    QeIdentity,
}

/// Why a document of the collateral does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// No trusted root vouches for its signer, or a revocation list is missing.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The signature does not verify.
    #[error("the {document} was not signed by Intel's TCB signing key, or was changed")]
    Signature {
        /// Which document.
        document: Document,
    },
    /// Issued later than now.
    #[error("the {document} was issued at {issued_ms} ms, now is {now_ms}; check the clock")]
    NotYetValid {
        /// Which document.
        document: Document,
        /// When it was issued, milliseconds since 1970.
        issued_ms: u64,
        /// Time of verification, milliseconds since 1970.
        now_ms: u64,
    },
    /// The next one is due.
    #[error(
        "the {document} was to be replaced by {next_update_ms} ms, now is {now_ms}; fetch newer collateral"
    )]
    Expired {
        /// Which document.
        document: Document,
        /// When the next one is due, milliseconds since 1970.
        next_update_ms: u64,
        /// Time of verification, milliseconds since 1970.
        now_ms: u64,
    },
}

/// Why bytes are no collateral.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralFileError {
    /// Not JSON with the expected members.
    #[error(
        "not a file of collateral: {source}; expected tcb_info, qe_identity, their signatures and chains, and two lists"
    )]
    Json {
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A list that is not hexadecimal.
    #[error("`{member}` is not hexadecimal")]
    NotHex {
        /// The member.
        member: &'static str,
    },
    /// TCB info or enclave identity.
    #[error(transparent)]
    Document(#[from] CollateralError),
    /// A certificate or a revocation list.
    #[error(transparent)]
    Unreadable(#[from] x509::Error),
    /// A chain of another length.
    #[error("{found} certificates in `{member}`, expected 2: the signer, then the root")]
    ChainLength {
        /// The member.
        member: &'static str,
        /// Number of certificates.
        found: usize,
    },
}

impl Collateral {
    /// Greatest length of a file accepted, in bytes.
    pub const MAXIMUM_FILE_LEN: usize = 512 * 1024;

    /// Reads collateral as a bundle carries it.
    ///
    /// # Errors
    /// [`CollateralFileError::Document`], [`CollateralFileError::Unreadable`].
    pub fn from_bundle_item(item: &IntelCollateral) -> Result<Self, CollateralFileError> {
        Ok(Self {
            tcb_info: TcbInfo::parse(&item.tcb_info)?,
            tcb_info_signature: item.tcb_info_signature,
            tcb_info_signer: Certificate::parse(&item.tcb_info_signer)?,
            qe_identity: EnclaveIdentity::parse(&item.qe_identity)?,
            qe_identity_signature: item.qe_identity_signature,
            qe_identity_signer: Certificate::parse(&item.qe_identity_signer)?,
            root: Certificate::parse(&item.root)?,
            root_revocation_list: RevocationList::parse(&item.root_revocation_list)?,
            pck_revocation_list: RevocationList::parse(&item.pck_revocation_list)?,
            pck_chain: item.pck_chain.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?,
        })
    }

    /// The collateral in the form in which bundles carry it.
    pub fn to_bundle_item(&self) -> IntelCollateral {
        let der = |certificate: &Certificate| certificate.as_der().to_vec().into();
        IntelCollateral {
            tcb_info: self.tcb_info.signed_bytes().to_vec().into(),
            tcb_info_signature: self.tcb_info_signature,
            tcb_info_signer: der(&self.tcb_info_signer),
            qe_identity: self.qe_identity.signed_bytes().to_vec().into(),
            qe_identity_signature: self.qe_identity_signature,
            qe_identity_signer: der(&self.qe_identity_signer),
            root: der(&self.root),
            root_revocation_list: self.root_revocation_list.as_der().to_vec().into(),
            pck_revocation_list: self.pck_revocation_list.as_der().to_vec().into(),
            pck_chain: self.pck_chain.iter().map(der).collect(),
        }
    }

    /// Reads a JSON file with the members that Intel's quote verification library takes: `tcb_info` and
    /// `qe_identity` as texts, their `_signature` in digits and `_issuer_chain` in PEM, `root_ca_crl` and
    /// `pck_crl` in digits of DER. Other tools write it; members that Casemate does not need are passed over.
    ///
    /// # Errors
    /// [`CollateralFileError`].
    pub fn parse_json(text: &[u8]) -> Result<Self, CollateralFileError> {
        #[derive(Deserialize)]
        struct File {
            tcb_info: String,
            tcb_info_signature: sign::Signature,
            tcb_info_issuer_chain: String,
            qe_identity: String,
            qe_identity_signature: sign::Signature,
            qe_identity_issuer_chain: String,
            root_ca_crl: String,
            pck_crl: String,
            #[serde(default)]
            pck_certificate_chain: String,
        }
        if text.len() > Self::MAXIMUM_FILE_LEN {
            let (found, maximum) = (text.len(), Self::MAXIMUM_FILE_LEN);
            return Err(CollateralError::TooLong { document: "collateral", found, maximum }.into());
        }
        let file: File =
            serde_json::from_slice(text).map_err(|source| CollateralFileError::Json { source })?;
        let (tcb_info_signer, root) = signer_and_root("tcb_info_issuer_chain", &file.tcb_info_issuer_chain)?;
        let (qe_identity_signer, _) =
            signer_and_root("qe_identity_issuer_chain", &file.qe_identity_issuer_chain)?;
        let list = |member, digits: &str| -> Result<RevocationList, CollateralFileError> {
            let der = casemate_canon::reexport::hex::decode(digits);
            Ok(RevocationList::parse(&der.map_err(|_| CollateralFileError::NotHex { member })?)?)
        };
        Ok(Self {
            tcb_info: TcbInfo::parse(file.tcb_info.as_bytes())?,
            tcb_info_signature: file.tcb_info_signature,
            tcb_info_signer,
            qe_identity: EnclaveIdentity::parse(file.qe_identity.as_bytes())?,
            qe_identity_signature: file.qe_identity_signature,
            qe_identity_signer,
            root,
            root_revocation_list: list("root_ca_crl", &file.root_ca_crl)?,
            pck_revocation_list: list("pck_crl", &file.pck_crl)?,
            pck_chain: Certificate::parse_pem(&file.pck_certificate_chain)?,
        })
    }
}

fn signer_and_root(
    member: &'static str,
    pem: &str,
) -> Result<(Certificate, Certificate), CollateralFileError> {
    let chain = Certificate::parse_pem(pem)?;
    let found = chain.len();
    let [signer, root] =
        <[_; 2]>::try_from(chain).map_err(|_| CollateralFileError::ChainLength { member, found })?;
    Ok((signer, root))
}

impl AuthenticatedCollateral {
    /// Verifies everything in the collateral that does not depend on a quote, at time `now_ms`
    /// (milliseconds since 1970): root, its revocation list, both signers, both documents and their dates.
    ///
    /// # Errors
    /// [`DocumentError`], the first that applies, from the root down.
    pub fn verify(
        collateral: &Collateral,
        roots: &Roots,
        now_ms: u64,
        provider: &dyn Provider,
    ) -> Result<Self, DocumentError> {
        let root = &collateral.root;
        let root_key_digest = root.public_key_digest();
        let trust_class = verify_root(root, roots, now_ms, provider)?;
        let list = &collateral.root_revocation_list;
        verify_revocation_list(Link::RootRevocationList, list, root, provider)?;
        check_time(Link::RootRevocationList, list.this_update_ms(), list.next_update_ms(), now_ms)?;
        let Collateral { tcb_info_signer, qe_identity_signer, .. } = collateral;
        // One certificate signs both documents, as a rule: what is found of it is found once.
        let other = (qe_identity_signer.as_der() != tcb_info_signer.as_der())
            .then_some((Link::QeIdentitySigner, qe_identity_signer));
        for (link, signer) in std::iter::once((Link::TcbInfoSigner, tcb_info_signer)).chain(other) {
            verify_certificate(link, signer, root, provider)?;
            check_leaf(link, signer, TCB_SIGNING)?;
            check_certificate_time(link, signer, now_ms)?;
            check_not_revoked(link, signer, list)?;
        }
        for document in [Document::TcbInfo, Document::QeIdentity] {
            verify_document(collateral, document, now_ms, provider)?;
        }
        let pck_list = &collateral.pck_revocation_list;
        check_time(Link::PckRevocationList, pck_list.this_update_ms(), pck_list.next_update_ms(), now_ms)?;
        let (not_before_ms, not_after_ms) = collateral.window();
        Ok(Self {
            collateral: collateral.clone(),
            trust_class,
            root_key_digest,
            not_before_ms,
            not_after_ms,
            pck_authority: OnceLock::new(),
        })
    }

    /// What Intel says of the platform.
    pub fn collateral(&self) -> &Collateral {
        &self.collateral
    }

    /// Whether the root is Intel's or simulated.
    pub fn trust_class(&self) -> TrustClass {
        self.trust_class
    }

    /// Of which processors the TCB info speaks.
    pub fn fmspc(&self) -> Fmspc {
        self.collateral.tcb_info.fmspc()
    }

    /// Of which TEE the TCB info speaks.
    pub fn tee(&self) -> Tee {
        self.collateral.tcb_info.tee()
    }

    /// Last moment at which all of it holds, in milliseconds since 1970.
    pub fn not_after_ms(&self) -> u64 {
        self.not_after_ms
    }

    /// When its oldest part was made, in milliseconds since 1970; certificates do not count.
    pub fn oldest_ms(&self) -> u64 {
        let Collateral { tcb_info, qe_identity, root_revocation_list, pck_revocation_list, .. } =
            &self.collateral;
        [
            tcb_info.issued_ms(),
            qe_identity.issued_ms(),
            root_revocation_list.this_update_ms(),
            pck_revocation_list.this_update_ms(),
        ]
        .into_iter()
        .fold(u64::MAX, u64::min)
    }

    /// Checks that `authority` is a PCK authority below this root that was not revoked, and that it signed
    /// the list of revoked platforms. [`verify`](Self::verify) cannot: a quote brings the authority.
    ///
    /// # Errors
    /// [`ChainError`], the first that applies.
    pub fn check_pck_authority(
        &self,
        authority: &Certificate,
        now_ms: u64,
        provider: &dyn Provider,
    ) -> Result<(), ChainError> {
        let Collateral { root, root_revocation_list, pck_revocation_list, .. } = &self.collateral;
        verify_pck_authority(authority, root, now_ms, provider)?;
        check_not_revoked(Link::PckAuthority, authority, root_revocation_list)?;
        verify_revocation_list(Link::PckRevocationList, pck_revocation_list, authority, provider)
    }

    /// As [`check_pck_authority`](Self::check_pck_authority), once for each authority that recurs. Neither root nor
    /// lists change in here, so that all but the time comes out the same for the same bytes; the time is asked anew.
    fn check_recurring_authority(
        &self,
        authority: &Certificate,
        now_ms: u64,
        provider: &dyn Provider,
    ) -> Result<(), ChainError> {
        if self.pck_authority.get().is_some_and(|known| known.as_der() == authority.as_der()) {
            return check_certificate_time(Link::PckAuthority, authority, now_ms);
        }
        self.check_pck_authority(authority, now_ms, provider)?;
        self.pck_authority.get_or_init(|| authority.clone());
        Ok(())
    }

    /// Verifies a platform's certificates and reads the platform's.
    pub(super) fn verify_pck(
        &self,
        chain: &[Certificate],
        now_ms: u64,
        provider: &dyn Provider,
    ) -> Result<Pck, ChainError> {
        let [leaf, authority, root] = chain else {
            return Err(ChainError::Length { found: chain.len() });
        };
        let found = root.public_key_digest();
        if found != self.root_key_digest {
            return Err(ChainError::OtherRoot { found, expected: self.root_key_digest });
        }
        self.check_recurring_authority(authority, now_ms, provider)?;
        verify_certificate(Link::Pck, leaf, authority, provider)?;
        check_leaf(Link::Pck, leaf, PCK)?;
        check_certificate_time(Link::Pck, leaf, now_ms)?;
        check_not_revoked(Link::Pck, leaf, &self.collateral.pck_revocation_list)?;
        Ok(Pck::read(leaf)?)
    }

    /// Collateral that was verified earlier still holds now.
    pub(super) fn check_window(&self, now_ms: u64) -> Result<(), ChainError> {
        check_time(Link::TcbInfoSigner, self.not_before_ms, self.not_after_ms, now_ms)
    }
}

impl Collateral {
    /// First and last moment at which every dated part holds, in milliseconds since 1970.
    pub fn window(&self) -> (u64, u64) {
        let certificates = [&self.root, &self.tcb_info_signer, &self.qe_identity_signer]
            .map(|certificate| (certificate.not_before_ms(), certificate.not_after_ms()));
        let lists = [&self.root_revocation_list, &self.pck_revocation_list]
            .map(|list| (list.this_update_ms(), list.next_update_ms()));
        let documents = [
            (self.tcb_info.issued_ms(), self.tcb_info.next_update_ms()),
            (self.qe_identity.issued_ms(), self.qe_identity.next_update_ms()),
        ];
        certificates
            .into_iter()
            .chain(lists)
            .chain(documents)
            .fold((0, u64::MAX), |window, part| (window.0.max(part.0), window.1.min(part.1)))
    }
}

/// Checks that the root's key is trusted, that it vouches for itself, and that it lets one authority stand
/// between it and a leaf, at time `now_ms` (milliseconds since 1970).
///
/// # Errors
/// [`ChainError`], the first that applies.
pub fn verify_root(
    root: &Certificate,
    roots: &Roots,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<TrustClass, ChainError> {
    let found = root.public_key_digest();
    let trust_class = roots
        .find_intel(&found)
        .ok_or_else(|| ChainError::UntrustedRoot { found, name: root.subject_common_name() })?;
    verify_certificate(Link::Root, root, root, provider)?;
    check_extensions(Link::Root, root)?;
    if root.path_length() == Some(0) {
        let (link, found) = (Link::Root, Some(0));
        return Err(ChainError::PathLength { link, found, expected: "at least 1, or none" });
    }
    check_certificate_time(Link::Root, root, now_ms)?;
    Ok(trust_class)
}

/// Checks that `root` made `authority` a PCK authority of Intel's, at time `now_ms` (milliseconds since
/// 1970). Not whether it was revoked since.
///
/// # Errors
/// [`ChainError`], the first that applies.
pub fn verify_pck_authority(
    authority: &Certificate,
    root: &Certificate,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<(), ChainError> {
    verify_certificate(Link::PckAuthority, authority, root, provider)?;
    check_subject(Link::PckAuthority, authority, &PCK_AUTHORITIES, "a PCK authority of Intel")?;
    check_path_length(authority)?;
    check_extensions(Link::PckAuthority, authority)?;
    check_certificate_time(Link::PckAuthority, authority, now_ms)
}

fn check_path_length(authority: &Certificate) -> Result<(), ChainError> {
    match authority.path_length() {
        Some(0) => Ok(()),
        found => Err(ChainError::PathLength { link: Link::PckAuthority, found, expected: "0" }),
    }
}

fn verify_document(
    collateral: &Collateral,
    document: Document,
    now_ms: u64,
    provider: &dyn Provider,
) -> Result<(), DocumentError> {
    let (body, signature, signer, issued_ms, next_update_ms) = match document {
        Document::TcbInfo => {
            let info = &collateral.tcb_info;
            let (signature, signer) = (&collateral.tcb_info_signature, &collateral.tcb_info_signer);
            (info.signed_bytes(), signature, signer, info.issued_ms(), info.next_update_ms())
        }
        Document::QeIdentity => {
            let identity = &collateral.qe_identity;
            let (signature, signer) = (&collateral.qe_identity_signature, &collateral.qe_identity_signer);
            (identity.signed_bytes(), signature, signer, identity.issued_ms(), identity.next_update_ms())
        }
    };
    let PublicKey::P256(key) = signer.public_key() else {
        return Err(DocumentError::Signature { document });
    };
    provider.verify_p256(key, body, signature).map_err(|_| DocumentError::Signature { document })?;
    if now_ms < issued_ms {
        return Err(DocumentError::NotYetValid { document, issued_ms, now_ms });
    }
    if now_ms > next_update_ms {
        return Err(DocumentError::Expired { document, next_update_ms, now_ms });
    }
    Ok(())
}

impl std::fmt::Display for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Document::TcbInfo => "TCB info",
            Document::QeIdentity => "identity of the Quoting Enclave",
        })
    }
}

const PCK: &str = "Intel SGX PCK Certificate";
pub(super) const TCB_SIGNING: &str = "Intel SGX TCB Signing";
const PCK_AUTHORITIES: [&str; 2] = ["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"];
