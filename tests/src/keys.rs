//! Which bytes must never be found outside guest and seat?
//!
//! Derived anew from a seat's own folder, as only its operator could, so that a search for them means
//! something: [`VolumeSecrets::checked`] proves each by what it opens.

use std::{num::NonZeroU32, os::unix::fs::FileExt as _, path::Path};

use aws_lc_rs::{
    cipher::{AES_256, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey},
    pbkdf2,
};
use base64::Engine as _;
use casemate_crypto::{hash::sha256, secret::Secret};
use casemate_record::{AppId, InstanceId, Roster, RosterChain, Stamp, Subset, VolumeName, WorkloadDigest};
use casemate_release::derive::{KeyInput, KeyPurpose, SubOutput, SubsetSecrets, combine};
use casemate_verify::TrustClass;
use casemate_volume::{VolumeKeys, VolumeSalt, VolumeState};
use minicbor::bytes::ByteArray;
use serde_json::Value;

use crate::hostile::HEADER_AT;

/// Something to search for: its name, and the bytes.
pub type Needle = (String, Vec<u8>);

/// A seat's long-lived secrets, read from its folder.
#[derive(Debug)]
pub struct SeatSecrets {
    roster: Roster,
    subsets: SubsetSecrets,
    signing: [u8; 32],
    sealing: [u8; 32],
}

impl SeatSecrets {
    /// Reads `seat.keys` and `roster.cbor` of a seat's folder.
    ///
    /// # Panics
    /// If they are not what `casemate-kms` writes.
    pub fn read(folder: &Path) -> Self {
        type Stored = (ByteArray<32>, ByteArray<32>, Vec<(Subset, ByteArray<32>)>);
        let bytes = std::fs::read(folder.join("seat.keys")).expect("the seat's keys");
        let (signing, sealing, secrets): Stored = minicbor::decode(&bytes).expect("the seat wrote them");
        let chain = std::fs::read(folder.join("roster.cbor")).expect("the seat's roster");
        let chain = RosterChain::from_bytes(&chain).expect("the seat wrote it");
        let roster = chain.verify(&chain.genesis.kms_id()).expect("a chain from its own genesis");
        let secret = |bytes: ByteArray<32>| Secret::from_slice(&bytes[..]).expect("32 bytes");
        let subsets = SubsetSecrets::new(secrets.into_iter().map(|(subset, bytes)| (subset, secret(bytes))));
        SeatSecrets { roster, subsets, signing: *signing, sealing: *sealing }
    }

    /// What to search for.
    pub fn needles(&self) -> Vec<Needle> {
        let mut needles: Vec<Needle> = vec![
            ("the seat's signing key".into(), self.signing.to_vec()),
            ("the seat's sealing seed".into(), self.sealing.to_vec()),
        ];
        for (subset, secret) in self.subsets.iter() {
            needles.push((format!("k_A of subset {:#b}", subset.bits()), secret.expose().to_vec()));
        }
        needles
    }
}

/// Everything from which a volume's data can be read.
#[derive(Debug)]
pub struct VolumeSecrets {
    /// The keys that the guest derives.
    pub keys: VolumeKeys,
    /// The newest committed stamp.
    pub stamp: Stamp,
    salt: VolumeSalt,
    parts: Vec<SubOutput>,
    combined: Secret<64>,
}

/// Whose volume it is.
#[derive(Debug, Clone, Copy)]
pub struct VolumeOwner {
    /// The app.
    pub app_id: AppId,
    /// The instance.
    pub instance: InstanceId,
    /// The workload.
    pub workload_digest: WorkloadDigest,
}

impl VolumeSecrets {
    /// Derives the keys of the live volume `data` of `owner` from the seat's folder, and checks them by the
    /// stamp that the seat holds.
    ///
    /// # Panics
    /// If the seat's database holds no live volume of this owner.
    pub fn checked(folder: &Path, owner: &VolumeOwner) -> Self {
        let seat = SeatSecrets::read(folder);
        let database = std::fs::read(folder.join("state.db")).expect("the seat's database");
        let found = states(&database).into_iter().find_map(|state| {
            let VolumeState::Live { generation, salt, stamp, .. } = state else { return None };
            let secrets = Self::derive(&seat, owner, generation, salt, stamp);
            secrets.keys.made(&stamp).then_some(secrets)
        });
        found.expect("the seat holds a live volume of this owner")
    }

    fn derive(
        seat: &SeatSecrets,
        owner: &VolumeOwner,
        generation: u32,
        salt: VolumeSalt,
        stamp: Stamp,
    ) -> Self {
        let name = VolumeName::new("data").expect("a name");
        let input = KeyInput {
            trust_class: TrustClass::Simulated,
            kms_id: seat.roster.kms_id,
            key_epoch: seat.roster.key_epoch,
            app_id: owner.app_id,
            instance: owner.instance,
            purpose: KeyPurpose::Disk,
            volume: Some((name, generation, salt.clone())),
            workload_digest: owner.workload_digest,
        };
        let parts = seat.subsets.share(&input);
        let by_subset = parts.iter().map(|part| (part.subset, part.value.clone())).collect();
        let combined = combine(seat.roster.seat_count(), seat.roster.threshold, &by_subset);
        let combined = combined.expect("one seat has all parts");
        VolumeSecrets { keys: VolumeKeys::derive(&combined), stamp, salt, parts, combined }
    }

    /// What to search for, besides the key that LUKS wraps.
    pub fn needles(&self) -> Vec<Needle> {
        let mut needles: Vec<Needle> = vec![
            ("the volume's salt".into(), self.salt.expose().to_vec()),
            ("the combined output".into(), self.combined.expose().to_vec()),
            ("the key of the LUKS slot".into(), self.keys.disk().expose().to_vec()),
        ];
        for part in &self.parts {
            let name = format!("the sub-output of subset {:#b}", part.subset.bits());
            needles.push((name, part.value.expose().to_vec()));
        }
        needles
    }

    /// The key that encrypts the volume's sectors, unwrapped from the header on `disk`: two AES keys, which a
    /// cipher keeps apart from each other.
    ///
    /// # Panics
    /// If the header's own digest does not confirm it.
    pub fn sector_keys(&self, disk: &Path) -> Vec<Needle> {
        let key = unwrap_sector_key(&read_header(disk), self.keys.disk().expose());
        let (data, tweak) = key.split_at(32);
        vec![
            ("the key of the sectors".into(), data.to_vec()),
            ("the tweak key of the sectors".into(), tweak.to_vec()),
        ]
    }
}

/// The LUKS2 header area on a data disk.
///
/// # Panics
/// If the disk is shorter.
pub fn read_header(disk: &Path) -> Vec<u8> {
    let mut header = vec![0; casemate_volume::frame::HEADER_BYTES];
    let file = std::fs::File::open(disk).expect("the disk can be read");
    file.read_exact_at(&mut header, HEADER_AT).expect("the disk has a header");
    header
}

/// Volume states in a database file: CBOR `[1 or 2, generation, 32 bytes: salt ...`, wherever SQLite put it.
fn states(database: &[u8]) -> Vec<VolumeState> {
    let begins = |window: &[u8]| {
        matches!(window[0], 0x83..=0x87) && matches!(window[1], 1 | 2) && window[3..5] == [0x58, 32]
    };
    let places = database.windows(5).enumerate().filter(|(_, window)| begins(window)).map(|(at, _)| at);
    let whole = |at: usize| {
        let rest = &database[at..database.len().min(at + 600)];
        (5..=rest.len()).find_map(|length| VolumeState::from_storage(&rest[..length]).ok())
    };
    places.filter_map(whole).collect()
}

/// LUKS2 On-Disk Format 1.1.2, sections 3.2 and 3.4: Argon2id over the passphrase decrypts the area, the
/// anti-forensic stripes merge into the key, PBKDF2 over it is the digest.
fn unwrap_sector_key(header: &[u8], passphrase: &[u8]) -> [u8; 64] {
    let text: Vec<u8> = header[4096..].iter().copied().take_while(|byte| *byte != 0).collect();
    let json: Value = serde_json::from_slice(&text).expect("the header's JSON");
    let bytes = |value: &Value| {
        base64::engine::general_purpose::STANDARD.decode(value.as_str().expect("base64")).expect("base64")
    };
    let small = |value: &Value| u32::try_from(value.as_u64().expect("a number")).expect("small");
    let slot = &json["keyslots"]["0"];
    let kdf = &slot["kdf"];
    let parameters =
        argon2::Params::new(small(&kdf["memory"]), small(&kdf["time"]), small(&kdf["cpus"]), Some(64))
            .expect("Argon2 parameters");
    let mut wrapping = [0; 64];
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters)
        .hash_password_into(passphrase, &bytes(&kdf["salt"]), &mut wrapping)
        .expect("Argon2 runs");
    let at = slot["area"]["offset"].as_str().and_then(|text| text.parse::<usize>().ok()).expect("an offset");
    let stripes = small(&slot["af"]["stripes"]) as usize;
    let mut area = header[at..at + 64 * stripes].to_vec();
    decrypt_xts(&wrapping, &mut area);
    let key = merge(&area, stripes);
    let digest = &json["digests"]["0"];
    let iterations = NonZeroU32::new(small(&digest["iterations"])).expect("at least one");
    let (salt, expected) = (bytes(&digest["salt"]), bytes(&digest["digest"]));
    pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, &key, &expected)
        .expect("the header's digest confirms the key");
    key
}

/// AES-256-XTS with the sector number, from 0, as tweak (`plain64`), sectors of 512 bytes.
fn decrypt_xts(key: &[u8; 64], data: &mut [u8]) {
    let cipher = |half: &[u8]| UnboundCipherKey::new(&AES_256, half).expect("32 bytes");
    let decrypting = DecryptingKey::ecb(cipher(&key[..32])).expect("AES-256");
    let tweaking = EncryptingKey::ecb(cipher(&key[32..])).expect("AES-256");
    let mut tweaks = Vec::with_capacity(data.len());
    for sector in 0..data.len() as u64 / 512 {
        let mut tweak = [0; 16];
        tweak[..8].copy_from_slice(&sector.to_le_bytes());
        tweaking.encrypt(&mut tweak).expect("one block");
        let mut tweak = u128::from_le_bytes(tweak);
        for _ in 0..512 / 16 {
            tweaks.extend_from_slice(&tweak.to_le_bytes());
            // Multiplication by x modulo x^128 + x^7 + x^2 + x + 1 (IEEE 1619, 5.2).
            tweak = (tweak << 1) ^ (0x87 * (tweak >> 127));
        }
    }
    let whiten = |data: &mut [u8]| data.iter_mut().zip(&tweaks).for_each(|(byte, tweak)| *byte ^= tweak);
    whiten(data);
    decrypting.decrypt(data, DecryptionContext::None).expect("whole blocks");
    whiten(data);
}

/// AFmerge of LUKS1 (On-Disk Format 1.2.3, section 2.4) with SHA-256.
fn merge(stripes: &[u8], count: usize) -> [u8; 64] {
    let mut key = [0; 64];
    for (number, stripe) in stripes.chunks_exact(64).take(count).enumerate() {
        key.iter_mut().zip(stripe).for_each(|(byte, other)| *byte ^= other);
        if number + 1 < count {
            for (place, part) in (0_u32..).zip(key.chunks_exact_mut(32)) {
                let digest = sha256(&[&place.to_be_bytes()[..], part].concat());
                part.copy_from_slice(digest.as_bytes());
            }
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IEEE 1619, annex B, vector 10 (AES-256, sector 0xff).
    #[test]
    fn sectors_are_decrypted_as_ieee_1619_says() {
        let key = [
            "2718281828459045235360287471352662497757247093699959574966967627",
            "3141592653589793238462643383279502884197169399375105820974944592",
        ];
        let key: Vec<u8> = key.iter().flat_map(|half| hex(half)).collect();
        let mut data = vec![0; 256 * 512];
        let cipher_text = hex("1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b");
        data[255 * 512..][..32].copy_from_slice(&cipher_text);
        decrypt_xts(&key.try_into().unwrap(), &mut data);
        let expected: Vec<u8> = (0..32).collect();
        assert_eq!(data[255 * 512..][..32], expected);
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
