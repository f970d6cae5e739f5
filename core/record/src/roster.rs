//! Who are the seats of this key service?

use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::{
    hash::{Sha256, sha256},
    seal::SealingPublicKey,
    sign::{PublicKey, Signature, SigningKey},
};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{Error, KmsGenesis, KmsId, kms::check_threshold, signed::signing_input};

/// Most seats of a roster: C(9,4) = 126 subsets is as many as the derivation should carry.
pub const MAXIMUM_SEATS: u8 = 9;
const PURPOSE: &str = "casemate/1/roster";
const MAXIMUM_ROSTER_BYTES: usize = 16 * 1024;
const MAXIMUM_CHAIN: usize = 64;

/// One seat: who signs, and to which key salts and contributions are sealed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Seat {
    /// 1 to n.
    #[n(0)]
    pub index: u8,
    /// Signs grants, denials and receipts; the seat's name.
    #[n(1)]
    pub signing: PublicKey,
    /// What only this seat may read is sealed to this key.
    #[n(2)]
    pub sealing: SealingPublicKey,
}

/// The seats at one time, and how many of them are needed for what.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Roster {
    /// The service.
    #[n(0)]
    pub kms_id: KmsId,
    /// Which set of secrets the seats hold.
    #[n(1)]
    pub key_epoch: u32,
    /// 1 for the first roster, then one more for each change.
    #[n(2)]
    pub number: u64,
    /// Digest of the roster before; none for the first.
    #[n(3)]
    pub previous: Option<Sha256>,
    /// The seats, indexes 1 to n in order.
    #[n(4)]
    pub seats: Vec<Seat>,
    /// t: so many seats derive a key, fewer learn nothing.
    #[n(5)]
    pub threshold: u8,
    /// q: so many seats must know the newest stamp; 2q > n + f.
    #[n(6)]
    pub quorum: u8,
    /// f: so many seats may lie or be rolled back without an old volume being taken for the newest.
    #[n(7)]
    pub faulty: u8,
}

impl Roster {
    /// n.
    pub fn seat_count(&self) -> u8 {
        u8::try_from(self.seats.len()).unwrap_or(u8::MAX)
    }

    /// The digest by which report data and requests name this roster: SHA-256 of CBOR `[tag, body]`.
    pub fn digest(&self) -> Sha256 {
        sha256(&signing_input(PURPOSE, &to_cbor(self)))
    }

    /// The seat with this signing key.
    pub fn seat(&self, signing: &PublicKey) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.signing == *signing)
    }

    /// What to remember of it, so that no older or other one is taken later.
    pub fn seen(&self) -> SeenRoster {
        SeenRoster { number: self.number, digest: self.digest() }
    }

    /// Checks what a roster must satisfy on its own.
    ///
    /// # Errors
    /// [`Error::SeatCount`], [`Error::Threshold`], [`Error::SeatIndex`], [`Error::SeatRepeated`],
    /// [`Error::Quorum`], [`Error::NumberZero`].
    pub fn check(&self) -> Result<(), Error> {
        let seats = self.seat_count();
        check_threshold(seats, self.threshold)?;
        if self.number == 0 {
            return Err(Error::NumberZero);
        }
        for (place, seat) in self.seats.iter().enumerate() {
            let expected = u8::try_from(place + 1).expect("at most nine seats");
            if seat.index != expected {
                return Err(Error::SeatIndex { found: seat.index, expected });
            }
            let earlier = &self.seats[..place];
            if earlier.iter().any(|other| other.signing == seat.signing || other.sealing == seat.sealing) {
                return Err(Error::SeatRepeated { index: seat.index });
            }
        }
        let enough = 2 * u16::from(self.quorum) > u16::from(seats) + u16::from(self.faulty);
        if self.quorum > seats || !enough {
            return Err(Error::Quorum { quorum: self.quorum, seats, faulty: self.faulty });
        }
        Ok(())
    }
}

/// What is remembered of the newest roster of a key service that was ever verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenRoster {
    /// Its number.
    pub number: u64,
    /// Its digest.
    pub digest: Sha256,
}

/// A seat's signature under a record that several sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SeatSignature {
    /// Index of the seat.
    #[n(0)]
    pub index: u8,
    /// Its signature.
    #[n(1)]
    pub signature: Signature,
}

impl SeatSignature {
    pub(crate) fn verify(&self, seat: &Seat, purpose: &'static str, body: &[u8]) -> Result<(), Error> {
        if self.index != seat.index {
            return Err(Error::SeatIndex { found: self.index, expected: seat.index });
        }
        seat.signing
            .verify(&signing_input(purpose, body), &self.signature)
            .map_err(|source| Error::Signature { purpose, source })
    }
}

/// A roster with the signatures of the operators and of seats of the roster before.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedRoster {
    #[cbor(n(0), with = "minicbor::bytes")]
    body: Vec<u8>,
    #[n(1)]
    operators: Signature,
    #[n(2)]
    seats: Vec<SeatSignature>,
}

impl SignedRoster {
    /// Signs `roster` as its operators.
    pub fn new(operators: &SigningKey, roster: &Roster) -> Self {
        let body = to_cbor(roster);
        let operators = operators.sign(&signing_input(PURPOSE, &body));
        SignedRoster { body, operators, seats: Vec::new() }
    }

    /// Adds the signature of the seat with this index in the roster before.
    pub fn add_signature(&mut self, index: u8, key: &SigningKey) {
        let signature = key.sign(&signing_input(PURPOSE, &self.body));
        self.seats.retain(|present| present.index != index);
        self.seats.push(SeatSignature { index, signature });
        self.seats.sort_by_key(|present| present.index);
    }

    fn verify(&self, genesis: &KmsGenesis, previous: Option<&Roster>) -> Result<Roster, Error> {
        genesis
            .operators
            .verify(&signing_input(PURPOSE, &self.body), &self.operators)
            .map_err(|source| Error::Signature { purpose: PURPOSE, source })?;
        let roster: Roster = from_cbor(&self.body, MAXIMUM_ROSTER_BYTES)
            .map_err(|source| Error::Encoding { what: PURPOSE, source })?;
        roster.check()?;
        let expected = genesis.kms_id();
        if roster.kms_id != expected {
            return Err(Error::KmsIdMismatch { expected, found: roster.kms_id });
        }
        let number = previous.map_or(1, |previous| previous.number + 1);
        if roster.number != number {
            return Err(Error::RosterNumber { found: roster.number, expected: number });
        }
        let digest = previous.map(Roster::digest);
        if roster.previous != digest {
            return Err(Error::RosterForked { number });
        }
        let Some(previous) = previous else { return Ok(roster) };
        if roster.key_epoch < previous.key_epoch {
            return Err(Error::KeyEpochMismatch { expected: previous.key_epoch, found: roster.key_epoch });
        }
        self.check_quorum(previous)?;
        Ok(roster)
    }

    fn check_quorum(&self, previous: &Roster) -> Result<(), Error> {
        if !self.seats.is_sorted_by(|a, b| a.index < b.index) {
            return Err(Error::SignatureOrder);
        }
        for found in &self.seats {
            let seat = previous
                .seats
                .iter()
                .find(|seat| seat.index == found.index)
                .ok_or(Error::SeatIndex { found: found.index, expected: previous.seat_count() })?;
            found.verify(seat, PURPOSE, &self.body)?;
        }
        let needed = usize::from(previous.quorum);
        if self.seats.len() < needed {
            return Err(Error::SignatureCount { found: self.seats.len(), needed });
        }
        Ok(())
    }
}

/// The whole history of a key service's rosters, as carried to a guest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RosterChain {
    /// What the service was born with.
    #[n(0)]
    pub genesis: KmsGenesis,
    /// Every roster since, oldest first.
    #[n(1)]
    pub rosters: Vec<SignedRoster>,
    /// The birth record of the current key epoch.
    #[n(2)]
    pub birth: crate::SignedBirth,
}

impl RosterChain {
    /// Longest encoding accepted in bytes.
    pub const MAXIMUM_BYTES: usize = 256 * 1024;

    /// Reads a chain; nothing in it is checked yet.
    ///
    /// # Errors
    /// [`Error::Encoding`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        from_cbor(bytes, Self::MAXIMUM_BYTES)
            .map_err(|source| Error::Encoding { what: "roster chain", source })
    }

    /// The encoding that [`RosterChain::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_cbor(self)
    }

    /// The newest roster, if every step from the pinned genesis is signed as it must be.
    ///
    /// It proves no freshness: a host may withhold the newest roster; seats refuse requests that name
    /// another roster than theirs.
    ///
    /// # Errors
    /// [`Error::KmsIdMismatch`] if this is another service, [`Error::ChainLength`], and those of each step.
    pub fn verify(&self, pinned: &KmsId) -> Result<Roster, Error> {
        self.verify_since(pinned, None)
    }

    /// As [`RosterChain::verify`], for a caller who has seen a roster of this service before: the chain
    /// must hold that very roster, or later ones after it.
    ///
    /// # Errors
    /// [`Error::RosterOlder`], [`Error::RosterOtherThanSeen`], and as [`RosterChain::verify`].
    pub fn verify_since(&self, pinned: &KmsId, seen: Option<&SeenRoster>) -> Result<Roster, Error> {
        let found = self.genesis.kms_id();
        if found != *pinned {
            return Err(Error::KmsIdMismatch { expected: *pinned, found });
        }
        if self.rosters.is_empty() || self.rosters.len() > MAXIMUM_CHAIN {
            return Err(Error::ChainLength { found: self.rosters.len(), maximum: MAXIMUM_CHAIN });
        }
        let mut current: Option<Roster> = None;
        for signed in &self.rosters {
            let roster = signed.verify(&self.genesis, current.as_ref())?;
            if let Some(seen) = seen.filter(|seen| seen.number == roster.number) {
                let found = roster.digest();
                if found != seen.digest {
                    return Err(Error::RosterOtherThanSeen { found, seen: *seen });
                }
            }
            current = Some(roster);
        }
        let roster = current.expect("the chain is not empty");
        if let Some(seen) = seen.filter(|seen| seen.number > roster.number) {
            return Err(Error::RosterOlder { found: roster.number, seen: *seen });
        }
        self.birth.verify(&roster)?;
        Ok(roster)
    }
}
