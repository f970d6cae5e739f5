//! Which key service is this, and which secrets was it born with?

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::{
    hash::{Sha256, sha256},
    sign::{PublicKey, SigningKey},
};
use minicbor::{Decode, Encode};

use crate::{Error, KmsId, MAXIMUM_SEATS, Roster, Salt, SeatSignature, signed::signing_input};

const GENESIS_TAG: &str = "casemate/1/kms-genesis";
const BIRTH_PURPOSE: &str = "casemate/1/kms-birth";
/// C(9,4): the most subsets that any t of n up to 9 has.
const MAXIMUM_SUBSETS: usize = 126;

/// What a key service is born with; its hash is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KmsGenesis {
    /// The operators' key, which signs every roster.
    #[n(0)]
    pub operators: PublicKey,
    /// Makes each service its own.
    #[n(1)]
    pub salt: Salt,
}

impl KmsGenesis {
    /// The service's name: SHA-256 of CBOR `[tag, genesis]`.
    pub fn kms_id(&self) -> KmsId {
        KmsId::from(*sha256(&to_cbor(&(GENESIS_TAG, self))).as_bytes())
    }
}

/// A set of seats: bit `i - 1` stands for the seat with index `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Subset(#[n(0)] u16);

impl Subset {
    /// All subsets A of n-t+1 of n seats, in rising order: those whose members share a secret.
    ///
    /// # Errors
    /// [`Error::SeatCount`], [`Error::Threshold`].
    pub fn all(seats: u8, threshold: u8) -> Result<Vec<Subset>, Error> {
        check_threshold(seats, threshold)?;
        let size = u32::from(seats - threshold + 1);
        Ok((1..1u16 << seats).filter(|mask| mask.count_ones() == size).map(Subset).collect())
    }

    /// Whether the seat with this index (1 to 9) is a member.
    pub fn contains(self, index: u8) -> bool {
        (1..=MAXIMUM_SEATS).contains(&index) && self.0 & (1 << (index - 1)) != 0
    }

    /// The bits.
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl From<u16> for Subset {
    fn from(bits: u16) -> Self {
        Subset(bits)
    }
}

/// Refuses numbers of seats and thresholds for which the derivation is not defined.
pub(crate) fn check_threshold(seats: u8, threshold: u8) -> Result<(), Error> {
    if !(1..=MAXIMUM_SEATS).contains(&seats) {
        return Err(Error::SeatCount { found: seats.into() });
    }
    // t = n > 1 would leave every secret with a single seat: one lost seat loses every key.
    if threshold == 0 || threshold > seats || (threshold == seats && seats > 1) {
        return Err(Error::Threshold { threshold, seats });
    }
    Ok(())
}

/// Commits to one subset's secret without telling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SubsetCommitment {
    /// The holders.
    #[n(0)]
    pub subset: Subset,
    /// SHA-256 of tag, KMS id, key epoch, subset and secret.
    #[n(1)]
    pub commitment: Sha256,
}

/// Commits to every secret of a key epoch; no seat answers before all have signed it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Birth {
    /// The service.
    #[n(0)]
    pub kms_id: KmsId,
    /// The key epoch these secrets are for.
    #[n(1)]
    pub key_epoch: u32,
    /// One commitment per subset, in rising order.
    #[n(2)]
    pub commitments: Vec<SubsetCommitment>,
}

/// A [`Birth`] with the signatures of all seats, by rising index.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedBirth {
    /// The encoded [`Birth`].
    #[cbor(n(0), with = "minicbor::bytes")]
    body: Vec<u8>,
    #[n(1)]
    signatures: Vec<SeatSignature>,
}

impl SignedBirth {
    /// Begins a birth record without signatures.
    pub fn new(birth: &Birth) -> Self {
        SignedBirth { body: to_cbor(birth), signatures: Vec::new() }
    }

    /// Adds the signature of the seat with this index.
    pub fn add_signature(&mut self, index: u8, key: &SigningKey) {
        let signature = key.sign(&signing_input(BIRTH_PURPOSE, &self.body));
        self.signatures.retain(|present| present.index != index);
        self.signatures.push(SeatSignature { index, signature });
        self.signatures.sort_by_key(|present| present.index);
    }

    /// The birth record, if every seat of `roster` signed it and it covers every subset.
    ///
    /// # Errors
    /// [`Error::Encoding`], [`Error::KmsIdMismatch`], [`Error::KeyEpochMismatch`],
    /// [`Error::SignatureCount`], [`Error::SeatIndex`], [`Error::Signature`], [`Error::Commitments`].
    pub fn verify(&self, roster: &Roster) -> Result<Birth, Error> {
        let birth: Birth = from_cbor(&self.body, 64 * MAXIMUM_SUBSETS)
            .map_err(|source| Error::Encoding { what: BIRTH_PURPOSE, source })?;
        if birth.kms_id != roster.kms_id {
            return Err(Error::KmsIdMismatch { expected: roster.kms_id, found: birth.kms_id });
        }
        if birth.key_epoch != roster.key_epoch {
            return Err(Error::KeyEpochMismatch { expected: roster.key_epoch, found: birth.key_epoch });
        }
        if self.signatures.len() != roster.seats.len() {
            return Err(Error::SignatureCount { found: self.signatures.len(), needed: roster.seats.len() });
        }
        for (seat, found) in roster.seats.iter().zip(&self.signatures) {
            found.verify(seat, BIRTH_PURPOSE, &self.body)?;
        }
        let expected = Subset::all(roster.seat_count(), roster.threshold)?;
        if !birth.commitments.iter().map(|entry| entry.subset).eq(expected.iter().copied()) {
            return Err(Error::Commitments { found: birth.commitments.len(), expected: expected.len() });
        }
        Ok(birth)
    }
}
