//! Did enough seats take what the owner sent?
//!
//! Whoever carries a submission could answer "taken" and drop it: an upgrade, a revocation or an erasure
//! would then never happen. So each seat signs a [`SubmissionReceipt`] once the submission is on its disk,
//! and the owner counts only these ([`Roster::confirm`]).

use casemate_crypto::{hash::Sha256, sign};
use minicbor::{Decode, Encode};

use crate::{Error, KmsId, Record, Roster, Signed, SubmissionNonce, SubmissionRequest};

/// Most receipts looked at: two for each seat that there can be.
const MAXIMUM_RECEIPTS: usize = 18;
/// Longest signed receipt accepted in bytes.
const MAXIMUM_BYTES: usize = 512;

/// What a seat signs once a submission is on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SubmissionReceipt {
    /// The key service.
    #[n(0)]
    pub kms_id: KmsId,
    /// The roster that the seat goes by.
    #[n(1)]
    pub roster_digest: Sha256,
    /// Index of the seat in it.
    #[n(2)]
    pub seat: u8,
    /// The nonce of the request it answers.
    #[n(3)]
    pub nonce: SubmissionNonce,
    /// SHA-256 of the submission's encoding.
    #[n(4)]
    pub submission_digest: Sha256,
    /// Which kind of submission it was, and what is true at the seat since.
    #[n(5)]
    pub taken: Taken,
    /// The seat's clock, Unix milliseconds.
    #[n(6)]
    pub time_ms: u64,
}

impl Record for SubmissionReceipt {
    const PURPOSE: &'static str = "casemate/1/submission-receipt";
    const MAXIMUM_BYTES: usize = MAXIMUM_BYTES;
}

/// What is true at a seat that took a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum Taken {
    /// The app's newest authority record has this number.
    #[n(0)]
    Authority {
        /// Number of the record.
        #[n(0)]
        number: u64,
    },
    /// The instance exists by the record with this number.
    #[n(1)]
    Instance {
        /// Number of the record.
        #[n(0)]
        number: u64,
    },
    /// The volume's newest record has this number; the volume is erased and its salt destroyed.
    #[n(2)]
    Erased {
        /// Number of the record.
        #[n(0)]
        number: u64,
    },
    /// The volume's newest record has this number; it took the volume back to a stamp.
    #[n(3)]
    Restored {
        /// Number of the record.
        #[n(0)]
        number: u64,
        /// Counter of the stamp.
        #[n(1)]
        counter: u64,
    },
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Taken::Authority { number } => write!(f, "authority record {number}"),
            Taken::Instance { number } => write!(f, "instance record {number}"),
            Taken::Erased { number } => write!(f, "the erasure of a volume by record {number}"),
            Taken::Restored { number, counter } => {
                write!(f, "the restoring of a volume to stamp {counter} by record {number}")
            }
        }
    }
}

/// A submission that at least q seats have on their disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// What is true there.
    pub taken: Taken,
    /// Indexes of the seats that signed so, rising.
    pub seats: Vec<u8>,
    /// Seats of the roster.
    pub seat_count: u8,
}

/// Why a receipt does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptFault {
    /// Not a receipt.
    #[error("one of {bytes} bytes is no receipt: {source}")]
    Encoding {
        /// Its length in bytes.
        bytes: usize,
        /// What is wrong.
        source: Box<Error>,
    },
    /// Of another key service.
    #[error("one is of key service {}, expected {}", found.short(), expected.short())]
    OtherService {
        /// The app's key service.
        expected: KmsId,
        /// The service in the receipt.
        found: KmsId,
    },
    /// The seat goes by another roster.
    #[error("seat {seat} goes by roster {}, you by {}", found.short(), expected.short())]
    OtherRoster {
        /// The seat, by its own word.
        seat: u8,
        /// The roster known here.
        expected: Sha256,
        /// The roster in the receipt.
        found: Sha256,
    },
    /// The roster has no such seat.
    #[error("one is of seat {found}, the roster has {seats}")]
    UnknownSeat {
        /// Index in the receipt.
        found: u8,
        /// Seats of the roster.
        seats: u8,
    },
    /// Not signed by the seat that it names.
    #[error("one in the name of seat {seat} was not signed by it, or was changed")]
    Signature {
        /// The seat.
        seat: u8,
        /// What is wrong.
        source: sign::Error,
    },
    /// For another submission.
    #[error("seat {seat} took submission {}, {} was sent", found.short(), expected.short())]
    OtherSubmission {
        /// The seat.
        seat: u8,
        /// Digest of the submission sent.
        expected: Sha256,
        /// Digest in the receipt.
        found: Sha256,
    },
    /// For an earlier sending.
    #[error("seat {seat}'s answers an earlier sending of the same submission")]
    OtherSending {
        /// The seat.
        seat: u8,
    },
    /// The seat took it and says that something else is true since.
    #[error("seat {seat} took the submission for {found}, expected {expected}")]
    OtherOutcome {
        /// The seat.
        seat: u8,
        /// What taking it means.
        expected: Taken,
        /// What the seat says.
        found: Taken,
    },
    /// A second one of the same seat.
    #[error("seat {seat} is there twice")]
    SeatRepeated {
        /// The seat.
        seat: u8,
    },
}

impl Roster {
    /// Counts the receipts for a request, each as a seat encoded it, by distinct seats of this roster.
    ///
    /// It is for the caller to know that the roster is the key service's newest.
    ///
    /// # Errors
    /// [`Error::ReceiptCount`], [`Error::TooFewReceipts`] below q, with each receipt that did not count.
    pub fn confirm(
        &self,
        request: &SubmissionRequest,
        receipts: &[impl AsRef<[u8]>],
    ) -> Result<Confirmed, Error> {
        if receipts.len() > MAXIMUM_RECEIPTS {
            return Err(Error::ReceiptCount { found: receipts.len(), maximum: MAXIMUM_RECEIPTS });
        }
        let taken = request.submission.outcome()?;
        let (mut seats, mut faults) = (Vec::new(), Vec::new());
        for bytes in receipts {
            match self.check_receipt(request, taken, bytes.as_ref()) {
                Ok(seat) if seats.contains(&seat) => faults.push(ReceiptFault::SeatRepeated { seat }),
                Ok(seat) => seats.push(seat),
                Err(fault) => faults.push(fault),
            }
        }
        seats.sort_unstable();
        let needed = usize::from(self.quorum);
        if seats.len() < needed {
            return Err(Error::TooFewReceipts { expected: taken, found: seats, needed, faults });
        }
        Ok(Confirmed { taken, seats, seat_count: self.seat_count() })
    }

    /// The seat whose receipt this is, if it says that it took just this request.
    fn check_receipt(
        &self,
        request: &SubmissionRequest,
        taken: Taken,
        bytes: &[u8],
    ) -> Result<u8, ReceiptFault> {
        let unreadable = |source| ReceiptFault::Encoding { bytes: bytes.len(), source: Box::new(source) };
        let signed = Signed::<SubmissionReceipt>::from_bytes(bytes).map_err(unreadable)?;
        let claimed = signed.claimed().map_err(unreadable)?;
        if claimed.kms_id != self.kms_id {
            return Err(ReceiptFault::OtherService { expected: self.kms_id, found: claimed.kms_id });
        }
        let (expected, found) = (self.digest(), claimed.roster_digest);
        if found != expected {
            return Err(ReceiptFault::OtherRoster { seat: claimed.seat, expected, found });
        }
        let seat = self
            .seats
            .iter()
            .find(|seat| seat.index == claimed.seat)
            .ok_or(ReceiptFault::UnknownSeat { found: claimed.seat, seats: self.seat_count() })?;
        let receipt = signed.verify(&seat.signing).map_err(|error| match error {
            Error::Signature { source, .. } => ReceiptFault::Signature { seat: seat.index, source },
            other => unreadable(other),
        })?;
        let (expected, found) = (request.submission.digest(), receipt.submission_digest);
        if found != expected {
            return Err(ReceiptFault::OtherSubmission { seat: seat.index, expected, found });
        }
        if receipt.nonce != request.nonce {
            return Err(ReceiptFault::OtherSending { seat: seat.index });
        }
        if receipt.taken != taken {
            let (expected, found) = (taken, receipt.taken);
            return Err(ReceiptFault::OtherOutcome { seat: seat.index, expected, found });
        }
        Ok(seat.index)
    }
}
