//! Keys and secrets where they must not be.
//!
//! Attack (issue: the key never appears in the relay's traffic, in `hostd`'s, the validator's, the uplink's or the CLI's
//! memory, in logs, or on the host's disk; peers C2: 28): after a real deployment the test derives, as only the seat's
//! operator could, everything that opens the volume, and looks for it in all those places. Expected: found in the
//! seat's memory and folder and in QEMU's memory, which is the guest's own and in the clear where no TEE encrypts
//! it, and nowhere else.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
};

use casemate_tests::{
    findings::Findings,
    keys::{Needle, SeatSecrets, VolumeOwner, VolumeSecrets},
    machine::{Machine, NAME, PASSWORD},
    memory::{Search, files},
    processes::{naming, one_naming, pause, resume},
    services::Services,
};

use crate::{running::Running, target::Target};

/// Brings the app up; meanwhile, when the guest has its keys and the command line still runs, the command line
/// is stopped and its memory is searched.
pub(crate) fn up_while_the_command_line_is_searched(
    machine: Machine,
    services: &Services,
    findings: &mut Findings,
) -> Target {
    let folder = machine.small_app();
    let place = folder.display().to_string();
    let mut child = machine
        .command(&["--json", "up", &place, "--name", NAME, "--publish", "web=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("casemate can be started");
    let id = i32::try_from(child.id()).expect("process ids are small");
    let mut said = Vec::new();
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    // By then the guest has formatted its volume; the secrets are delivered next.
    let verified =
        lines.by_ref().inspect(|line| said.push(line.clone())).any(|line| line.starts_with("Verified"));
    assert!(verified, "{}", said.join("\n"));
    pause(id);
    let seat = machine.local().join("kms");
    let needles = VolumeSecrets::checked(&seat, &deployment(&machine)).needles();
    let search = Search::new(&[needles, SeatSecrets::read(&seat).needles()].concat());
    nothing(findings, "the command line's memory", &search.in_process(id));
    // The search itself finds what is there: the secret that is about to be sealed, and what the seat holds.
    let own = Search::new(&[password()]).in_process(id);
    findings.holds("its own secret, in its memory", own.contains("the app's secret"), "found", "not found");
    let seats = search.in_process(services.kms.id());
    findings.holds("the seat's memory", seats.contains("k_A of subset 0b1"), "k_A found", "not found");
    resume(id);

    said.extend(lines);
    let mut answer = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut answer).expect("text");
    assert!(child.wait().is_ok_and(|status| status.success()), "{}", said.join("\n"));
    Target::of(machine, folder, serde_json::from_str(&answer).expect("JSON"))
}

/// The app runs.
pub(crate) fn attack(running: &Running, findings: &mut Findings) {
    let (target, services) = (&running.target, &running.services);
    let (home, local) = (target.machine.home(), target.machine.local());
    let secrets = VolumeSecrets::checked(&local.join("kms"), &deployment(&target.machine));
    let sectors = secrets.sector_keys(&target.disk());
    let seat = SeatSecrets::read(&local.join("kms"));
    let volume = [secrets.needles(), sectors.clone(), seat.needles()].concat();
    let search = Search::new(&[volume.clone(), vec![password()]].concat());

    nothing(findings, "hostd's memory", &search.in_process(services.hostd.id()));
    nothing(findings, "the validator's memory", &search.in_process(services.validator.id()));
    nothing(findings, "the uplink's memory", &search.in_process(target.uplink()));
    let socket = local.join("hostd/vms").join(&target.vm).join("tee.sock");
    for id in naming(&format!("{}\0", socket.display())) {
        nothing(findings, "simtee's memory", &search.in_process(id));
    }
    for (name, tap) in
        [("the relay's traffic", &services.seat_tap), ("the validator's traffic", &services.host_tap)]
    {
        assert!(tap.recorded_bytes() > 4096, "nothing passed {name}");
        nothing(findings, name, &tap.recorded().iter().flat_map(|stream| search.in_bytes(stream)).collect());
    }
    nothing(findings, "hostd's files, the data disk among them", &search.in_files(&local.join("hostd")));
    nothing(findings, "the validator's files", &search.in_files(&local.join("validator")));
    let logs = files(&local).into_iter().filter(|path| path.extension().is_some_and(|end| end == "log"));
    let found = logs.flat_map(|path| search.in_bytes(&fs::read(path).unwrap_or_default())).collect();
    nothing(findings, "every log", &found);
    // What the owner keeps opens no volume by itself.
    let volume = Search::new(&volume);
    for folder in ["keys", "deployments", "run", "cache"] {
        nothing(findings, &format!("the owner's {folder}"), &volume.in_files(&home.join(folder)));
    }

    // And where they must be, or nothing was searched.
    let folder = search.in_files(&local.join("kms"));
    findings.holds("the seat's folder", !folder.is_empty(), "its secrets found", "not found");
    let qemu = one_naming(&format!("casemate-{},process=", target.vm));
    let guest = search.in_process(qemu);
    let there = sectors.iter().chain([&password()]).all(|(name, _)| guest.contains(name));
    findings.holds(
        "QEMU's memory, which is the guest's",
        there,
        "keys and secret found",
        &format!("{guest:?}"),
    );
}

fn password() -> Needle {
    ("the app's secret".into(), PASSWORD.as_bytes().to_vec())
}

/// What the command line noted about the app, in its home.
pub(crate) fn deployment(machine: &Machine) -> VolumeOwner {
    let path = machine.home().join(format!("deployments/{NAME}.toml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let noted: toml::Table = text.parse().expect("the command line wrote it");
    let named = |name: &str| noted[name].as_str().expect("it is there").to_owned();
    VolumeOwner {
        app_id: named("app_id").parse().expect("an id"),
        instance: named("instance").parse().expect("an id"),
        workload_digest: named("workload_digest").parse().expect("a digest"),
    }
}

fn nothing(findings: &mut Findings, place: &str, found: &BTreeSet<String>) {
    findings.holds(place, found.is_empty(), "nothing", &format!("{found:?}"));
}
