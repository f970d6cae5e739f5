//! Who owns the app, which machine runs it, and what do both say to a seat?
//!
//! The module above names the type of the machine, `Tee`.

use std::path::Path;

use casemate_crypto::{
    hash::sha256,
    sign::{PublicKey, SigningKey},
};
use casemate_evidence::{
    Measurement, ReportData,
    bundle::{Bundle, Item},
    snp::Product,
};
use casemate_kms::StateFolder;
use casemate_record::{
    AppId, Authority, AuthorityRecord, BootId, Genesis, InstanceId, InstanceRecord, PolicyDigest, Roster,
    Signed, Stamp, Submission, UpgradeRule, VolumeName, WorkloadDigest,
};
use casemate_release::guest::{Release, ReleaseSetup, RenewalAttempt, RenewalSetup, WantedKey};
use casemate_verify::Policy;
use getrandom::SysRng;
use rand_core::UnwrapErr;

use super::Tee;

/// The workload that the app's owner authorised.
pub const WORKLOAD: [u8; 32] = [0x57; 32];
/// The launch measurement that the owner's policy lists.
pub const MEASUREMENT: [u8; 48] = [0x4d; 48];

/// An app with one instance, on a machine that is made of software.
pub struct App {
    /// Who owns the app.
    pub owner: SigningKey,
    /// What the app was born with.
    pub genesis: Genesis,
    /// The owner's policy, which lists [`MEASUREMENT`].
    pub policy: String,
    /// The machine.
    pub tee: Tee,
    /// The key service.
    pub roster: Roster,
}

impl App {
    /// Makes a seat in `state` whose floor accepts the machine under any image.
    pub fn on_new_seat(state: &Path) -> Self {
        let mut tee = Tee::new(Product::Genoa);
        tee.report.host_data = WORKLOAD.into();
        tee.report.measurement = MEASUREMENT.into();
        let measuring = |rule: &str| {
            let measurements = "measurements = \"expected\"";
            Policy::example(&[tee.root_digest()]).replace(measurements, &format!("measurements = {rule}"))
        };
        let policy = measuring(&format!("[\"{}\"]", Measurement::from(MEASUREMENT)));
        StateFolder::create(state, &measuring("\"any\""), &mut UnwrapErr(SysRng)).expect("a new folder");
        let chain = StateFolder::open(state).and_then(|folder| folder.chain()).expect("its chain");
        let roster = chain.verify(&chain.genesis.kms_id()).expect("a chain from its own genesis");
        let owner = SigningKey::from_bytes(&[7; 32]).expect("a key");
        let genesis = Genesis {
            owner: owner.public(),
            authority: Authority::Local,
            upgrade_rule: UpgradeRule::Owner,
            salt: [1; 32].into(),
        };
        App { owner, genesis, policy, tee, roster }
    }

    /// The app.
    pub fn app_id(&self) -> AppId {
        self.genesis.app_id()
    }

    /// Its instance.
    pub fn instance(&self) -> InstanceId {
        InstanceId::from([3; 16])
    }

    /// The seat's name.
    pub fn seat(&self) -> PublicKey {
        self.roster.seats[0].signing
    }

    /// The owner's word that `workload` may run.
    pub fn authority_submission(&self, number: u64, workload: [u8; 32]) -> Submission {
        self.authority(&self.owner, &self.genesis, self.app_id(), number, workload)
    }

    /// An authority record with whatever is wanted in it.
    pub fn authority(
        &self,
        signer: &SigningKey,
        genesis: &Genesis,
        app_id: AppId,
        number: u64,
        workload: [u8; 32],
    ) -> Submission {
        let record = AuthorityRecord {
            app_id,
            number,
            workload_digest: WorkloadDigest::from(workload),
            policy_digest: PolicyDigest::from(*sha256(self.policy.as_bytes()).as_bytes()),
        };
        let policy = self.policy.clone().into_bytes().into();
        Submission::Authority { genesis: *genesis, record: Signed::sign(signer, &record), policy }
    }

    /// The owner's word that the instance exists.
    pub fn instance_submission(&self, number: u64) -> Submission {
        let record = InstanceRecord { app_id: self.app_id(), instance: self.instance(), number };
        Submission::Instance(Signed::sign(&self.owner, &record))
    }

    /// What boot number `boot` asks for.
    pub fn setup(&self, boot: u8) -> ReleaseSetup {
        ReleaseSetup {
            roster: self.roster.clone(),
            app_id: self.app_id(),
            workload_digest: WorkloadDigest::from(WORKLOAD),
            instance: self.instance(),
            boot_id: BootId::from([boot; 16]),
            keys: vec![WantedKey::Disk(data()), WantedKey::Identity],
        }
    }

    /// How boot number `boot` asks for another lease.
    pub fn renewal(&self, boot: u8) -> RenewalAttempt {
        RenewalAttempt::new(RenewalSetup {
            roster: self.roster.clone(),
            app_id: self.app_id(),
            workload_digest: WorkloadDigest::from(WORKLOAD),
            instance: self.instance(),
            boot_id: BootId::from([boot; 16]),
        })
    }
}

/// The volume.
pub fn data() -> VolumeName {
    VolumeName::new("data").expect("a name")
}

/// The stamp that boot number `boot` makes.
pub fn next_stamp(release: &Release, boot: u8) -> Stamp {
    let volume = release.volume(&data()).expect("it was wanted");
    volume.keys.stamp(volume.next_counter, sha256(b"header"), BootId::from([boot; 16]))
}

/// Evidence of `tee` over `report_data`, with its certificates.
pub fn evidence_of(tee: &Tee, report_data: ReportData) -> Vec<u8> {
    let certificates = Item::SnpCertificates(tee.endorsements().to_bundle_item());
    report_of(tee, report_data).with(certificates).to_bytes()
}

/// A report of `tee` over `report_data`, alone.
pub fn report_of(tee: &Tee, report_data: ReportData) -> Bundle {
    let mut tee = tee.clone();
    tee.report.report_data = report_data;
    Bundle::new([Item::SnpReport(tee.sign_report().as_bytes().to_vec().into())])
}
