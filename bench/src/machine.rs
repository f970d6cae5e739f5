//! On which machine was it measured?

use std::{fs, process::Command};

use serde::Serialize;

/// What a reader needs to compare two runs.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// Model of the processor.
    pub processor: String,
    /// Processors that this program may use.
    pub cores: usize,
    /// Version of the kernel.
    pub kernel: String,
    /// Version of QEMU; nothing if there is none.
    pub qemu: Option<String>,
    /// What runs guests.
    pub accelerator: &'static str,
    /// What stands in for the TEE.
    pub tee: &'static str,
    /// Whether this is optimised code.
    pub optimised: bool,
    /// Processes that wanted to run, mean of the minute before: above 0.5 somebody else was at work.
    pub load: f64,
}

impl Facts {
    /// Of this machine, now.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo").lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "model name").then(|| value.trim().to_owned())
        });
        Facts {
            processor: processor.unwrap_or_else(|| "unknown".to_owned()),
            cores: cores(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            qemu: qemu_version(),
            accelerator: "tcg",
            tee: "simulated",
            optimised: !cfg!(debug_assertions),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }
}

/// Processors that this program may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn qemu_version() -> Option<String> {
    let output = Command::new("qemu-system-x86_64").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .next()?
        .split("version ")
        .nth(1)
        .map(|rest| rest.split(' ').next().unwrap_or(rest).to_owned())
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let qemu = self.qemu.as_deref().unwrap_or("absent");
        let Facts { processor, cores, kernel, accelerator, tee, load, .. } = self;
        write!(
            f,
            "{processor}, {cores} cores, Linux {kernel}, QEMU {qemu} under {accelerator}, TEE {tee}, load {load:.1}"
        )?;
        if !self.optimised {
            f.write_str("\nNOT OPTIMISED: these numbers say nothing; run `make bench`")?;
        }
        if *load > 0.5 {
            f.write_str("\nThe machine was not idle: run it again when it is")?;
        }
        Ok(())
    }
}
