//! Which instances and volumes does the owner want?

use minicbor::{Decode, Encode};

use crate::{AppId, InstanceId, Record, Stamp, Taken, VolumeName};

/// The owner's word that an instance of the app exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct InstanceRecord {
    /// The app.
    #[n(0)]
    pub app_id: AppId,
    /// The new instance.
    #[n(1)]
    pub instance: InstanceId,
    /// Above that of every earlier instance record of the app.
    #[n(2)]
    pub number: u64,
}

impl Record for InstanceRecord {
    const PURPOSE: &'static str = "casemate/1/instance-record";
}

/// What the owner wants done to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum VolumeAction {
    /// Destroy its salt: its keys are refused from now on, for good.
    #[n(0)]
    Erase,
    /// Go back to the state with this stamp, which the owner kept with a backup of the disk.
    #[n(1)]
    Restore(#[n(0)] Stamp),
}

/// The owner's word on one volume of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VolumeRecord {
    /// The app.
    #[n(0)]
    pub app_id: AppId,
    /// The instance.
    #[n(1)]
    pub instance: InstanceId,
    /// The volume.
    #[n(2)]
    pub volume: VolumeName,
    /// Rises with each record on this volume, beginning at 1 or above.
    #[n(3)]
    pub number: u64,
    /// What to do.
    #[n(4)]
    pub action: VolumeAction,
}

impl VolumeRecord {
    /// What is true at a seat once it has taken this record.
    pub fn outcome(&self) -> Taken {
        match self.action {
            VolumeAction::Erase => Taken::Erased { number: self.number },
            VolumeAction::Restore(stamp) => Taken::Restored { number: self.number, counter: stamp.counter },
        }
    }
}

impl Record for VolumeRecord {
    const PURPOSE: &'static str = "casemate/1/volume-record";
}
