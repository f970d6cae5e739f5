//! Two clones, a hostile host and crashes at any step: what can a volume come to?

use casemate_crypto::{hash::sha256, kdf::hkdf_sha512, secret::Secret};
use casemate_record::{BootId, Stamp};
use casemate_volume::{
    Standing, StateError, VolumeKeys, VolumeSalt, VolumeState,
    frame::{self, Frame, FrameError},
};
use proptest::prelude::*;

fn salt(byte: u8) -> VolumeSalt {
    VolumeSalt::from_slice(&[byte; 32]).unwrap()
}

/// The keys that seats would derive with this salt.
fn keys(salt: &VolumeSalt) -> VolumeKeys {
    VolumeKeys::derive(&hkdf_sha512(b"test", salt.expose(), b"key"))
}

fn boot(number: u8) -> BootId {
    BootId::from([number; 16])
}

fn live_salt(state: &VolumeState) -> Option<VolumeSalt> {
    match state {
        VolumeState::Creating { salt, .. } | VolumeState::Live { salt, .. } => Some(salt.clone()),
        _ => None,
    }
}

/// A disk: the two slots and the header, as bytes.
fn blank() -> Vec<u8> {
    vec![0; frame::DATA_OFFSET]
}

fn write(disk: &mut [u8], offset: usize, bytes: &[u8]) {
    disk[offset..offset + bytes.len()].copy_from_slice(bytes);
}

#[derive(Debug, Clone)]
enum Event {
    /// A boot runs so many of its steps, then crashes.
    Boot { number: u8, steps: u8 },
    /// The host puts back a disk it kept.
    PutBack { kept: usize },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let boot = (0u8..250, 0u8..6).prop_map(|(number, steps)| Event::Boot { number, steps });
    let put_back = (0usize..8).prop_map(|kept| Event::PutBack { kept });
    prop::collection::vec(prop_oneof![4 => boot, 1 => put_back], 1..30)
}

proptest! {
    #[test]
    fn no_interleaving_loses_a_committed_volume_or_opens_an_old_one(events in events()) {
        let mut state = VolumeState::default();
        let mut disk = blank();
        let mut kept: Vec<Vec<u8>> = Vec::new();
        // The disk as it was after the newest commit, which must always open.
        let mut newest: Option<Vec<u8>> = None;
        for (turn, event) in events.into_iter().enumerate() {
            match event {
                Event::PutBack { kept: which } => {
                    if let Some(old) = kept.get(which) {
                        disk.clone_from(old);
                    }
                }
                Event::Boot { number, steps } => {
                    let boot = BootId::from({ let mut id = [number; 16]; id[0] = turn as u8; id });
                    let outcome = run(&mut state, &mut disk, &boot, steps, turn as u8);
                    kept.push(disk.clone());
                    if outcome == Ran::Committed {
                        newest = Some(disk.clone());
                    }
                    if let Some(whole) = &newest {
                        prop_assert_eq!(state.standing(), Standing::Live);
                        prop_assert!(opens(&state, whole), "the newest committed disk no longer opens");
                    }
                    if outcome == Ran::Refused {
                        // What the host put there was refused; it gives the right disk back.
                        disk.clone_from(newest.as_ref().expect("only a live volume refuses"));
                    }
                }
            }
        }
    }
}

#[derive(PartialEq, Debug)]
enum Ran {
    Crashed,
    Refused,
    Committed,
}

/// What a guest does, up to `steps` steps: begin, prepare, write, commit.
fn run(state: &mut VolumeState, disk: &mut Vec<u8>, boot: &BootId, steps: u8, turn: u8) -> Ran {
    let creating = matches!(state, VolumeState::Absent | VolumeState::Creating { .. });
    if steps == 0 {
        return Ran::Crashed;
    }
    *state = state.clone().begin(boot, Some(salt(turn))).unwrap();
    let keys = keys(&live_salt(state).unwrap());
    let (header, offset) = if creating {
        let header = vec![turn; frame::HEADER_BYTES];
        *disk = blank();
        write(disk, frame::HEADER_OFFSET, &header);
        (header, 0)
    } else {
        let VolumeState::Live { stamp, pending, .. } = state.clone() else { unreachable!() };
        let prepared: Vec<Stamp> = pending.into_iter().collect();
        let copy = disk.clone();
        let frame = Frame::parse(&copy).unwrap();
        match frame.open(&keys, &stamp, &prepared) {
            Ok(opened) => (opened.header().to_vec(), opened.next_slot_offset()),
            Err(_) => return Ran::Refused,
        }
    };
    let stamp = keys.stamp(state.next_counter(), frame::header_digest(&header), *boot);
    if steps == 1 {
        return Ran::Crashed;
    }
    *state = state.clone().prepare(boot, stamp).unwrap();
    if steps == 2 {
        return Ran::Crashed;
    }
    let slot = frame::slot_bytes(&keys, &stamp, &header);
    if steps == 3 {
        write(disk, offset, &slot[..100]); // torn
        return Ran::Crashed;
    }
    write(disk, offset, &slot);
    if steps == 4 {
        return Ran::Crashed;
    }
    *state = state.clone().commit(boot, stamp).unwrap();
    Ran::Committed
}

fn opens(state: &VolumeState, disk: &[u8]) -> bool {
    let VolumeState::Live { salt, stamp, pending, .. } = state else { return false };
    let prepared: Vec<Stamp> = pending.iter().copied().collect();
    Frame::parse(disk).unwrap().open(&keys(salt), stamp, &prepared).is_ok()
}

fn live() -> (VolumeState, VolumeKeys, Stamp) {
    let keys = keys(&salt(1));
    let stamp = keys.stamp(1, sha256(b"header"), boot(1));
    let state = VolumeState::default().begin(&boot(1), Some(salt(1))).unwrap();
    let state = state.prepare(&boot(1), stamp).unwrap().commit(&boot(1), stamp).unwrap();
    (state, keys, stamp)
}

#[test]
fn each_refused_step_names_its_reason() {
    let (live, keys, stamp) = live();
    let next = |counter, number| keys.stamp(counter, sha256(b"header"), boot(number));
    let absent = VolumeState::default();
    assert_eq!(absent.clone().begin(&boot(1), None), Err(StateError::SaltMissing));
    assert_eq!(absent.clone().prepare(&boot(1), stamp), Err(StateError::Absent));
    assert_eq!(absent.commit(&boot(1), stamp), Err(StateError::Absent));
    assert_eq!(
        live.clone().prepare(&boot(2), next(1, 2)),
        Err(StateError::Counter { found: 1, expected: 2 })
    );
    assert_eq!(
        live.clone().prepare(&boot(2), next(2, 3)),
        Err(StateError::Boot { expected: boot(2), found: boot(3) })
    );
    assert_eq!(
        live.clone().prepare(&boot(1), next(2, 1)),
        Err(StateError::BootAlreadyStamped { boot: boot(1), counter: 1 })
    );
    assert_eq!(live.clone().commit(&boot(2), next(2, 2)), Err(StateError::NotPrepared { counter: 2 }));
    // After the highest counter there would be none; what may be restored leaves room for every boot there is.
    let found = u64::MAX;
    assert_eq!(live.clone().restore(next(found, 2)), Err(StateError::CounterTooHigh { found }));
    assert_eq!(live.clone().restore(next(1 << 62, 2)).unwrap().next_counter(), (1 << 62) + 1);
    let erased = live.erase();
    assert_eq!(erased, VolumeState::Erased { generation: 1 });
    assert_eq!(erased.clone().begin(&boot(2), Some(salt(2))), Err(StateError::Erased));
    assert_eq!(erased.clone().prepare(&boot(2), next(2, 2)), Err(StateError::Erased));
    assert_eq!(erased.restore(stamp), Err(StateError::NotLive(Standing::Erased)));
}

#[test]
fn a_boot_that_lost_the_creation_cannot_commit_it() {
    let first = keys(&salt(1)).stamp(1, sha256(b"header"), boot(1));
    let state = VolumeState::default().begin(&boot(1), Some(salt(1))).unwrap();
    let state = state.prepare(&boot(1), first).unwrap().begin(&boot(2), Some(salt(2))).unwrap();
    let refused = StateError::OtherCreator { creator: boot(2), found: boot(1) };
    assert_eq!(state.clone().prepare(&boot(1), first), Err(refused.clone()));
    assert_eq!(state.commit(&boot(1), first), Err(refused));
}

#[test]
fn states_survive_storage() {
    let (live, keys, _) = live();
    let pending = keys.stamp(2, sha256(b"header"), boot(2));
    let prepared = live.clone().prepare(&boot(2), pending).unwrap();
    let creating = VolumeState::default().begin(&boot(1), Some(salt(1))).unwrap();
    for state in [VolumeState::Absent, creating, live.clone(), prepared, live.erase()] {
        assert_eq!(VolumeState::from_storage(&state.to_storage()).unwrap(), state);
    }
}

#[test]
fn a_stored_state_has_nothing_in_fields_that_its_standing_does_not_use() {
    let mut absent = VolumeState::Absent.to_storage().to_vec();
    assert_eq!(absent.pop(), Some(0), "the highest counter is last");
    absent.push(7);
    assert!(matches!(VolumeState::from_storage(&absent), Err(StateError::Storage(_))));
}

#[test]
fn each_foreign_frame_names_its_reason() {
    let (_, keys, _) = live();
    let header = vec![5; frame::HEADER_BYTES];
    let stamp = keys.stamp(1, frame::header_digest(&header), boot(1));
    let mut good = blank();
    write(&mut good, 0, &frame::slot_bytes(&keys, &stamp, &header));
    write(&mut good, frame::HEADER_OFFSET, &header);
    let open = |disk: &[u8], stamp: &Stamp| {
        Frame::parse(disk)?.open(&keys, stamp, &[]).map(|opened| opened.next_slot_offset())
    };
    assert_eq!(open(&good, &stamp), Ok(frame::SLOT_BYTES));
    assert!(matches!(open(&good[1..], &stamp), Err(FrameError::Length { .. })));
    assert!(matches!(open(&blank(), &stamp), Err(FrameError::NotGranted { found: [None, None], .. })));
    let newer = keys.stamp(2, frame::header_digest(&header), boot(2));
    assert!(matches!(open(&good, &newer), Err(FrameError::NotGranted { found: [Some(1), None], .. })));
    let mut invented = stamp;
    invented.counter = 9;
    assert_eq!(open(&good, &invented), Err(FrameError::StampForged { counter: 9 }));
    let mut swapped = good.clone();
    swapped[frame::HEADER_OFFSET + 5000] ^= 1;
    assert!(matches!(open(&swapped, &stamp), Err(FrameError::HeaderDigest { counter: 1, .. })));
    let other = VolumeKeys::derive(&Secret::from_slice(&[9; 64]).unwrap());
    let mut remade = good;
    let forged = frame::slot_bytes(&other, &stamp, &header);
    write(&mut remade, 0, &forged);
    assert_eq!(open(&remade, &stamp), Err(FrameError::HeaderMac { counter: 1 }));
}
