//! Was this step sent by the guest that got the grant?
//!
//! Guest and seat share a secret exported from the HPKE context of the grant. Seats keep it in memory
//! only: after a restart the guest asks for a grant again, with fresh evidence.

use casemate_canon::to_cbor;
use casemate_crypto::{hash::Sha256, kdf, secret::Secret};
use casemate_record::{Stamp, VolumeName};

use crate::message::{Step, VolumeStep};

const TAG: &str = "casemate/1/volume-step";

/// Makes one step of a volume in the session of the grant with transcript `session`.
pub fn volume_step(
    secret: &Secret<32>,
    session: Sha256,
    step: Step,
    volume: &VolumeName,
    stamp: &Stamp,
) -> VolumeStep {
    let mac = kdf::hmac_sha256(secret, TAG, &[&input(step, &session, volume, stamp)]);
    VolumeStep { session, volume: volume.clone(), stamp: *stamp, mac }
}

/// Whether the holder of `secret` sent `request` as this `step`, in constant time.
#[must_use]
pub fn verify_volume_step(secret: &Secret<32>, step: Step, request: &VolumeStep) -> bool {
    let input = input(step, &request.session, &request.volume, &request.stamp);
    kdf::verify_hmac_sha256(secret, TAG, &[&input], &request.mac)
}

fn input(step: Step, session: &Sha256, volume: &VolumeName, stamp: &Stamp) -> Vec<u8> {
    to_cbor(&(step, session, volume, stamp))
}
