//! Is this set of collateral whole, genuine and current, and whose is it?

use casemate_crypto::provider;
use casemate_evidence::bundle::{Bundle, IntelCollateral};
use casemate_evidence::intel::{Body, Certification, EnclaveKind, EvaluationNumbers, Fmspc, Pck, Quote, Tee};
use casemate_evidence::x509::Certificate;
use casemate_verify::Roots;
use casemate_verify::intel::{
    AuthenticatedCollateral, AuthenticatedEvaluationNumbers, Collateral, CollateralFileError, Link,
    verify_certificate, verify_pck_authority, verify_root,
};

use super::error::{CollateralRefusal, Edition, Part};
use crate::error::Error;
use crate::item::{Key, PlatformCollateral, SignedNumbers};

/// A kind of platform, as far as Intel's collateral tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// Which TEE its quotes are of.
    pub tee: Tee,
    /// Of which processors the TCB info speaks.
    pub fmspc: Fmspc,
    /// Who certified its PCK.
    pub authority: PckAuthority,
}

/// Which of Intel's authorities certified a PCK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PckAuthority {
    /// Of platforms that registered with Intel; all servers with several packages do.
    Platform,
    /// Of single processors.
    Processor,
}

/// A set that holds; made by [`set`] only.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub item: PlatformCollateral,
    pub platform: Platform,
    pub collateral: AuthenticatedCollateral,
}

/// Numbers that hold; made by [`numbers`] only.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    pub tee: Tee,
    pub edition: Edition,
    pub numbers: AuthenticatedEvaluationNumbers,
}

/// Verifies a set at `now_ms` (milliseconds since 1970).
///
/// # Errors
/// [`Error::Collateral`].
pub(crate) fn set(item: &PlatformCollateral, roots: &Roots, now_ms: u64, origin: &str) -> Result<Set, Error> {
    let failed = |refusal: CollateralRefusal| Error::collateral(origin, refusal);
    let collateral = parse(&item.collateral, origin)?;
    let authority = certificate(&item.pck_authority, origin)?;
    let platform = platform(&collateral, &authority, origin)?;
    let collateral = AuthenticatedCollateral::verify(&collateral, roots, now_ms, provider())
        .map_err(|error| failed(error.into()))?;
    collateral.check_pck_authority(&authority, now_ms, provider()).map_err(|error| failed(error.into()))?;
    Ok(Set { item: item.clone(), platform, collateral })
}

/// Verifies evaluation numbers at `now_ms` (milliseconds since 1970).
///
/// # Errors
/// [`Error::Collateral`].
pub(crate) fn numbers(
    item: &SignedNumbers,
    roots: &Roots,
    now_ms: u64,
    origin: &str,
) -> Result<Numbers, Error> {
    let parsed = parse_numbers(item, origin)?;
    let (signer, root) = (certificate(&item.signer, origin)?, certificate(&item.root, origin)?);
    let numbers = AuthenticatedEvaluationNumbers::verify(
        &parsed,
        &item.signature,
        [&signer, &root],
        roots,
        now_ms,
        provider(),
    )
    .map_err(|error| Error::collateral(origin, error))?;
    let edition = Edition { number: None, made_ms: parsed.issued_ms() };
    Ok(Numbers { tee: parsed.tee(), edition, numbers })
}

/// Where a set belongs.
pub(crate) fn key_of_set(item: &PlatformCollateral, origin: &str) -> Result<Key, Error> {
    let authority = certificate(&item.pck_authority, origin)?;
    let platform = platform(&parse(&item.collateral, origin)?, &authority, origin)?;
    Ok(Key::IntelCollateral { platform })
}

/// Where evaluation numbers belong.
pub(crate) fn key_of_numbers(item: &SignedNumbers, origin: &str) -> Result<Key, Error> {
    Ok(Key::IntelEvaluationNumbers { tee: parse_numbers(item, origin)?.tee() })
}

impl Set {
    /// The set as evidence carries it.
    pub fn to_bundle_item(&self) -> IntelCollateral {
        self.item.collateral.clone()
    }

    /// Refuses a set of which a part is older than in `stored`, as far as both speak of the same thing.
    pub fn check_not_older_than(&self, stored: &Set, origin: &str) -> Result<(), Error> {
        let same_tee = self.platform.tee == stored.platform.tee;
        let comparable = |part| match part {
            Part::TcbInfo => same_tee && self.platform.fmspc == stored.platform.fmspc,
            Part::QeIdentity => same_tee,
            Part::RootRevocationList => true,
            Part::PckRevocationList => self.platform.authority == stored.platform.authority,
            Part::EvaluationNumbers => false,
        };
        for ((part, found), (_, stored)) in self.editions().into_iter().zip(stored.editions()) {
            if comparable(part) && found.is_older_than(&stored) {
                return Err(Error::collateral(origin, CollateralRefusal::Older { part, found, stored }));
            }
        }
        Ok(())
    }

    fn editions(&self) -> [(Part, Edition); 4] {
        let Collateral { tcb_info, qe_identity, root_revocation_list, pck_revocation_list, .. } =
            self.collateral.collateral();
        let document = |number: u32, made_ms| Edition { number: Some(number.into()), made_ms };
        [
            (Part::TcbInfo, document(tcb_info.evaluation_number(), tcb_info.issued_ms())),
            (Part::QeIdentity, document(qe_identity.evaluation_number(), qe_identity.issued_ms())),
        ]
        .into_iter()
        .chain(
            [
                (Part::RootRevocationList, root_revocation_list),
                (Part::PckRevocationList, pck_revocation_list),
            ]
            .map(|(part, list)| (part, Edition { number: list.number(), made_ms: list.this_update_ms() })),
        )
        .collect::<Vec<_>>()
        .try_into()
        .expect("four parts")
    }
}

impl Platform {
    /// The platform that made a quote, if a trusted root vouches for its PCK at `now_ms`; else `None`:
    /// nobody is asked about what strangers made up.
    pub(crate) fn of_quote(quote: &Quote, roots: &Roots, now_ms: u64) -> Option<Self> {
        let [leaf, authority, root] = chain(quote)?;
        verify_root(&root, roots, now_ms, provider()).ok()?;
        verify_pck_authority(&authority, &root, now_ms, provider()).ok()?;
        verify_certificate(Link::Pck, &leaf, &authority, provider()).ok()?;
        let tee = match quote.body() {
            Body::Sgx(_) => Tee::Sgx,
            Body::Tdx(_) => Tee::Tdx,
        };
        let fmspc = Pck::read(&leaf).ok()?.fmspc();
        Some(Self { tee, fmspc, authority: PckAuthority::of(&authority)? })
    }
}

impl PckAuthority {
    /// As the service calls it.
    pub fn name(self) -> &'static str {
        match self {
            PckAuthority::Platform => "platform",
            PckAuthority::Processor => "processor",
        }
    }

    pub(super) fn of(certificate: &Certificate) -> Option<Self> {
        match certificate.subject_common_name().as_str() {
            "Intel SGX PCK Platform CA" => Some(PckAuthority::Platform),
            "Intel SGX PCK Processor CA" => Some(PckAuthority::Processor),
            _ => None,
        }
    }
}

impl PlatformCollateral {
    /// The collateral that evidence carries along, with the authority from its quote.
    pub fn from_bundle(bundle: &Bundle) -> Option<Self> {
        let collateral = bundle.intel_collateral()?.clone();
        let quote = Quote::parse(bundle.tdx_quote().or(bundle.sgx_quote())?).ok()?;
        let [_, authority, _] = chain(&quote)?;
        let collateral = IntelCollateral { pck_chain: Vec::new(), ..collateral };
        Some(Self { collateral, pck_authority: authority.as_der().to_vec().into() })
    }
}

fn chain(quote: &Quote) -> Option<[Certificate; 3]> {
    match &quote.signature().certification {
        certificates @ Certification::Certificates { .. } => {
            certificates.certificates().ok()?.try_into().ok()
        }
        Certification::Name(_) => None,
    }
}

fn platform(collateral: &Collateral, authority: &Certificate, origin: &str) -> Result<Platform, Error> {
    let tee = collateral.tcb_info.tee();
    let found = match collateral.qe_identity.kind() {
        EnclaveKind::Qe => Tee::Sgx,
        EnclaveKind::TdQe => Tee::Tdx,
    };
    if found != tee {
        return Err(Error::collateral(origin, CollateralRefusal::OtherTee { found, expected: tee }));
    }
    let unknown = || Error::UnknownName { origin: origin.to_owned(), found: authority.subject_common_name() };
    let authority = PckAuthority::of(authority).ok_or_else(unknown)?;
    Ok(Platform { tee, fmspc: collateral.tcb_info.fmspc(), authority })
}

fn parse(item: &IntelCollateral, origin: &str) -> Result<Collateral, Error> {
    Collateral::from_bundle_item(item).map_err(|error| Error::collateral(origin, error))
}

fn parse_numbers(item: &SignedNumbers, origin: &str) -> Result<EvaluationNumbers, Error> {
    EvaluationNumbers::parse(&item.body)
        .map_err(|error| Error::collateral(origin, CollateralFileError::Document(error)))
}

fn certificate(der: &[u8], origin: &str) -> Result<Certificate, Error> {
    Certificate::parse(der).map_err(|error| Error::collateral(origin, CollateralFileError::Unreadable(error)))
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tee = tee_name(self.tee);
        write!(f, "{tee} platforms {}, PCKs of the {} CA", self.fmspc, self.authority.name())
    }
}

/// As people call a TEE.
pub(crate) fn tee_name(tee: Tee) -> &'static str {
    match tee {
        Tee::Sgx => "SGX",
        Tee::Tdx => "TDX",
    }
}

/// First and last moment at which a set holds, in milliseconds since 1970.
pub(crate) fn dates(item: &PlatformCollateral, origin: &str) -> Result<(u64, u64), Error> {
    Ok(parse(&item.collateral, origin)?.window())
}

/// As [`dates`].
pub(crate) fn dates_of_numbers(item: &SignedNumbers, origin: &str) -> Result<(u64, u64), Error> {
    let numbers = parse_numbers(item, origin)?;
    Ok((numbers.issued_ms(), numbers.next_update_ms()))
}
