//! A disk without room: in the guest, under the guest, under the seat.
//!
//! Attack (issue: disk full in guest and on host; peers C2: 30): the workload fills its volume; the host's file
//! system has no room for what the guest writes; the seat's has none for a stamp. Expected: whoever writes is told
//! (`No space left on device`, an I/O error, `seat_broken`), nothing that was written before is lost, no boot gets
//! a second stamp, and with room again all goes on by the same commands.
//!
//! The last two need a small file system, and mounting one needs root. Without it they say that they did not run;
//! with `CI` set they fail instead. A host daemon's own full disk: `casemate-hostd`, test `api`.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use casemate_release::{guest::VolumeStanding, message::Step};
use casemate_tests::{
    findings::Findings,
    machine::{Machine, NAME},
    seat::{World, data, name, next_stamp},
};

use crate::{running::Running, target::Target};

/// The workload fills its volume while it runs.
pub(crate) fn fill_the_volume(running: &Running, findings: &mut Findings) {
    let target = &running.target;
    let (_, said) = target.shell("/bin/busybox dd if=/dev/zero of=/data/fill bs=1M; /bin/busybox sync");
    findings.says("a volume that is full", &said, "No space left on device");
    let (_, left) = target.shell("/bin/busybox df -k /data | /bin/busybox tail -n 1");
    findings.says("its use", &left, "100%");
    findings.same("the app", state(target), "running");
    let logs = target.machine.casemate(["--json", "logs", NAME, "web"]);
    findings.same("its logs are still read", logs.status.to_string(), "0");
}

/// The app was stopped and started with a full volume.
pub(crate) fn free_the_volume(running: &Running, findings: &mut Findings) {
    let target = &running.target;
    findings.same("the app, started on a full volume", state(target), "running");
    let (code, said) = target.shell(
        "/bin/busybox rm /data/fill && /bin/busybox dd if=/dev/zero of=/data/after bs=1M count=4 conv=fsync",
    );
    findings.holds("with room again", code == 0, "written", &said);
}

fn state(target: &Target) -> String {
    let vms = target.machine.casemate(["--json", "ps"]).success().json();
    vms[0]["state"].as_str().unwrap_or_default().to_owned()
}

/// The host's file system is full below a guest that writes.
pub(crate) fn under_a_guest() {
    let machine = Machine::new();
    // Room for the image and for a part of the data disk, which is sparse.
    let Some(small) = SmallFileSystem::new(&machine.local().join("hostd"), "40m") else { return };
    let mut findings = Findings::new();
    let target = Target::up_on(machine);
    let (code, said) = target.shell("echo kept >/data/kept && /bin/busybox sync");
    findings.holds("a file is written", code == 0, "written", &said);

    let random = "/bin/busybox dd if=/dev/urandom of=/data/fill bs=1M count=48 conv=fsync";
    let (code, said) = target.shell(random);
    findings.holds("a disk without room below", code != 0, "an error for the writer", &said);
    let log = fs::read_to_string(target.machine.local().join("hostd.log")).unwrap_or_default();
    findings.says("the host's log", &log, "a guest's disk request failed no_space=true");

    // With room again, by the same commands as ever.
    small.grow("120m");
    let stopped = target.machine.casemate(["stop", NAME]);
    findings.holds("stop", stopped.status == 0, "done", &stopped.stderr);
    let started = target.machine.casemate(["start", NAME]);
    findings.holds("start", started.status == 0, "done", &started.stderr);
    let (_, kept) = target.shell("/bin/busybox cat /data/kept");
    findings.same("what was written before", kept.trim(), "kept");
    let (code, said) = target.shell("/bin/busybox dd if=/dev/zero of=/data/after bs=1M count=4 conv=fsync");
    findings.holds("what is written afterwards", code == 0, "written", &said);
    drop((target, small));
    findings.finish();
}

#[test]
fn a_seat_without_room_decides_nothing() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let place = folder.path().join("small");
    let Some(small) = SmallFileSystem::new(&place, "2m") else { return };
    let mut findings = Findings::new();
    let world = World::new_in(&place);
    let (_, old) = world.boot(1).expect("it boots");
    let release = world.release(2).expect("granted");
    let stamp = next_stamp(&release, 2);
    let (_, request) = world.release_request(world.setup(3));

    let ballast = small.fill();
    let answer = world.post("/v1/guest", &request).expect("the seat answers");
    findings.says("keys asked of a seat without room", answer.text(), "seat_broken");
    let attempt = release.step(Step::Prepare, &data(), &stamp);
    let answer = world.post("/v1/guest", &attempt.requests()[0].1).expect("the seat answers");
    findings.says("a stamp at a seat without room", answer.text(), "nothing was given or taken");

    // The same process goes on.
    fs::remove_file(ballast).expect("our own file");
    findings.same(
        "the stamp, with room again",
        name(&world.step(&release, Step::Prepare, &stamp)),
        "granted",
    );
    findings.same("its commit", name(&world.step(&release, Step::Commit, &stamp)), "granted");
    let next = world.release(4).expect("granted");
    let standing = &next.volume(&data()).expect("wanted").standing;
    let intact = matches!(standing, VolumeStanding::Live { committed, .. } if *committed == stamp);
    let intact = intact && stamp.counter == old.counter + 1;
    findings.holds("the volume", intact, "the new stamp", &format!("{standing:?}"));
    drop((world, small));
    findings.finish();
}

/// A tmpfs of its own, unmounted when dropped.
struct SmallFileSystem(PathBuf);

impl SmallFileSystem {
    /// Nothing where file systems cannot be mounted, which it says.
    fn new(place: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(place).expect("scratch is writable");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "casemate-test"])
            .arg(place)
            .output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(SmallFileSystem(place.to_owned()));
        }
        assert!(std::env::var_os("CI").is_none(), "mounting a small file system needs root: {mounted:?}");
        eprintln!("not tested: mounting a small file system needs root");
        None
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let grown = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(grown.is_ok_and(|status| status.success()), "the file system grows");
    }

    /// Leaves no room; the file that takes it.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).expect("room for a name");
        // Until it is refused, in ever smaller pieces.
        for size in [65_536, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        ballast
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have a file open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
