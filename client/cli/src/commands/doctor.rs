//! What can this machine do, and what is missing?

use std::{path::Path, process::Command, time::Duration};

use serde::Serialize;

use crate::{Error, commands::Context, exit, local, output::size};

/// Check this machine: TEE, KVM, programs, disk, services
#[derive(Debug, clap::Args)]
pub struct Arguments {}

#[derive(Debug, Serialize)]
struct Finding {
    subject: &'static str,
    state: State,
    found: String,
    advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    Reduced,
    Missing,
}

/// Runs the command. Ends with a failure only if something needed is missing.
///
/// # Errors
/// [`Error::Local`].
pub async fn run(context: &Context, _: Arguments) -> Result<u8, Error> {
    let kvm = match kvm_as_the_host_found_it(context).await {
        Some(finding) => finding,
        None => kvm().await,
    };
    let mut findings = vec![tee(), kvm];
    findings.extend(programs());
    findings.extend(taps());
    findings.push(disk(context.home.root()));
    findings.push(services(context).await?);
    context.output.answer(&findings, || {
        let lines: Vec<String> = findings
            .iter()
            .map(|finding| {
                format!("{:<11}{:<34} {}", finding.subject, finding.found, finding.advice)
                    .trim_end()
                    .to_owned()
            })
            .collect();
        lines.join("\n")
    });
    let missing = findings.iter().any(|finding| finding.state == State::Missing);
    Ok(if missing { exit::FAILED } else { exit::DONE })
}

fn tee() -> Finding {
    let (state, found, advice) = if crate::tee::is_here() {
        (State::Ok, "SEV-SNP host device present", "")
    } else {
        (
            State::Reduced,
            "none found",
            "VMs run with a SIMULATED TEE (no confidentiality); SEV-SNP needs EPYC 7003 or later, SEV-SNP \
             and SMEE enabled in the BIOS, and Linux 6.11 or later",
        )
    };
    Finding { subject: "TEE", state, found: found.to_owned(), advice: advice.to_owned() }
}

/// What casemate-hostd found with whole guests, if it runs here and has found KVM unfit.
async fn kvm_as_the_host_found_it(context: &Context) -> Option<Finding> {
    let host = local::validator_if_running(&context.home).ok()?.host().await.ok()?;
    let kvm = &host["kvm"];
    if kvm["state"] != "unusable" {
        return None;
    }
    let reason = kvm["reason"].as_str()?;
    Some(Finding {
        subject: "KVM",
        state: State::Reduced,
        found: "present, unusable".to_owned(),
        advice: format!("{reason}; using TCG (slower). Nothing to do on nested clouds"),
    })
}

/// A device that opens may still not run a guest: some clouds offer one that hangs.
async fn kvm() -> Finding {
    let finding = |state, found: &str, advice: &str| Finding {
        subject: "KVM",
        state,
        found: found.to_owned(),
        advice: advice.to_owned(),
    };
    if std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return finding(
            State::Reduced,
            "not usable",
            "using TCG (slower); is /dev/kvm there, and are you in its group?",
        );
    }
    if local::program("qemu-system-x86_64").is_err() {
        return finding(State::Reduced, "present, not tried", "qemu-system-x86_64 is not installed");
    }
    // No disk, no kernel: a guest that runs reaches its firmware and answers the monitor at once.
    let mut command = tokio::process::Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "kvm", "-machine", "q35", "-m", "64", "-display", "none", "-nodefaults"])
        .args(["-chardev", "stdio,id=debug", "-device", "isa-debugcon,iobase=0x402,chardev=debug"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true);
    let Ok(mut child) = command.spawn() else {
        return finding(State::Reduced, "present, not tried", "qemu-system-x86_64 does not start");
    };
    // SeaBIOS writes to this port as its first act. That much proves little: some hosts hang later.
    let mut first = [0; 1];
    let stdout = child.stdout.as_mut().expect("stdout is piped");
    let booted =
        tokio::time::timeout(Duration::from_secs(5), tokio::io::AsyncReadExt::read_exact(stdout, &mut first))
            .await;
    let _ = child.kill().await;
    match booted {
        Ok(Ok(_)) => finding(
            State::Ok,
            "runs firmware",
            "casemate-hostd tries a whole guest before it uses it; CASEMATE_ACCEL=tcg or kvm decides",
        ),
        _ => finding(
            State::Reduced,
            "present, unusable",
            "a test guest did not boot in 5 s; using TCG (slower). Nothing to do on nested clouds",
        ),
    }
}

/// Programs, what each is for, and whether nothing works without it.
const PROGRAMS: &[(&str, &str, bool)] = &[
    ("qemu-system-x86_64", "runs VMs: install qemu-system-x86", true),
    ("casemate-hostd", "runs VMs: install all of Casemate", true),
    ("casemate-kms", "keeps keys: install all of Casemate", true),
    ("casemate-validator", "places VMs: install all of Casemate", true),
    ("casemate-uplink", "carries packets of VMs: install all of Casemate", true),
    ("casemate-simtee", "simulates a TEE: install all of Casemate", false),
];

fn programs() -> Vec<Finding> {
    PROGRAMS
        .iter()
        .filter(|(name, _, _)| local::program(name).is_err())
        .map(|(name, advice, needed)| Finding {
            subject: "Program",
            state: if *needed { State::Missing } else { State::Reduced },
            found: format!("{name} not found"),
            advice: (*advice).to_owned(),
        })
        .chain(qemu_version())
        .collect()
}

fn qemu_version() -> Option<Finding> {
    let output = Command::new("qemu-system-x86_64").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().next()?.trim_start_matches("QEMU emulator ").to_owned();
    let found: String = found.chars().take(33).collect();
    Some(Finding {
        subject: "QEMU",
        state: State::Ok,
        found,
        advice: "SEV-SNP guests need 9.1 or later".to_owned(),
    })
}

/// What `casemate-hostd serve --network tap` needs; of no concern to who is not root.
fn taps() -> Option<Finding> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let forwards =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1");
    let (state, found, advice) = if local::program("ip").is_err() {
        (
            State::Reduced,
            "ip not found",
            "needed for `casemate-hostd serve --network tap` only: install iproute2",
        )
    } else if local::program("nft").is_err() {
        (
            State::Reduced,
            "nft not found",
            "needed for `casemate-hostd serve --network tap` only: install nftables",
        )
    } else if !forwards {
        (
            State::Reduced,
            "packets are not forwarded",
            "needed for `casemate-hostd serve --network tap` only: sysctl -w net.ipv4.ip_forward=1",
        )
    } else {
        (State::Ok, "possible", "for hosts that run as a service: `casemate-hostd serve --network tap`")
    };
    Some(Finding { subject: "Taps", state, found: found.to_owned(), advice: advice.to_owned() })
}

fn disk(path: &Path) -> Finding {
    let free = nix::sys::statvfs::statvfs(path)
        .map(|found| found.blocks_available() * found.fragment_size())
        .unwrap_or_default();
    let (state, advice) = match free {
        0..2_147_483_648 => (State::Missing, "at least 2 GiB are needed; set CASEMATE_HOME elsewhere"),
        _ => (State::Ok, ""),
    };
    Finding { subject: "Disk", state, found: format!("{} free", size(free)), advice: advice.to_owned() }
}

async fn services(context: &Context) -> Result<Finding, Error> {
    let status = local::status(&context.home).await?;
    let answering = status.services.iter().filter(|service| service.answers).count();
    let found = format!("{answering} of {} answer", status.services.len());
    let advice = if answering == 0 { "`casemate up` starts them" } else { "" };
    Ok(Finding { subject: "Services", state: State::Ok, found, advice: advice.to_owned() })
}
