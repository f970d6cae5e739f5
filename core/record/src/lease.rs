//! Which boot may go on, until when, and which seats say so?
//!
//! A seat leases an instance to one boot at a time and signs the lease, with its own clock's begin and end.
//! The boot shows its leases to whoever asks what it is: a guest that was paused, or that a newer boot has
//! superseded, has only leases that have ended or soon will.

use casemate_crypto::{hash::Sha256, sign};
use minicbor::{Decode, Encode};

use crate::{AppId, BootId, InstanceId, KmsId, MAXIMUM_SEATS, Record, Roster, Signed, WorkloadDigest};

/// One seat's lease of an instance to a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Lease {
    /// The key service.
    #[n(0)]
    pub kms_id: KmsId,
    /// The roster that seat and guest go by.
    #[n(1)]
    pub roster_digest: Sha256,
    /// The seats' set of secrets.
    #[n(2)]
    pub key_epoch: u32,
    /// Index of the seat.
    #[n(3)]
    pub seat: u8,
    /// The app.
    #[n(4)]
    pub app_id: AppId,
    /// What the boot runs, by its evidence.
    #[n(5)]
    pub workload_digest: WorkloadDigest,
    /// The instance.
    #[n(6)]
    pub instance: InstanceId,
    /// The boot.
    #[n(7)]
    pub boot_id: BootId,
    /// When it was given, by the seat's clock: Unix milliseconds.
    #[n(8)]
    pub begins_ms: u64,
    /// When it ends, by the seat's clock: Unix milliseconds.
    #[n(9)]
    pub ends_ms: u64,
}

impl Record for Lease {
    const PURPOSE: &'static str = "casemate/1/lease";
    const MAXIMUM_BYTES: usize = 512;
}

impl Lease {
    /// How long it is, in milliseconds.
    pub fn length_ms(&self) -> u64 {
        self.ends_ms.saturating_sub(self.begins_ms)
    }
}

/// The boot that a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// The app.
    pub app_id: AppId,
    /// What the boot runs.
    pub workload_digest: WorkloadDigest,
    /// The instance.
    pub instance: InstanceId,
    /// The boot.
    pub boot_id: BootId,
}

/// A lease as at least q seats signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerm {
    /// When the last of the leases was given, by its seat's clock: Unix milliseconds.
    pub begins_ms: u64,
    /// When the first of them ends: Unix milliseconds.
    pub ends_ms: u64,
}

/// Why leases do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseFault {
    /// Not a signed lease.
    #[error("{bytes} bytes are no signed lease")]
    Encoding {
        /// Length in bytes.
        bytes: usize,
    },
    /// Of another key service.
    #[error("a lease of key service {}, expected {}", found.short(), expected.short())]
    OtherService {
        /// The key service expected.
        expected: KmsId,
        /// The key service found.
        found: KmsId,
    },
    /// Under another roster.
    #[error("a lease under roster {}, expected {}", found.short(), expected.short())]
    OtherRoster {
        /// The roster expected.
        expected: Sha256,
        /// The roster found.
        found: Sha256,
    },
    /// Of another key epoch than the roster's.
    #[error("a lease of key epoch {found}, the roster has {expected}")]
    OtherKeyEpoch {
        /// The roster's.
        expected: u32,
        /// The lease's.
        found: u32,
    },
    /// The roster has no such seat.
    #[error("a lease by seat {found}, the roster has {seats}")]
    UnknownSeat {
        /// Index found.
        found: u8,
        /// Seats of the roster.
        seats: u8,
    },
    /// Not signed by the seat that it names.
    #[error("a lease in the name of seat {seat}: {source}")]
    Signature {
        /// The seat.
        seat: u8,
        /// What is wrong.
        source: sign::Error,
    },
    /// For another boot, instance, workload or app.
    #[error("seat {seat}'s lease is for boot {} of instance {}, not for this one", boot_id.short(), instance.short())]
    OtherHolder {
        /// The seat.
        seat: u8,
        /// The instance in the lease.
        instance: InstanceId,
        /// The boot in the lease.
        boot_id: BootId,
    },
    /// It ends before it begins.
    #[error("seat {seat}'s lease ends before it begins")]
    Backwards {
        /// The seat.
        seat: u8,
    },
    /// A second one of the same seat.
    #[error("two leases by seat {seat}")]
    SeatRepeated {
        /// The seat.
        seat: u8,
    },
    /// The evidence states another end than the leases have.
    #[error("the session says that its leases end at {stated_ms}, the first of them ends at {found_ms}")]
    OtherEnd {
        /// The end that the session states, Unix milliseconds.
        stated_ms: u64,
        /// The end of the lease that ends first, Unix milliseconds.
        found_ms: u64,
    },
    /// Too few of them, or more than there can be seats.
    #[error("leases by {found} seats, {needed} are needed and at most {MAXIMUM_SEATS} possible")]
    Count {
        /// Leases found.
        found: usize,
        /// q.
        needed: usize,
    },
}

impl Roster {
    /// The lease, if a seat of this roster signed it for this boot.
    ///
    /// # Errors
    /// [`LeaseFault`], by check.
    pub fn check_lease(&self, signed: &Signed<Lease>, holder: &LeaseHolder) -> Result<Lease, LeaseFault> {
        let unreadable = |_| LeaseFault::Encoding { bytes: signed.body().len() };
        let claimed = signed.claimed().map_err(unreadable)?;
        if claimed.kms_id != self.kms_id {
            return Err(LeaseFault::OtherService { expected: self.kms_id, found: claimed.kms_id });
        }
        let (expected, found) = (self.digest(), claimed.roster_digest);
        if found != expected {
            return Err(LeaseFault::OtherRoster { expected, found });
        }
        let (expected, found) = (self.key_epoch, claimed.key_epoch);
        if found != expected {
            return Err(LeaseFault::OtherKeyEpoch { expected, found });
        }
        let seat = self
            .seats
            .iter()
            .find(|seat| seat.index == claimed.seat)
            .ok_or(LeaseFault::UnknownSeat { found: claimed.seat, seats: self.seat_count() })?;
        let seat_index = seat.index;
        let lease = signed.verify(&seat.signing).map_err(|error| match error {
            crate::Error::Signature { source, .. } => LeaseFault::Signature { seat: seat_index, source },
            other => unreadable(other),
        })?;
        let LeaseHolder { app_id, workload_digest, instance, boot_id } = *holder;
        let is_holder = lease.app_id == app_id
            && lease.workload_digest == workload_digest
            && lease.instance == instance
            && lease.boot_id == boot_id;
        if !is_holder {
            let Lease { instance, boot_id, .. } = lease;
            return Err(LeaseFault::OtherHolder { seat: seat_index, instance, boot_id });
        }
        if lease.ends_ms < lease.begins_ms {
            return Err(LeaseFault::Backwards { seat: seat_index });
        }
        Ok(lease)
    }

    /// The term of leases, each as a seat encoded it, if all of them are good, at least q seats signed, and
    /// the first ends at `stated_end_ms`, which the holder commits to.
    ///
    /// # Errors
    /// [`LeaseFault::Count`]; [`LeaseFault`] of the first that is not good; [`LeaseFault::OtherEnd`].
    pub fn check_leases(
        &self,
        leases: &[impl AsRef<[u8]>],
        holder: &LeaseHolder,
        stated_end_ms: u64,
    ) -> Result<LeaseTerm, LeaseFault> {
        let (found, needed) = (leases.len(), usize::from(self.quorum));
        if found < needed || found > usize::from(MAXIMUM_SEATS) {
            return Err(LeaseFault::Count { found, needed });
        }
        let mut term = LeaseTerm { begins_ms: 0, ends_ms: u64::MAX };
        let mut seats = Vec::new();
        for bytes in leases {
            let bytes = bytes.as_ref();
            let signed =
                Signed::from_bytes(bytes).map_err(|_| LeaseFault::Encoding { bytes: bytes.len() })?;
            let lease = self.check_lease(&signed, holder)?;
            if seats.contains(&lease.seat) {
                return Err(LeaseFault::SeatRepeated { seat: lease.seat });
            }
            seats.push(lease.seat);
            term.begins_ms = term.begins_ms.max(lease.begins_ms);
            term.ends_ms = term.ends_ms.min(lease.ends_ms);
        }
        if term.ends_ms != stated_end_ms {
            return Err(LeaseFault::OtherEnd { stated_ms: stated_end_ms, found_ms: term.ends_ms });
        }
        Ok(term)
    }
}
