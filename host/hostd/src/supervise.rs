//! How does a running VM fare, and how did it end?
//!
//! One task per running VM: it keeps relay and uplink connected, listens to QEMU, cuts the console,
//! tells a firmware that stands still from one that is slow, and records the end.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use casemate_api::host::{VmFailure, VmFailureCode};
use casemate_api::progress::Phase;
use casemate_transport::asynchronous::End;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::helper::last_line;
use crate::processes::ProcessId;
use crate::qemu::file;
use crate::qmp::{Event, Qmp, QmpError, Registers};
use crate::vms::{Record, Vm};

/// Watches a VM until its QEMU has ended, and records how.
pub(crate) async fn run(
    vm: Arc<Vm>,
    process: ProcessId,
    qmp: Arc<Qmp>,
    mut events: mpsc::Receiver<Event>,
    fresh: bool,
) {
    let mut shutdown = None;
    let mut halted = false;
    let mut disk_failures = 0_u32;
    {
        let relay = keep_relay(&vm);
        let firmware = watch_firmware(&vm, &qmp, fresh);
        let console = keep_console_short(&vm.folder);
        let network = vm.keep_connected();
        tokio::pin!(relay, firmware, console, network);
        let mut firmware_watched = false;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Shutdown { by_guest, reason }) => shutdown = Some((by_guest, reason)),
                    Some(Event::DiskFailed { no_space }) => {
                        // A guest may fail requests on purpose; the log is not its to fill.
                        if disk_failures < 10 {
                            tracing::warn!(no_space, "a guest's disk request failed");
                        }
                        disk_failures = disk_failures.saturating_add(1);
                    }
                    Some(Event::Panicked) => tracing::info!("a guest's kernel panicked"),
                    None => break,
                },
                stands_still = &mut firmware, if !firmware_watched => {
                    firmware_watched = true;
                    if stands_still {
                        halted = true;
                        if qmp.quit().await.is_err() {
                            vm.end_processes().await;
                        }
                    }
                }
                () = &mut relay => {}
                () = &mut console => {}
                () = &mut network => {}
            }
        }
    }
    *vm.qmp.lock().await = None;
    if !process.gone_within(Duration::from_secs(5)).await {
        tracing::warn!(pid = process.pid, "QEMU closed its control socket and stayed; ending it");
    }
    vm.end_processes().await;
    vm.disconnect().await;
    let failure = failure(&vm, shutdown, halted).await;
    let recorded = vm.change(|record| match failure {
        None => record.stopped(),
        Some(failure) => record.failed(failure),
    });
    if let Err(error) = recorded.await {
        tracing::error!(%error, "cannot record the end of a VM");
    }
}

/// What to record for a VM whose QEMU ended while the daemon did not look.
pub(crate) async fn ending_after_restart(vm: &Vm) -> impl FnOnce(&mut Record) + use<> {
    let wanted = vm.record.lock().await.stop_requested;
    move |record| {
        if wanted {
            return record.stopped();
        }
        record.failed(VmFailure {
            code: VmFailureCode::HostRestarted,
            message: "QEMU was gone when casemate-hostd restarted".into(),
            hint: "start the VM again; look for a reboot or for `Out of memory` in the host's log".into(),
        });
    }
}

async fn failure(vm: &Vm, shutdown: Option<(bool, String)>, halted: bool) -> Option<VmFailure> {
    let failure = |code, message: String, hint: &str| Some(VmFailure { code, message, hint: hint.into() });
    if vm.record.lock().await.stop_requested {
        return None;
    }
    if halted {
        return failure(
            VmFailureCode::FirmwareHalted,
            "the firmware stands still without a word: it refused kernel, initrd or command line".into(),
            "the files are not those of the hash table; build or fetch the image again",
        );
    }
    let last = vm.relay.notices().pop().map(|notice| notice.progress.phase);
    match (last, shutdown) {
        (Some(Phase::Failed { code, message }), _) => failure(
            VmFailureCode::GuestFailed,
            format!("the guest reports {code:?}: {message}"),
            "read the guest's message; its console may say more",
        ),
        (Some(Phase::Stopped), Some((true, _))) => None,
        (_, Some((true, reason))) => failure(
            VmFailureCode::GuestPoweredOff,
            format!("the guest ended by itself ({reason})"),
            "read its console: GET /v1/vms/{id}/console",
        ),
        (_, shutdown) => failure(
            VmFailureCode::QemuExited,
            format!(
                "QEMU ended by itself ({}): {}",
                shutdown.map_or("no word".into(), |(_, reason)| reason),
                last_line(&vm.folder.join(file::QEMU_LOG))
            ),
            "look for `Out of memory` in the host's log; start the VM again",
        ),
    }
}

/// Connects to the guest's port, again whenever that ends. Never returns.
async fn keep_relay(vm: &Vm) {
    let socket = vm.folder.join(file::RELAY);
    loop {
        let pause = match UnixStream::connect(&socket).await {
            Err(_) => Duration::from_millis(20),
            Ok(stream) => match vm.relay.serve(stream).await {
                End::Malformed { count } => {
                    tracing::warn!(count, "a guest sends no frames; its relay rests");
                    MALFORMED_REST
                }
                _ => Duration::from_millis(200),
            },
        };
        tokio::time::sleep(pause).await;
    }
}

const MALFORMED_REST: Duration = Duration::from_secs(10);

/// True once the firmware stands still. Until then it waits; never returns for a guest that speaks.
///
/// edk2's `CpuDeadLoop` is a few instructions with interrupts changing nothing. Silence on serial port
/// and relay is required too, for a guest may well spin later.
async fn watch_firmware(vm: &Vm, qmp: &Qmp, fresh: bool) -> bool {
    if !fresh {
        return std::future::pending().await;
    }
    let began = Instant::now();
    let mut still = Stillness::default();
    while began.elapsed() < FIRMWARE_TIME {
        tokio::time::sleep(SAMPLE_TIME).await;
        let console_bytes = vm.folder.join(file::CONSOLE).metadata().map_or(0, |metadata| metadata.len());
        if console_bytes > 0 || vm.relay.has_heard() {
            break;
        }
        match qmp.registers().await {
            Ok(Some(registers)) => {
                if still.sample(registers, began.elapsed()) {
                    return true;
                }
            }
            // An encrypted guest shows no registers; a QEMU that ends is noticed elsewhere.
            Ok(None) | Err(QmpError::Closed | QmpError::Refused { .. }) => break,
            Err(_) => {}
        }
    }
    std::future::pending().await
}

const FIRMWARE_TIME: Duration = Duration::from_secs(120);
const SAMPLE_TIME: Duration = Duration::from_millis(100);

/// Recognises an instruction pointer that does not leave a few bytes.
#[derive(Default)]
struct Stillness {
    since: Option<(Duration, u64, u64)>,
}

impl Stillness {
    const WIDTH: u64 = 32;
    const LENGTH: Duration = Duration::from_millis(1500);

    fn sample(&mut self, registers: Registers, at: Duration) -> bool {
        let Registers { instruction_pointer: pointer, halted } = registers;
        // The kernel runs above 4 GiB of virtual addresses, the firmware below.
        if halted || pointer > u64::from(u32::MAX) {
            self.since = None;
            return false;
        }
        let (since, low, high) = self.since.unwrap_or((at, pointer, pointer));
        let (low, high) = (low.min(pointer), high.max(pointer));
        if high - low >= Self::WIDTH {
            self.since = Some((at, pointer, pointer));
            return false;
        }
        self.since = Some((since, low, high));
        at.saturating_sub(since) >= Self::LENGTH
    }
}

/// Keeps what a guest can make its host store on disk bounded. Never returns.
async fn keep_console_short(folder: &Path) {
    let path = folder.join(file::CONSOLE);
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        if path.metadata().is_ok_and(|metadata| metadata.len() > MAXIMUM_CONSOLE_BYTES)
            && let Err(error) = keep_end(&path)
        {
            tracing::warn!(%error, "cannot shorten a console");
        }
    }
}

const MAXIMUM_CONSOLE_BYTES: u64 = 4 << 20;
const KEPT_CONSOLE_BYTES: u64 = 1 << 20;

/// QEMU appends, so that it goes on at the new end.
fn keep_end(path: &Path) -> std::io::Result<()> {
    let file = fs::File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut end = vec![0; KEPT_CONSOLE_BYTES.min(length) as usize];
    let begin = length - end.len() as u64;
    file.read_exact_at(&mut end, begin)?;
    file.set_len(0)?;
    file.write_all_at(&end, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(pointers: impl Iterator<Item = u64>, halted: bool) -> Option<usize> {
        let mut still = Stillness::default();
        pointers.enumerate().find_map(|(number, instruction_pointer)| {
            let at = SAMPLE_TIME * u32::try_from(number).unwrap();
            still.sample(Registers { instruction_pointer, halted }, at).then_some(number)
        })
    }

    #[test]
    fn only_a_firmware_that_spins_stands_still() {
        let spinning =
            |from: usize| (0..40).map(move |n| if n < from { n as u64 * 0x1000 } else { 0x7ec6_c148 });
        assert_eq!(samples(spinning(0), false), Some(15));
        assert_eq!(samples(spinning(10), false), Some(25));
        assert_eq!(samples((0..100).map(|n| 0x8000 + n % 7 * 0x40), false), None);
        assert_eq!(samples(spinning(0), true), None, "a processor that waits is not stuck");
        assert_eq!(samples((0..100).map(|_| 0xffff_ffff_8100_0000), false), None, "a kernel is not firmware");
    }

    #[test]
    fn a_console_keeps_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let text: Vec<u8> = (0..KEPT_CONSOLE_BYTES as u32 / 2).flat_map(u32::to_be_bytes).collect();
        fs::write(&path, &text).unwrap();
        keep_end(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), text[text.len() - KEPT_CONSOLE_BYTES as usize..]);
    }
}
