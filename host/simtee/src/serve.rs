//! Which reports does this VM get?
//!
//! SEV-SNP: each request is answered with 1184 bytes of report, or as many zeros for one that hardware would
//! refuse; one for certificates with the table of extended reports behind its length (`socket.rs`).

use std::path::{Path, PathBuf};

use casemate_attester::{Certificate, CertificateKind, write_table};
use casemate_evidence::snp::{
    CpuId, GuestPolicy, Layout, PlatformInfo, Product, Report, ReportBuilder, Vmpl,
};
use casemate_evidence::{ChipId, Measurement};
use clap::Args;
use serde::Serialize;

use crate::chip::ChipKey;
use crate::error::Error;
use crate::launch::{Launch, ProductName, TcbArgument};
use crate::root::Root;
use crate::socket::{Request, Socket, with_length};

/// Arguments of `serve`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder of the simulated root.
    #[arg(long)]
    state: PathBuf,
    /// Unix socket to listen on, for this VM alone.
    #[arg(long)]
    socket: PathBuf,
    #[command(flatten)]
    launch: Launch,
    /// Line of processors to imitate.
    #[arg(long, value_enum, default_value = "genoa")]
    product: ProductName,
    /// Version of the reports.
    #[arg(long, default_value = "3", value_parser = report_version)]
    report_version: u32,
    /// Versions of the platform's firmware, as bootloader=N,tee=N,snp=N,microcode=N[,fmc=N].
    #[arg(long)]
    tcb: Option<TcbArgument>,
}

/// The line that says that the socket can be used.
#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    measurement: Measurement,
    chip_id: ChipId,
    certificates: Certificates<'a>,
}

/// Files in DER.
#[derive(Serialize)]
struct Certificates<'a> {
    leaf: &'a Path,
    intermediate: &'a Path,
    root: &'a Path,
}

/// Measures the launch, listens, and answers until killed.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Error> {
    let product = arguments.product.product();
    let root = Root::open(&arguments.state)?;
    let builder = report(arguments, &root)?;
    let key = ChipKey::open(&root, product, builder.reported_tcb)?;
    let socket = Socket::listen(&arguments.socket)?;
    let ready = Ready {
        ready: true,
        measurement: builder.measurement,
        chip_id: builder.chip_id,
        certificates: Certificates {
            leaf: &key.certificate,
            intermediate: &root.intermediate_certificate(product),
            root: &root.root_certificate(),
        },
    };
    println!("{}", serde_json::to_string(&ready).expect("digests and paths are JSON"));
    let table = certificate_table(&ready.certificates)?;
    let signer = Signer { builder, key, launch_vmpl: arguments.launch.vmpl, table };
    socket.answer(|request| signer.answer(request))
}

/// What every report of this VM says, but for report data and VMPL.
fn report(arguments: &Arguments, root: &Root) -> Result<ReportBuilder, Error> {
    let product = arguments.product.product();
    let tcb = arguments.tcb.map_or(arguments.product.usual_tcb(), |argument| argument.0);
    if tcb.fmc.is_some() != (product == Product::Turin) {
        return Err(Error::FmcComponent { product, needed: product == Product::Turin });
    }
    let cpuid = cpuid(product);
    let layout = match arguments.report_version {
        2 if product == Product::Turin => return Err(Error::ReportVersion { version: 2, product }),
        2 => Layout::V2,
        3 => Layout::V3 { cpuid },
        _ => Layout::V5 { cpuid, launch_mitigations: 0, current_mitigations: 0 },
    };
    let mut report_id = [0; 32];
    getrandom::fill(&mut report_id).map_err(|_| Error::Crypto { action: "draw a report id" })?;
    let mut builder = ReportBuilder::new(layout, tcb.version(product));
    builder.policy = GuestPolicy::from_bits(arguments.launch.policy)?;
    builder.measurement = arguments.launch.measure()?;
    builder.host_data = arguments.launch.host_data;
    builder.chip_id = root.chip_id(product);
    builder.report_id = report_id;
    builder.platform_info = PlatformInfo::from_bits(PLATFORM_INFO);
    Ok(builder)
}

/// The table of an extended report (GHCB specification 56421), as hosts store it for their guests.
fn certificate_table(files: &Certificates<'_>) -> Result<Vec<u8>, Error> {
    let parts = [
        (CertificateKind::Vcek, files.leaf),
        (CertificateKind::Ask, files.intermediate),
        (CertificateKind::Ark, files.root),
    ];
    let mut certificates = Vec::new();
    for (kind, path) in parts {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        certificates.push(Certificate { kind, bytes });
    }
    Ok(write_table(&certificates))
}

/// Signs the reports of one VM.
struct Signer {
    builder: ReportBuilder,
    key: ChipKey,
    launch_vmpl: u8,
    table: Vec<u8>,
}

impl Signer {
    fn answer(&self, request: &Request) -> Result<Vec<u8>, Error> {
        if request.asks_for_endorsements() {
            return Ok(with_length(&self.table));
        }
        Ok(self.report(request)?.to_vec())
    }

    /// A report, or zeros for what hardware answers with INVALID_PARAMS (AMD 56860, MSG_REPORT_REQ).
    fn report(&self, request: &Request) -> Result<[u8; Report::LEN], Error> {
        let vmpl = request.vmpl();
        if !request.reserved_is_zero() || vmpl > 3 || vmpl < u32::from(self.launch_vmpl) {
            return Ok([0; Report::LEN]);
        }
        let mut builder = self.builder.clone();
        builder.report_data = request.report_data();
        builder.vmpl = Vmpl::Guest(vmpl as u8);
        let signature = self.key.sign(&builder.signed_bytes())?;
        Ok(*builder.finish(&signature).as_bytes())
    }
}

fn cpuid(product: Product) -> CpuId {
    match product {
        Product::Milan => CpuId { family: 0x19, model: 0x01, stepping: 1 },
        Product::Turin => CpuId { family: 0x1a, model: 0x02, stepping: 1 },
        _ => CpuId { family: 0x19, model: 0x11, stepping: 1 },
    }
}

fn report_version(text: &str) -> Result<u32, &'static str> {
    match text {
        "2" => Ok(2),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("reports have version 2, 3 or 5"),
    }
}

/// SMT and ECC on, memory aliasing checked: a well-kept machine.
const PLATFORM_INFO: u64 = 1 | 1 << 2 | 1 << 5;
