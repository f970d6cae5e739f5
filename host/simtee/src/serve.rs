//! Which reports does this VM get?
//!
//! Requests come over one Unix socket, to which the VMM connects the guest's virtio-serial port: 96 bytes
//! of `struct snp_report_req` in (linux/sev-guest.h), 1184 bytes of report out, or as many zeros for a
//! request that hardware would refuse. All zeros but a VMPL of 0xffffffff ask for the chip's certificates:
//! a little-endian length and the table of extended reports follow. Whoever can open the socket is the VM.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_attester::{Certificate, CertificateKind, write_table};
use casemate_evidence::snp::{
    CpuId, GuestPolicy, Layout, PlatformInfo, Product, Report, ReportBuilder, Vmpl,
};
use casemate_evidence::{ChipId, Measurement, ReportData};
use clap::Args;
use nix::sys::stat::{Mode, umask};
use serde::Serialize;

use crate::chip::ChipKey;
use crate::error::Error;
use crate::launch::{Launch, ProductName, TcbArgument};
use crate::root::Root;

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
    let listener = listen(&arguments.socket)?;
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
    loop {
        let (stream, _) = listener.accept().map_err(Error::io("accept on", &arguments.socket))?;
        if let Err(error) = signer.serve(stream) {
            eprintln!("casemate-simtee: connection closed: {error}");
        }
    }
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

/// Listens on a socket that only this user can open.
fn listen(path: &Path) -> Result<UnixListener, Error> {
    if path.exists() {
        // A process that was killed leaves its socket behind; nobody answers there.
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(Error::io("remove", path))?;
            }
            _ => return Err(Error::SocketInUse { path: path.into() }),
        }
    }
    // There is no moment at which the socket exists and others may connect.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path).map_err(Error::io("listen on", path));
    umask(before);
    let listener = listener?;
    let mode = std::fs::metadata(path).map_err(Error::io("inspect", path))?.permissions().mode();
    debug_assert_eq!(mode & 0o777, 0o600, "umask leaves 0600");
    Ok(listener)
}

/// Signs the reports of one VM.
struct Signer {
    builder: ReportBuilder,
    key: ChipKey,
    launch_vmpl: u8,
    table: Vec<u8>,
}

impl Signer {
    /// Answers request after request until the VM closes the connection.
    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        while let Some(request) = read_request(&mut stream)? {
            if request == CERTIFICATES_REQUEST {
                stream.write_all(&(self.table.len() as u32).to_le_bytes())?;
                stream.write_all(&self.table)?;
                continue;
            }
            stream.write_all(&self.answer(&request).map_err(io::Error::other)?)?;
        }
        Ok(())
    }

    /// A report, or zeros for what hardware answers with INVALID_PARAMS (AMD 56860, MSG_REPORT_REQ).
    fn answer(&self, request: &[u8; REQUEST]) -> Result<[u8; Report::LEN], Error> {
        let (report_data, rest) = request.split_first_chunk::<64>().expect("a request has 96 bytes");
        let vmpl = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
        let reserved_zero = rest[4..].iter().all(|byte| *byte == 0);
        if !reserved_zero || vmpl > 3 || vmpl < u32::from(self.launch_vmpl) {
            return Ok([0; Report::LEN]);
        }
        let mut builder = self.builder.clone();
        builder.report_data = ReportData::from(*report_data);
        builder.vmpl = Vmpl::Guest(vmpl as u8);
        let signature = self.key.sign(&builder.signed_bytes())?;
        Ok(*builder.finish(&signature).as_bytes())
    }
}

/// One whole request, or `None` if the VM closed the connection between requests.
///
/// A request that stops halfway is dropped after a while: a guest that was reset in the middle of one
/// would otherwise never be understood again.
fn read_request(stream: &mut UnixStream) -> io::Result<Option<[u8; REQUEST]>> {
    let mut request = [0; REQUEST];
    let mut filled = 0;
    while filled < REQUEST {
        // The first byte may take for ever, the others not.
        stream.set_read_timeout((filled > 0).then_some(PARTIAL_REQUEST))?;
        match stream.read(&mut request[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => filled = 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(request))
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

/// `struct snp_report_req`: 64 bytes of report data, a VMPL, 28 zero bytes.
const REQUEST: usize = 96;

/// The request for certificates: no report data, and a VMPL that no guest has.
const CERTIFICATES_REQUEST: [u8; REQUEST] = {
    let mut request = [0; REQUEST];
    let mut offset = 64;
    while offset < 68 {
        request[offset] = 0xff;
        offset += 1;
    }
    request
};

/// SMT and ECC on, memory aliasing checked: a well-kept machine.
const PLATFORM_INFO: u64 = 1 | 1 << 2 | 1 << 5;

/// How long the rest of a request may take.
const PARTIAL_REQUEST: Duration = Duration::from_secs(2);
