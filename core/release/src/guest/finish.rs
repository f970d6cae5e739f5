//! Which keys follow from the seats' answers?

use std::collections::BTreeMap;

use casemate_crypto::{
    hash::{Sha256, tagged_sha256},
    seal::Session,
    secret::Secret,
    sign::PublicKey,
};
use casemate_record::{Lease, Roster, Seat, Signed, Stamp, Subset, VolumeName};
use casemate_verify::TrustClass;
use casemate_volume::{Standing, VolumeKeys};

use super::{
    Answer, GuestError, Invalid,
    answer::{Tally, check_lease, sort},
    attempt::{Challenged, ReleaseAttempt, needed},
};
use crate::{
    GRANT_INFO, VOLUME_FIRST_GENERATION,
    derive::{KeyInput, KeyPurpose, SubOutput, combine},
    message::{Grant, GrantedVolume, KeyRequest, SeatResponse},
};

/// The keys of one boot, and what the seats said with them.
#[derive(Debug)]
pub struct Release {
    pub(super) roster: Roster,
    pub(super) sessions: Vec<SeatSession>,
    time_ms: u64,
    lease_ms: u64,
    leases: Vec<Signed<Lease>>,
    trust_class: TrustClass,
    entropy: Secret<32>,
    keys: BTreeMap<KeyPurpose, Secret<64>>,
    volumes: BTreeMap<VolumeName, ReleasedVolume>,
}

impl Release {
    /// The seats' clock when they granted: the lower median, Unix milliseconds.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The shortest lease granted, in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    /// The leases, one by each seat that granted.
    pub fn leases(&self) -> &[Signed<Lease>] {
        &self.leases
    }

    /// Seats that granted.
    pub fn granted(&self) -> usize {
        self.sessions.len()
    }

    /// What the seats found behind the evidence.
    pub fn trust_class(&self) -> TrustClass {
        self.trust_class
    }

    /// 32 bytes that no host knows, mixed from all seats that granted.
    pub fn entropy(&self) -> &Secret<32> {
        &self.entropy
    }

    /// The combined output for a purpose other than disk, if it was wanted.
    ///
    /// Put it through HKDF with a tag of its own before use.
    pub fn key(&self, purpose: KeyPurpose) -> Option<&Secret<64>> {
        self.keys.get(&purpose)
    }

    /// A volume that was wanted.
    pub fn volume(&self, name: &VolumeName) -> Option<&ReleasedVolume> {
        self.volumes.get(name)
    }

    /// The volumes that were wanted.
    pub fn volumes(&self) -> impl Iterator<Item = (&VolumeName, &ReleasedVolume)> {
        self.volumes.iter()
    }
}

/// A volume's keys, and what the seats know about it.
#[derive(Debug)]
pub struct ReleasedVolume {
    /// Its keys.
    pub keys: VolumeKeys,
    /// Whether to format or to open.
    pub standing: VolumeStanding,
    /// The counter of the stamp to prepare next.
    pub next_counter: u64,
}

/// Whether to format or to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeStanding {
    /// Nothing was ever committed: format, whatever is on the disk.
    Creating,
    /// Open, and never format: the disk must hold the committed stamp or a prepared one.
    Live {
        /// The newest stamp.
        committed: Stamp,
        /// Stamps prepared after it.
        prepared: Vec<Stamp>,
    },
}

/// A session with one seat.
#[derive(Debug)]
pub(super) struct SeatSession {
    pub seat: PublicKey,
    pub transcript: Sha256,
    pub session: Session,
}

/// One seat's grant, opened and checked.
struct Opened {
    grant: Grant,
    lease: Lease,
    session: SeatSession,
    entropy: Secret<32>,
    /// Per key of the request, the parts by subset.
    parts: Vec<BTreeMap<Subset, Secret<64>>>,
}

impl Challenged {
    /// Combines the answers into keys.
    ///
    /// # Errors
    /// [`GuestError::TooFewGrants`] with every denial, silence and wrong answer;
    /// [`GuestError::Conflict`], [`GuestError::Disagreement`], [`GuestError::NoKeyForVolume`] where the
    /// grants do not fit together.
    pub fn finish(self, answers: &[(PublicKey, Answer)]) -> Result<Release, GuestError> {
        let attempt = &self.attempt;
        let roster = &attempt.setup.roster;
        let mut tally = Tally::default();
        let mut granted: Vec<Opened> = Vec::new();
        for (seat, request) in &self.sent {
            let seat = roster.seat(seat).expect("only seats of the roster are asked");
            let answer =
                answers.iter().find(|(from, _)| *from == seat.signing).map_or(&Answer::Silent, |(_, a)| a);
            let (transcript, sorted) = sort(seat, request, answer);
            let Some(response) = tally.note(seat.index, sorted) else { continue };
            match open(attempt, seat, transcript, response) {
                Ok(opened) => granted.push(opened),
                Err(invalid) => tally.invalid.push((seat.index, invalid)),
            }
        }
        let needed = needed(roster);
        if granted.len() < needed {
            return Err(tally.too_few(granted.len(), needed));
        }
        combine_all(attempt, granted)
    }
}

fn open(
    attempt: &ReleaseAttempt,
    seat: &Seat,
    transcript: Sha256,
    response: SeatResponse,
) -> Result<Opened, Invalid> {
    let SeatResponse::Granted(signed) = response else { return Err(Invalid::OtherKind) };
    let grant = signed.verify(&seat.signing)?;
    if grant.transcript != transcript {
        return Err(Invalid::OtherTranscript);
    }
    check_shape(attempt, seat, &grant)?;
    let setup = &attempt.setup;
    let lease = check_lease(&setup.roster, seat, &grant.lease, &setup.holder(), grant.time_ms)?;
    let (plain, session) =
        attempt.ephemeral.open_session(GRANT_INFO, transcript.as_bytes(), &grant.sealed)?;
    let count: usize = grant.keys.iter().map(|key| key.commitments.len()).sum();
    if plain.len() != 32 + 64 * count {
        return Err(Invalid::Shape { what: "the sealed parts" });
    }
    let entropy = Secret::from_slice(&plain[..32]).expect("32 bytes");
    let mut values = plain[32..].chunks_exact(64);
    let mut parts = Vec::new();
    for (place, key) in grant.keys.iter().enumerate() {
        check_input(attempt, &grant, place)?;
        let mut by_subset = BTreeMap::new();
        for entry in &key.commitments {
            let value = Secret::from_slice(values.next().expect("counted above")).expect("64 bytes");
            let part = SubOutput { subset: entry.subset, value };
            if part.commitment(&key.input_digest) != entry.commitment {
                return Err(Invalid::Commitment { key: place });
            }
            by_subset.insert(part.subset, part.value);
        }
        parts.push(by_subset);
    }
    let session = SeatSession { seat: seat.signing, transcript, session };
    Ok(Opened { grant, lease, session, entropy, parts })
}

/// The grant answers each key and volume asked for, in order, with the subsets this seat holds.
fn check_shape(attempt: &ReleaseAttempt, seat: &Seat, grant: &Grant) -> Result<(), Invalid> {
    let roster = &attempt.setup.roster;
    if grant.key_epoch != roster.key_epoch {
        return Err(Invalid::Shape { what: "the key epoch" });
    }
    let all = Subset::all(roster.seat_count(), roster.threshold)?;
    let held = || all.iter().copied().filter(|subset| subset.contains(seat.index));
    let keys = grant.keys.len() == attempt.keys.len()
        && grant.keys.iter().all(|key| key.commitments.iter().map(|entry| entry.subset).eq(held()));
    if !keys {
        return Err(Invalid::Shape { what: "the keys" });
    }
    if !grant.volumes.iter().map(|volume| &volume.volume).eq(attempt.salts.keys()) {
        return Err(Invalid::Shape { what: "the volumes" });
    }
    grant.volumes.iter().try_for_each(check_volume)
}

fn check_volume(volume: &GrantedVolume) -> Result<(), Invalid> {
    let stamps = [volume.stamp, volume.prepared].into_iter().flatten();
    let highest = stamps.map(|stamp| stamp.counter).max().unwrap_or(0);
    let consistent = match volume.standing {
        Standing::Creating => volume.stamp.is_none() && volume.next_counter == 1,
        Standing::Live => volume.stamp.is_some() && volume.next_counter > highest,
        Standing::Absent | Standing::Erased => false,
    };
    if consistent { Ok(()) } else { Err(Invalid::VolumeState { volume: volume.volume.clone() }) }
}

/// Where the guest knows the whole input, the seat must have used it. The salt of a live volume is known
/// to the seats only; there the stamp's MAC decides.
fn check_input(attempt: &ReleaseAttempt, grant: &Grant, place: usize) -> Result<(), Invalid> {
    let wanted = &attempt.keys[place];
    let volume = match &wanted.volume {
        None => None,
        Some(name) => {
            let granted = granted_volume(grant, name);
            if granted.standing != Standing::Creating {
                return Ok(());
            }
            Some((name.clone(), granted.generation, attempt.salts[name].clone()))
        }
    };
    let input = KeyInput {
        trust_class: grant.trust_class,
        kms_id: attempt.setup.roster.kms_id,
        key_epoch: grant.key_epoch,
        app_id: attempt.setup.app_id,
        instance: attempt.setup.instance,
        purpose: wanted.purpose,
        volume,
        workload_digest: attempt.setup.workload_digest,
    };
    if input.digest() == grant.keys[place].input_digest { Ok(()) } else { Err(Invalid::Input { key: place }) }
}

fn combine_all(attempt: &ReleaseAttempt, granted: Vec<Opened>) -> Result<Release, GuestError> {
    let trust_class = granted[0].grant.trust_class;
    if granted.iter().any(|opened| opened.grant.trust_class != trust_class) {
        return Err(GuestError::Disagreement { what: "the trust class" });
    }
    let mut keys = BTreeMap::new();
    let mut volumes = BTreeMap::new();
    for (place, wanted) in attempt.keys.iter().enumerate() {
        match &wanted.volume {
            None => {
                let all: Vec<&Opened> = granted.iter().collect();
                keys.insert(wanted.purpose, combine_agreed(attempt, &all, place)?);
            }
            Some(name) => {
                volumes.insert(name.clone(), combine_volume(attempt, &granted, place, wanted, name)?);
            }
        }
    }
    let mut times: Vec<u64> = granted.iter().map(|opened| opened.grant.time_ms).collect();
    times.sort_unstable();
    let entropies: Vec<&[u8]> = granted.iter().map(|opened| &opened.entropy.expose()[..]).collect();
    let mut entropy = *tagged_sha256("casemate/1/seat-entropy", &entropies).as_bytes();
    Ok(Release {
        roster: attempt.setup.roster.clone(),
        time_ms: times[(times.len() - 1) / 2],
        lease_ms: granted.iter().map(|opened| opened.lease.length_ms()).min().unwrap_or(0),
        leases: granted.iter().map(|opened| opened.grant.lease.clone()).collect(),
        trust_class,
        entropy: Secret::take(&mut entropy),
        keys,
        volumes,
        sessions: granted.into_iter().map(|opened| opened.session).collect(),
    })
}

/// Every answer must agree on every subset.
fn combine_agreed(
    attempt: &ReleaseAttempt,
    granted: &[&Opened],
    place: usize,
) -> Result<Secret<64>, GuestError> {
    let roster = &attempt.setup.roster;
    let mut parts: BTreeMap<Subset, Secret<64>> = BTreeMap::new();
    for opened in granted {
        for (subset, value) in &opened.parts[place] {
            if parts.insert(*subset, value.clone()).is_some_and(|earlier| earlier != *value) {
                return Err(GuestError::Conflict);
            }
        }
    }
    Ok(combine(roster.seat_count(), roster.threshold, &parts)?)
}

fn combine_volume(
    attempt: &ReleaseAttempt,
    granted: &[Opened],
    place: usize,
    wanted: &KeyRequest,
    name: &VolumeName,
) -> Result<ReleasedVolume, GuestError> {
    debug_assert_eq!(wanted.purpose, KeyPurpose::Disk);
    let live: Vec<&Opened> = granted
        .iter()
        .filter(|opened| granted_volume(&opened.grant, name).standing == Standing::Live)
        .collect();
    if live.is_empty() {
        let all: Vec<&Opened> = granted.iter().collect();
        if all.iter().any(|opened| granted_volume(&opened.grant, name).generation != VOLUME_FIRST_GENERATION)
        {
            return Err(GuestError::Disagreement { what: "the generation of a new volume" });
        }
        let keys = VolumeKeys::derive(&combine_agreed(attempt, &all, place)?);
        return Ok(ReleasedVolume { keys, standing: VolumeStanding::Creating, next_counter: 1 });
    }
    open_live(attempt, &live, place, name)
}

/// One seat that says "live" is enough never to format. The newest stamp that a key vouches for wins;
/// t-sets of seats are tried until one gives such a key.
fn open_live(
    attempt: &ReleaseAttempt,
    live: &[&Opened],
    place: usize,
    name: &VolumeName,
) -> Result<ReleasedVolume, GuestError> {
    let roster = &attempt.setup.roster;
    let threshold = roster.threshold;
    let volumes: Vec<&GrantedVolume> =
        live.iter().map(|opened| granted_volume(&opened.grant, name)).collect();
    let mut committed: Vec<Stamp> = volumes.iter().filter_map(|volume| volume.stamp).collect();
    committed.sort_by_key(|stamp| std::cmp::Reverse(stamp.counter));
    for members in (1..1u32 << live.len()).filter(|mask| mask.count_ones() == u32::from(threshold)) {
        let chosen: Vec<&Opened> = live
            .iter()
            .enumerate()
            .filter(|(at, _)| members & (1 << at) != 0)
            .map(|(_, opened)| *opened)
            .collect();
        let Ok(combined) = combine_agreed(attempt, &chosen, place) else { continue };
        let keys = VolumeKeys::derive(&combined);
        let Some(newest) = committed.iter().find(|stamp| keys.made(stamp)).copied() else { continue };
        let mut prepared: Vec<Stamp> = volumes.iter().filter_map(|volume| volume.prepared).collect();
        prepared.retain(|stamp| stamp.counter > newest.counter && keys.made(stamp));
        prepared.sort_by_key(|stamp| std::cmp::Reverse(stamp.counter));
        prepared.dedup();
        let next_counter = volumes.iter().map(|volume| volume.next_counter).max().expect("live is not empty");
        let standing = VolumeStanding::Live { committed: newest, prepared };
        return Ok(ReleasedVolume { keys, standing, next_counter });
    }
    Err(GuestError::NoKeyForVolume { volume: name.clone(), threshold })
}

fn granted_volume<'a>(grant: &'a Grant, name: &VolumeName) -> &'a GrantedVolume {
    grant.volumes.iter().find(|volume| volume.volume == *name).expect("checked with the shape")
}
