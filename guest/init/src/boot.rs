//! In which order is what checked?

use std::{convert::Infallible, path::Path};

use casemate_api::{
    handover::{self, Handover},
    progress::Phase,
};
use casemate_guest_sys::clock::uptime_ms;
use casemate_record::BootId;
use rand_core::Rng;

use crate::{
    Error, clock, command_line, environment,
    handover::{execute, write},
    launch, randomness,
    relay::Relay,
    root,
    seats::{self, Attested},
    volume::{self, Opened},
    workload::{self, Workload, WorkloadError},
};

/// Boots the guest up to its agent.
///
/// # Errors
/// The first failure, whatever it is, ends the boot.
pub fn boot(relay: &mut Relay) -> Result<Infallible, Error> {
    environment::prepare()?;
    let verity = command_line::root_verity(&environment::command_line()?)?;
    relay.open()?;
    relay.report(Phase::Booted);
    // Before any key is asked for: who cannot read its own root has no use for keys.
    root::enter(&verity)?;
    relay.report(Phase::RootVerified);

    let attester = casemate_attester::open().map_err(WorkloadError::from)?;
    let host_data = workload::named_by_hardware(&*attester)?;
    let workload = Workload::accept(launch::read_disk()?, host_data)?;
    relay.report(Phase::ManifestAccepted);

    let mut randomness = randomness::seed()?;
    let mut boot_id = [0; 16];
    randomness.fill_bytes(&mut boot_id);
    let boot_id = BootId::from(boot_id);
    let attested = seats::attest(relay, &workload, boot_id, &*attester, &mut randomness)?;
    randomness::add_from_seats(attested.release.entropy().expose())?;
    clock::set_from_seats(attested.release.time_ms())?;

    open_volumes(relay, &workload, &attested, boot_id)?;
    hand_over(relay, workload, &attested, boot_id)
}

fn open_volumes(
    relay: &mut Relay,
    workload: &Workload,
    attested: &Attested,
    boot_id: BootId,
) -> Result<(), Error> {
    for wanted in &workload.manifest.volumes {
        let (granted, mut stamps) = seats::volume(relay, &attested.release, &wanted.name)?;
        let mount_point = Path::new(handover::DATA);
        let opened = volume::open(&wanted.name, mount_point, &granted, boot_id, &mut stamps)?;
        let volume = wanted.name.clone();
        relay.report(match opened {
            Opened::Formatted => Phase::VolumeFormatted { volume },
            Opened::Found => Phase::VolumeOpened { volume },
        });
    }
    Ok(())
}

/// Leaves to the agent what it needs, forgets the keys and becomes the agent.
fn hand_over(
    relay: &mut Relay,
    workload: Workload,
    attested: &Attested,
    boot_id: BootId,
) -> Result<Infallible, Error> {
    let Workload { instance, launch, .. } = workload;
    write(&Handover {
        manifest: launch.manifest,
        genesis: launch.genesis,
        roster_chain: launch.roster_chain,
        instance: instance.instance,
        boot_id,
        files: launch.files,
        granted_uptime_ms: attested.asked_uptime_ms.min(uptime_ms()),
        lease_ms: attested.release.lease_ms(),
        leases: attested.release.leases().to_vec(),
    })?;
    relay.close();
    Ok(execute()?)
}
