//! Which key is it?
//!
//! Keys are derived, never stored: a replicated (CNF) pseudo-random function, t of n. For each subset A
//! of n-t+1 seats a secret k_A is held by exactly the seats in A; the key for x is the XOR over all A of
//! HMAC-SHA-512(k_A, x || A). Any t seats cover every subset, fewer miss at least one.

use std::collections::BTreeMap;

use casemate_canon::to_cbor;
use casemate_crypto::{
    hash::{Sha256, tagged_sha256},
    kdf,
    secret::Secret,
};
use casemate_record::{
    AppId, Birth, Error as RecordError, InstanceId, KmsId, Roster, Subset, SubsetCommitment, VolumeName,
    WorkloadDigest,
};
use casemate_verify::TrustClass;
use casemate_volume::VolumeSalt;
use minicbor::{Decode, Encode, bytes::ByteSlice};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

const INPUT_TAG: &str = "casemate/1/key-input";
const OUTPUT_TAG: &str = "casemate/1/sub-output";
const SECRET_TAG: &str = "casemate/1/subset-secret";
const BIRTH_TAG: &[u8] = b"casemate/1/subset-birth";

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum KeyPurpose {
    /// A volume: its LUKS2 key, header MAC key and stamp MAC key. Survives authorised upgrades.
    #[n(0)]
    Disk,
    /// The workload's identity: another for each workload digest.
    #[n(1)]
    Identity,
    /// TLS of the workload: another for each workload digest.
    #[n(2)]
    Tls,
    /// What rests on a disk under the guest's own care. Survives authorised upgrades.
    #[n(3)]
    Secrets,
}

impl KeyPurpose {
    /// Whether the workload digest is an input, so that a revoked version keeps no such key.
    pub fn bound_to_workload(self) -> bool {
        matches!(self, KeyPurpose::Identity | KeyPurpose::Tls)
    }
}

/// x: everything a key depends on, besides the seats' secrets.
#[derive(Clone, Debug)]
pub struct KeyInput {
    /// Whether real hardware vouches.
    pub trust_class: TrustClass,
    /// The key service.
    pub kms_id: KmsId,
    /// Its set of secrets.
    pub key_epoch: u32,
    /// The app.
    pub app_id: AppId,
    /// The instance.
    pub instance: InstanceId,
    /// What the key is for.
    pub purpose: KeyPurpose,
    /// For purpose disk: which volume, in which generation, with which salt.
    pub volume: Option<(VolumeName, u32, VolumeSalt)>,
    /// The workload; enters only where the purpose is bound to it.
    pub workload_digest: WorkloadDigest,
}

impl KeyInput {
    /// CBOR `[tag, trust class, KMS id, key epoch, app id, instance, purpose, volume / null,
    /// generation, salt, workload digest / null]`.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let (volume, generation, salt) = match &self.volume {
            Some((name, generation, salt)) => (Some(name), *generation, &salt.expose()[..]),
            None => (None, 0, &[][..]),
        };
        let workload = self.purpose.bound_to_workload().then_some(&self.workload_digest);
        let fields = (
            INPUT_TAG,
            self.trust_class,
            self.kms_id,
            self.key_epoch,
            self.app_id,
            self.instance,
            self.purpose,
            volume,
            generation,
            <&ByteSlice>::from(salt),
            workload,
        );
        Zeroizing::new(to_cbor(&fields))
    }

    /// Names the input without telling the salt.
    pub fn digest(&self) -> Sha256 {
        tagged_sha256(INPUT_TAG, &[&self.to_bytes()])
    }
}

/// One seat's part of one key for one subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubOutput {
    /// The holders of the secret it was made with.
    pub subset: Subset,
    /// HMAC-SHA-512(k_A, x || A), with A as 2 bytes, big-endian.
    pub value: Secret<64>,
}

impl SubOutput {
    /// What a seat signs about this part: conflicting signatures show a liar, and tell nothing else.
    pub fn commitment(&self, input_digest: &Sha256) -> Sha256 {
        let subset = self.subset.bits().to_be_bytes();
        tagged_sha256(OUTPUT_TAG, &[input_digest.as_bytes(), &subset, self.value.expose()])
    }
}

/// The secrets k_A that one seat holds in one key epoch.
#[derive(Clone, Debug, Default)]
pub struct SubsetSecrets(BTreeMap<Subset, Secret<32>>);

impl SubsetSecrets {
    /// Collects secrets.
    pub fn new(secrets: impl IntoIterator<Item = (Subset, Secret<32>)>) -> Self {
        SubsetSecrets(secrets.into_iter().collect())
    }

    /// The secrets, by subset.
    pub fn iter(&self) -> impl Iterator<Item = (Subset, &Secret<32>)> {
        self.0.iter().map(|(subset, secret)| (*subset, secret))
    }

    /// This seat's parts of the key for `input`, by rising subset.
    pub fn share(&self, input: &KeyInput) -> Vec<SubOutput> {
        let x = input.to_bytes();
        let part = |(subset, secret): (&Subset, &Secret<32>)| {
            let message = Zeroizing::new([&x[..], &subset.bits().to_be_bytes()].concat());
            SubOutput { subset: *subset, value: kdf::hmac_sha512(secret.expose(), &message) }
        };
        self.0.iter().map(part).collect()
    }

    /// Refuses secrets that are not those the birth record commits to, or not all that the seat with
    /// this index must hold.
    ///
    /// # Errors
    /// [`DeriveError::Missing`], [`DeriveError::Commitment`].
    pub fn check(&self, birth: &Birth, index: u8) -> Result<(), DeriveError> {
        for entry in birth.commitments.iter().filter(|entry| entry.subset.contains(index)) {
            let subset = entry.subset.bits();
            let secret = self.0.get(&entry.subset).ok_or(DeriveError::Missing { subset })?;
            if secret_commitment(&birth.kms_id, birth.key_epoch, entry.subset, secret) != entry.commitment {
                return Err(DeriveError::Commitment { subset });
            }
        }
        Ok(())
    }
}

/// Why a key cannot be derived.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeriveError {
    /// A number of seats or a threshold that the derivation does not allow.
    #[error(transparent)]
    Numbers(#[from] RecordError),
    /// A subset that nobody answered for.
    #[error("no seat answered for subset {subset:#b}; ask more seats")]
    Missing {
        /// Its bits.
        subset: u16,
    },
    /// A secret that is not the committed one.
    #[error(
        "the secret of subset {subset:#b} is not the one committed to at birth; restore the right backup"
    )]
    Commitment {
        /// Its bits.
        subset: u16,
    },
}

/// XORs one part per subset into the key for `input`'s purpose.
///
/// # Errors
/// [`DeriveError::Numbers`], [`DeriveError::Missing`].
pub fn combine(
    seats: u8,
    threshold: u8,
    parts: &BTreeMap<Subset, Secret<64>>,
) -> Result<Secret<64>, DeriveError> {
    let mut key = Secret::take(&mut [0; 64]);
    for subset in Subset::all(seats, threshold)? {
        key.xor(parts.get(&subset).ok_or(DeriveError::Missing { subset: subset.bits() })?);
    }
    Ok(key)
}

/// k_A from the contributions of its holders, by rising index: HKDF-SHA-256 over their concatenation,
/// with the key service, the key epoch and A as context.
pub fn subset_secret(
    kms_id: &KmsId,
    key_epoch: u32,
    subset: Subset,
    contributions: &[Secret<32>],
) -> Secret<32> {
    let material: Zeroizing<Vec<u8>> =
        Zeroizing::new(contributions.iter().flat_map(|contribution| *contribution.expose()).collect());
    kdf::hkdf_sha256(BIRTH_TAG, &material, &to_cbor(&(kms_id, key_epoch, subset)))
}

/// What the birth record says about k_A.
pub fn secret_commitment(kms_id: &KmsId, key_epoch: u32, subset: Subset, secret: &Secret<32>) -> Sha256 {
    let fields: [&[u8]; 4] =
        [kms_id.as_bytes(), &key_epoch.to_be_bytes(), &subset.bits().to_be_bytes(), secret.expose()];
    tagged_sha256(SECRET_TAG, &fields)
}

/// The birth of a service with a single seat: its one secret, and the record that commits to it.
pub fn single_seat_birth(
    roster: &Roster,
    rng: &mut impl CryptoRng,
) -> Result<(SubsetSecrets, Birth), DeriveError> {
    let mut secrets = Vec::new();
    let mut commitments = Vec::new();
    for subset in Subset::all(1, roster.threshold)? {
        let secret = subset_secret(&roster.kms_id, roster.key_epoch, subset, &[Secret::generate(rng)]);
        let commitment = secret_commitment(&roster.kms_id, roster.key_epoch, subset, &secret);
        commitments.push(SubsetCommitment { subset, commitment });
        secrets.push((subset, secret));
    }
    let birth = Birth { kms_id: roster.kms_id, key_epoch: roster.key_epoch, commitments };
    Ok((SubsetSecrets::new(secrets), birth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::Counter;

    fn input() -> KeyInput {
        KeyInput {
            trust_class: TrustClass::Simulated,
            kms_id: [1; 32].into(),
            key_epoch: 1,
            app_id: [2; 32].into(),
            instance: [3; 16].into(),
            purpose: KeyPurpose::Disk,
            volume: Some((VolumeName::new("data").unwrap(), 1, Secret::from_slice(&[4; 32]).unwrap())),
            workload_digest: [5; 32].into(),
        }
    }

    fn seats(count: u8, threshold: u8) -> Vec<SubsetSecrets> {
        let mut random = Counter::default();
        let subsets = Subset::all(count, threshold).unwrap();
        let secrets: Vec<_> = subsets.iter().map(|subset| (*subset, Secret::generate(&mut random))).collect();
        let held = |index| secrets.iter().filter(move |(subset, _)| subset.contains(index)).cloned();
        (1..=count).map(|index| SubsetSecrets::new(held(index))).collect()
    }

    fn key_of(
        count: u8,
        threshold: u8,
        all: &[SubsetSecrets],
        asked: u16,
    ) -> Result<Secret<64>, DeriveError> {
        let asked = (0..count).filter(|place| asked & (1 << place) != 0);
        let parts = asked
            .flat_map(|place| all[usize::from(place)].share(&input()))
            .map(|part| (part.subset, part.value))
            .collect();
        combine(count, threshold, &parts)
    }

    #[test]
    fn any_t_of_n_derive_the_same_key_and_fewer_derive_none() {
        for count in 1..=9 {
            for threshold in 1..=count {
                if threshold == count && count > 1 {
                    assert!(matches!(Subset::all(count, threshold), Err(RecordError::Threshold { .. })));
                    continue;
                }
                let all = seats(count, threshold);
                let whole = key_of(count, threshold, &all, u16::MAX).unwrap();
                for asked in 1..1u16 << count {
                    match key_of(count, threshold, &all, asked) {
                        Ok(key) => assert!(asked.count_ones() >= threshold.into() && key == whole),
                        Err(DeriveError::Missing { .. }) => assert!(asked.count_ones() < threshold.into()),
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        }
    }

    #[test]
    fn every_input_changes_the_key() {
        let secrets = &seats(1, 1)[0];
        let base = secrets.share(&input());
        type Change = fn(&mut KeyInput);
        let changed: [(&str, Change); 9] = [
            ("trust class", |x| x.trust_class = TrustClass::Real),
            ("kms id", |x| x.kms_id = [9; 32].into()),
            ("key epoch", |x| x.key_epoch = 2),
            ("app id", |x| x.app_id = [9; 32].into()),
            ("instance", |x| x.instance = [9; 16].into()),
            ("purpose", |x| x.purpose = KeyPurpose::Secrets),
            ("volume", |x| x.volume.as_mut().unwrap().0 = VolumeName::new("date").unwrap()),
            ("generation", |x| x.volume.as_mut().unwrap().1 = 2),
            ("salt", |x| x.volume.as_mut().unwrap().2 = Secret::from_slice(&[9; 32]).unwrap()),
        ];
        for (name, change) in changed {
            let mut other = input();
            change(&mut other);
            assert_ne!(secrets.share(&other), base, "{name}");
        }
    }

    #[test]
    fn the_workload_enters_identity_but_not_disk_keys() {
        let secrets = &seats(1, 1)[0];
        for (purpose, bound) in [
            (KeyPurpose::Disk, false),
            (KeyPurpose::Secrets, false),
            (KeyPurpose::Identity, true),
            (KeyPurpose::Tls, true),
        ] {
            let one = KeyInput { purpose, ..input() };
            let two = KeyInput { workload_digest: [9; 32].into(), ..one.clone() };
            assert_eq!(secrets.share(&one) != secrets.share(&two), bound, "{purpose:?}");
        }
    }
}
