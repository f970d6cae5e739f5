//! What was decided, and by whom?
//!
//! An app is named by the hash of its [`Genesis`]; its owner signs [`AuthorityRecord`]s (which
//! workload, under which policy), [`InstanceRecord`]s, [`VolumeRecord`]s and [`Order`]s. A key service
//! is named by the hash of its [`KmsGenesis`]; its seats stand in a chain of [`Roster`]s. Numbers only
//! rise, and a signature over one kind of record is a signature over no other. What a seat took of an
//! owner it says in a signed [`SubmissionReceipt`], which boot may go on in a signed [`Lease`].
//!
//! ```
//! use casemate_crypto::sign::SigningKey;
//! use casemate_record::{Authority, AuthorityRecord, Genesis, PolicyDigest, Signed, UpgradeRule, WorkloadDigest};
//!
//! let owner = SigningKey::from_bytes(&[7; 32])?;
//! let genesis = Genesis {
//!     owner: owner.public(), authority: Authority::Local, upgrade_rule: UpgradeRule::Owner, salt: [1; 32].into(),
//! };
//! let first = AuthorityRecord {
//!     app_id: genesis.app_id(), number: 1,
//!     workload_digest: WorkloadDigest::from([2; 32]), policy_digest: PolicyDigest::from([3; 32]),
//! };
//! let signed = Signed::sign(&owner, &first);
//! assert_eq!(genesis.accept(None, &signed)?, first);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It does not say whether a guest runs the workload it names: that is evidence, and `casemate-verify`.
#![forbid(unsafe_code)]

mod app;
mod error;
mod identifier;
mod instance;
mod kms;
mod lease;
mod order;
mod receipt;
mod roster;
mod signed;
mod stamp;
mod submission;

pub use app::{Authority, AuthorityRecord, Genesis, UpgradeRule};
pub use error::Error;
pub use identifier::{AppId, BootId, InstanceId, KmsId, PolicyDigest, Salt, VolumeName, WorkloadDigest};
pub use instance::{InstanceRecord, VolumeAction, VolumeRecord};
pub use kms::{Birth, KmsGenesis, SignedBirth, Subset, SubsetCommitment};
pub use lease::{Lease, LeaseFault, LeaseHolder, LeaseTerm};
pub use order::{Order, OrderAction};
pub use receipt::{Confirmed, ReceiptFault, SubmissionReceipt, Taken};
pub use roster::{MAXIMUM_SEATS, Roster, RosterChain, Seat, SeatSignature, SeenRoster, SignedRoster};
pub use signed::{Record, Signed};
pub use stamp::Stamp;
pub use submission::{Submission, SubmissionNonce, SubmissionRequest};
