//! A handover as init would leave it, made on the spot.
#![allow(dead_code, reason = "each test file uses a part")]

use casemate_api::handover::Handover;
use casemate_api::launch::LaunchFile;
use casemate_canon::to_cbor;
use casemate_crypto::hash::{Sha256, sha256};
use casemate_crypto::seal::SealingKey;
use casemate_crypto::secret::Secret;
use casemate_crypto::sign::SigningKey;
use casemate_record::{
    Authority, Birth, Genesis, KmsGenesis, Lease, LeaseHolder, Roster, RosterChain, Seat, Signed,
    SignedBirth, SignedRoster, Subset, SubsetCommitment, UpgradeRule,
};
use casemate_workload::manifest::{File, Image, ImageConfig, Inputs, Manifest};

/// The operating system's random numbers.
pub fn random() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// The owner of every app here.
pub fn owner() -> SigningKey {
    SigningKey::from_bytes(&[7; 32]).unwrap()
}

/// The one seat's signing key.
pub fn seat() -> SigningKey {
    SigningKey::from_bytes(&[9; 32]).unwrap()
}

/// What init leaves for `compose`, whose services all run from `config`.
pub fn handover(compose: &str, config: &ImageConfig, files: &[(&str, &str)]) -> Handover {
    let genesis = Genesis {
        owner: owner().public(),
        authority: Authority::Local,
        upgrade_rule: UpgradeRule::Owner,
        salt: [1; 32].into(),
    };
    let chain = roster_chain();
    let parsed = casemate_workload::compose::parse(compose, &Default::default()).unwrap();
    let images = parsed.services.keys().map(|service| Image {
        service: service.clone(),
        reference: format!("{service}:latest"),
        oci_digest: Sha256::from([2; 32]),
        root_hash: sha256(service.as_bytes()),
        data_blocks: 100,
        config: config.clone(),
    });
    let inputs = Inputs {
        name: "notes".into(),
        compose: compose.into(),
        substitutions: Default::default(),
        images: images.collect(),
        files: files
            .iter()
            .map(|(name, content)| File {
                name: (*name).into(),
                digest: sha256(content.as_bytes()),
                size_bytes: content.len() as u64,
            })
            .collect(),
        app_id: genesis.app_id(),
        kms_id: chain.genesis.kms_id(),
        threshold: 1,
    };
    let (manifest, _) = Manifest::new(inputs).unwrap();
    let holder = LeaseHolder {
        app_id: genesis.app_id(),
        workload_digest: manifest.digest(),
        instance: [3; 16].into(),
        boot_id: [4; 16].into(),
    };
    Handover {
        manifest: manifest.to_bytes(),
        genesis: to_cbor(&genesis),
        roster_chain: chain.to_bytes(),
        instance: [3; 16].into(),
        boot_id: [4; 16].into(),
        files: files
            .iter()
            .map(|(_, content)| LaunchFile {
                digest: *sha256(content.as_bytes()).as_bytes(),
                content: content.as_bytes().to_vec(),
            })
            .collect(),
        granted_uptime_ms: 0,
        lease_ms: 600_000,
        leases: vec![lease(&holder)],
    }
}

/// What the one seat signs for `holder`: from 1,000 to [`LEASE_ENDS_MS`].
pub fn lease(holder: &LeaseHolder) -> Signed<Lease> {
    let chain = roster_chain();
    let roster = chain.verify(&chain.genesis.kms_id()).unwrap();
    let lease = Lease {
        kms_id: roster.kms_id,
        roster_digest: roster.digest(),
        key_epoch: 1,
        seat: 1,
        app_id: holder.app_id,
        workload_digest: holder.workload_digest,
        instance: holder.instance,
        boot_id: holder.boot_id,
        begins_ms: 1_000,
        ends_ms: LEASE_ENDS_MS,
    };
    Signed::sign(&seat(), &lease)
}

/// When the lease ends, by the seat's clock.
pub const LEASE_ENDS_MS: u64 = 601_000;

fn roster_chain() -> RosterChain {
    let operators = SigningKey::from_bytes(&[8; 32]).unwrap();
    let genesis = KmsGenesis { operators: operators.public(), salt: [5; 32].into() };
    let sealing = SealingKey::from_seed(Secret::from_slice(&[6; 32]).unwrap()).public();
    let roster = Roster {
        kms_id: genesis.kms_id(),
        key_epoch: 1,
        number: 1,
        previous: None,
        seats: vec![Seat { index: 1, signing: seat().public(), sealing }],
        threshold: 1,
        quorum: 1,
        faulty: 0,
    };
    let commitments = Subset::all(1, 1).unwrap().into_iter();
    let mut birth = SignedBirth::new(&Birth {
        kms_id: genesis.kms_id(),
        key_epoch: 1,
        commitments: commitments
            .map(|subset| SubsetCommitment { subset, commitment: Sha256::from([0; 32]) })
            .collect(),
    });
    birth.add_signature(1, &seat());
    RosterChain { rosters: vec![SignedRoster::new(&operators, &roster)], genesis, birth }
}
