//! Each process of a machine killed while an app is brought up and while it runs.
//!
//! Attack (issue: any process killed between any two steps; peers C2: 6, 30): SIGKILL to the command line after each
//! of its steps, to the seat, the host daemon, the validator, the supervisor, the uplink and QEMU. Expected: the same command,
//! run again, ends well; there is one VM and one instance, and what the app wrote is there.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
};

use casemate_tests::{
    findings::Findings,
    machine::{Machine, NAME},
    page,
    processes::{kill, naming, one_naming, wait_until},
};

use crate::target::Target;

const SERVICES: [&str; 3] = ["kms", "hostd", "validator"];

pub(crate) fn attack() {
    let machine = Machine::new();
    let folder = machine.small_app();
    let mut findings = Findings::new();

    let mut steps = BTreeSet::new();
    while let Some(step) = up_and_kill_after_a_new_step(&machine, &folder, &steps) {
        eprintln!("`up` killed after its step {step}");
        steps.insert(step);
    }
    let expected = ["Booting", "Disks", "Images", "Key", "Policy", "Secrets", "Verified", "Workload"];
    let all = expected.iter().all(|step| steps.contains(*step));
    findings.holds("`up` killed after each step", all, &format!("{expected:?}"), &format!("{steps:?}"));
    let up = machine.up(&folder);
    let vms = machine.casemate(["--json", "ps"]).success().json();
    findings.same("VMs", vms.as_array().map_or(0, Vec::len).to_string(), "1");
    let app = fs::read_to_string(folder.join(".casemate/app.toml")).expect("the app's file");
    findings.says("instances", &app, "last_instance = 1\n");

    let target = Target::of(machine, folder, up);
    let (code, said) = target.shell("echo kept >/data/kept && /bin/busybox sync");
    findings.holds("a file is written", code == 0, "written", &said);
    services(&target, &mut findings);
    supervisor(&target, &mut findings);
    uplink(&target, &mut findings);
    guest(&target, &mut findings);
    findings.finish();
}

/// Runs `up` and kills it after the first step that is not among `steps`; which that was, if it did not end first.
fn up_and_kill_after_a_new_step(
    machine: &Machine,
    folder: &Path,
    steps: &BTreeSet<String>,
) -> Option<String> {
    let folder = folder.display().to_string();
    let mut child = machine
        .command(&["--json", "up", &folder, "--name", NAME, "--publish", "web=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("casemate can be started");
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok) {
        let step = line.split_whitespace().next().unwrap_or_default().to_owned();
        said.push(line);
        if !steps.contains(&step) {
            let _ = child.kill();
            let _ = child.wait();
            return Some(step);
        }
    }
    assert!(child.wait().is_ok_and(|status| status.success()), "{}", said.join("\n"));
    None
}

/// The supervisor starts them again; the guest and its lease go on.
fn services(target: &Target, findings: &mut Findings) {
    let machine = &target.machine;
    for name in SERVICES {
        let before = processes_of(machine, name);
        before.iter().copied().for_each(kill);
        wait_until("another process", 30, || {
            let found = processes_of(machine, name);
            found.len() == 1 && found != before
        });
        answer(machine);
        findings.same(&format!("{name} killed: the app"), kept(target), "kept");
        let verified = machine.casemate(["--json", "verify", NAME]);
        findings.holds(&format!("{name} killed: verify"), verified.status == 0, "verified", &verified.stderr);
    }
}

/// Whoever says `local start` again has a supervised machine again, with one process of each service.
fn supervisor(target: &Target, findings: &mut Findings) {
    let machine = &target.machine;
    let id = fs::read_to_string(machine.local().join("supervisor.pid")).expect("the supervisor's file");
    kill(id.trim().parse().expect("a process id"));
    findings.same("the supervisor killed: the app", kept(target), "kept");
    let started = machine.casemate(["--json", "local", "start"]);
    findings.holds("`local start`", started.status == 0, "done", &started.stderr);
    findings.holds("a supervisor", started.json()["supervisor"].is_i64(), "runs", &started.stdout);
    for name in SERVICES {
        wait_until("one process of each service", 60, || processes_of(machine, name).len() == 1);
    }
    answer(machine);
    findings.same("the app, supervised again", kept(target), "kept");
}

/// The host daemon starts it again, on the same port; the guest does not notice.
fn uplink(target: &Target, findings: &mut Findings) {
    let port = target.port(&target.vm);
    let page = page::get(port, "/");
    let before = target.uplink();
    kill(before);
    wait_until("another uplink", 30, || target.uplinks().iter().any(|id| *id != before));
    findings.same("the uplink killed: the page", body(&page::get(port, "/")), body(&page));
    findings.same("uplinks", target.uplinks().len().to_string(), "1");
    findings.same("the app, on another uplink", kept(target), "kept");
    let verified = target.machine.casemate(["--json", "verify", NAME]);
    findings.holds("the uplink killed: verify", verified.status == 0, "verified", &verified.stderr);
}

/// Heads hold the time of day.
fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// QEMU killed while the app runs, the host daemon while the guest boots.
fn guest(target: &Target, findings: &mut Findings) {
    let machine = &target.machine;
    let qemu = format!("casemate-{},process=", target.vm);
    kill(one_naming(&qemu));
    let ending = target.host.end(&target.vm);
    findings.ending("QEMU killed", &ending, "qemu_exited", "QEMU ended by itself");
    let failed = || machine.casemate(["--json", "ps"]).json()[0]["state"] == "failed";
    wait_until("the validator's word", 30, failed);

    let mut start = machine.command(&["--json", "start", NAME]);
    let mut start = start.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it can be started");
    wait_until("a guest that boots", 60, || naming(&qemu).len() == 1);
    processes_of(machine, "hostd").into_iter().for_each(kill);
    let _ = start.wait();
    // Whatever became of that command: again.
    answer(machine);
    let started = machine.casemate(["--json", "start", NAME]);
    findings.holds("the host daemon killed at boot", started.status == 0, "started", &started.stderr);
    findings.same("what the app wrote", kept(target), "kept");
    findings.same("guests of it", naming(&qemu).len().to_string(), "1");
}

fn kept(target: &Target) -> String {
    target.shell("/bin/busybox cat /data/kept").1.trim().to_owned()
}

/// Waits until all services answer.
fn answer(machine: &Machine) {
    wait_until("the services", 60, || machine.casemate(["local", "status"]).status == 0);
}

/// The processes on a service's state.
fn processes_of(machine: &Machine, name: &str) -> Vec<i32> {
    naming(&format!("{}\0", machine.local().join(name).display()))
}
