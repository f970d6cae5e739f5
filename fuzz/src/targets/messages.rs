//! What seats, guests, owners and hosts say to each other.

use casemate_api::agent::{AgentRequest, AgentResponse, OwnerCall, OwnerReply};
use casemate_api::handover::Handover;
use casemate_api::launch::LaunchBundle;
use casemate_api::progress::Progress;
use casemate_canon::reexport::minicbor::{Decode, Encode};
use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::hash::sha256;
use casemate_crypto::seal::{SealingKey, SealingPublicKey};
use casemate_crypto::secret::Secret;
use casemate_crypto::sign::SigningKey;
use casemate_record::{
    AuthorityRecord, Birth, Genesis, InstanceRecord, KmsGenesis, Lease, Order, Record, Roster, RosterChain,
    Seat, Signed, SignedBirth, SignedRoster, SubmissionReceipt, SubmissionRequest, Subset, SubsetCommitment,
    VolumeRecord,
};
use casemate_release::derive::KeyPurpose;
use casemate_release::message::{
    Denial, Grant, KeyRequest, Receipt, ReleaseRequest, Renewal, SeatChallenge, SeatRequest, SeatResponse,
};
use casemate_transport::{Decoder, Event, Frame, MAX_FRAME_BYTES, encode, encode_mark};

use crate::vectors::worked_bytes;
use crate::{Target, Vectors};

pub const RECORDS: Target = Target { name: "records", maximum_len: 8 << 10, check: records, seeds: worked };
pub const RELEASE: Target = Target { name: "release", maximum_len: 8 << 10, check: release, seeds: worked };
pub const RELAY: Target = Target { name: "relay", maximum_len: 4 << 10, check: relay, seeds: frames };
pub const LAUNCH_DISK: Target =
    Target { name: "launch-disk", maximum_len: 8 << 10, check: launch_disk, seeds: launch_disks };

fn signed<T: Record>(bytes: &[u8]) {
    if let Ok(record) = Signed::<T>::from_bytes(bytes) {
        assert_eq!(record.to_bytes(), bytes);
        if let Ok(claimed) = record.claimed() {
            assert_eq!(to_cbor(&claimed), record.body());
        }
    }
    // The record by itself, as it lies within.
    if let Ok(record) = from_cbor::<T>(bytes, T::MAXIMUM_BYTES) {
        assert_eq!(to_cbor(&record), bytes);
    }
}

fn records(bytes: &[u8]) {
    signed::<AuthorityRecord>(bytes);
    signed::<InstanceRecord>(bytes);
    signed::<VolumeRecord>(bytes);
    signed::<Order>(bytes);
    signed::<Lease>(bytes);
    signed::<SubmissionReceipt>(bytes);
    if let Ok(genesis) = from_cbor::<Genesis>(bytes, Genesis::MAXIMUM_BYTES) {
        assert_eq!(to_cbor(&genesis), bytes);
        let _ = genesis.app_id();
    }
    if let Ok(request) = SubmissionRequest::from_bytes(bytes) {
        assert_eq!(request.to_bytes(), bytes);
        let _ = (request.submission.digest(), request.submission.outcome());
    }
    if let Ok(chain) = RosterChain::from_bytes(bytes) {
        assert_eq!(chain.to_bytes(), bytes);
        // Pinned to whatever it claims, as a client does that sees a service for the first time.
        if let Ok(roster) = chain.verify(&chain.genesis.kms_id()) {
            assert_eq!(chain.verify(&chain.genesis.kms_id()).expect("as before"), roster);
        }
    }
}

fn release(bytes: &[u8]) {
    signed::<Grant>(bytes);
    signed::<Denial>(bytes);
    signed::<Receipt>(bytes);
    signed::<Renewal>(bytes);
    if let Ok(request) = SeatRequest::from_bytes(bytes) {
        assert_eq!(request.to_bytes(), bytes);
    }
    if let Ok(response) = SeatResponse::from_bytes(bytes) {
        assert_eq!(response.to_bytes(), bytes);
    }
    owner(bytes);
}

fn owner(bytes: &[u8]) {
    fn same<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) {
        if let Ok(value) = from_cbor::<T>(bytes, 1 << 20) {
            assert_eq!(to_cbor(&value), bytes);
        }
    }
    same::<AgentRequest>(bytes);
    same::<AgentResponse>(bytes);
    same::<OwnerCall>(bytes);
    same::<OwnerReply>(bytes);
    same::<Progress>(bytes);
    same::<Handover>(bytes);
}

/// What is understood of a stream, sent again, is understood alike whatever the portions in which it arrives.
fn relay(bytes: &[u8]) {
    let events = read(bytes, 64);
    read(bytes, bytes.len().max(1));
    let mut again = Vec::new();
    for event in &events {
        match event {
            Event::Frame(frame) => {
                let written = encode(frame).expect("what was read can be written");
                assert!(written.len() <= 4 + MAX_FRAME_BYTES);
                again.extend(written);
            }
            Event::Mark { mark, .. } => again.extend(encode_mark(*mark)),
        }
    }
    for step in [1, again.len().max(1)] {
        let found = read(&again, step);
        assert_eq!(found.len(), events.len());
        for (found, event) in found.iter().zip(&events) {
            match (found, event) {
                (Event::Mark { mark: found, dropped_bytes }, Event::Mark { mark, .. }) => {
                    assert_eq!((found, *dropped_bytes), (mark, 0));
                }
                _ => assert_eq!(found, event),
            }
        }
    }
}

/// The events of a stream that arrives in portions of `step` bytes; after an error it goes on at the next mark.
fn read(bytes: &[u8], step: usize) -> Vec<Event> {
    let mut decoder = Decoder::started();
    let mut events = Vec::new();
    for portion in bytes.chunks(step) {
        decoder.push(portion);
        loop {
            match decoder.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => {}
            }
        }
    }
    events
}

fn launch_disk(bytes: &[u8]) {
    let Ok(bundle) = LaunchBundle::from_disk(bytes) else { return };
    let written = bundle.to_disk();
    let (shorter, longer) =
        if written.len() < bytes.len() { (&written[..], bytes) } else { (bytes, &written[..]) };
    assert!(longer.starts_with(shorter) && longer[shorter.len()..].iter().all(|byte| *byte == 0));
}

fn worked(_: &Vectors) -> Vec<Vec<u8>> {
    let pages =
        ["records.md", "release.md", "report-data.md", "volumes.md", "agent.md", "relay.md", "manifest.md"];
    let mut seeds: Vec<Vec<u8>> = pages.iter().flat_map(|page| worked_bytes(page)).collect();
    seeds.push(SeatRequest::Challenge.to_bytes());
    seeds.push(SeatRequest::Release(release_request()).to_bytes());
    seeds.push(roster_chain().to_bytes());
    seeds
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).expect("any small number is a key")
}

fn sealing(number: u8) -> SealingPublicKey {
    SealingKey::from_seed(Secret::from_slice(&[number; 32]).expect("32 bytes")).public()
}

/// A service of one seat, as it was born.
fn roster_chain() -> RosterChain {
    let genesis = KmsGenesis { operators: key(1).public(), salt: [1; 32].into() };
    let roster = Roster {
        kms_id: genesis.kms_id(),
        key_epoch: 1,
        number: 1,
        previous: None,
        seats: vec![Seat { index: 1, signing: key(2).public(), sealing: sealing(2) }],
        threshold: 1,
        quorum: 1,
        faulty: 0,
    };
    let subset = Subset::all(1, 1).expect("one seat of one")[0];
    let birth = Birth {
        kms_id: roster.kms_id,
        key_epoch: 1,
        commitments: vec![SubsetCommitment { subset, commitment: sha256(b"secret") }],
    };
    let mut birth = SignedBirth::new(&birth);
    birth.add_signature(1, &key(2));
    RosterChain { genesis, rosters: vec![SignedRoster::new(&key(1), &roster)], birth }
}

fn release_request() -> ReleaseRequest {
    ReleaseRequest {
        roster_digest: sha256(b"roster"),
        challenges: vec![SeatChallenge { seat: key(2).public(), challenge: [3; 56].into() }],
        ephemeral: sealing(4),
        app_id: [5; 32].into(),
        workload_digest: [6; 32].into(),
        instance: [7; 16].into(),
        boot_id: [8; 16].into(),
        keys: vec![KeyRequest { purpose: KeyPurpose::Disk, volume: None, salt_digest: None }],
        salts: Vec::new(),
        evidence: vec![9; 4].into(),
    }
}

fn frames(_: &Vectors) -> Vec<Vec<u8>> {
    use casemate_transport::{Destination, Mark};
    let frames: Vec<Vec<u8>> = [
        Frame::Call { id: 1, to: Destination::Agent, body: b"hello".to_vec() },
        Frame::Reply { id: 1, body: vec![7; 40] },
    ]
    .iter()
    .map(|frame| encode(frame).expect("small"))
    .collect();
    let marks = [Mark::Ask, Mark::Answer].map(|mark| encode_mark(mark).to_vec()).concat();
    vec![frames.concat(), [&marks[..], &frames[0], &marks, &frames[1], b"\0\0"].concat(), marks]
}

fn launch_disks(_: &Vectors) -> Vec<Vec<u8>> {
    let bundle = LaunchBundle {
        manifest: vec![1; 20],
        genesis: vec![2; 10],
        roster_chain: vec![3; 50],
        instance_record: vec![4; 20],
        files: Vec::new(),
    };
    vec![bundle.to_disk()]
}
