//! Which quotes does this VM get?
//!
//! Each request is answered with a little-endian length and a quote, or the length 0 for what hardware would
//! refuse; one for endorsements with an evidence bundle whose one item is the collateral, behind its length.
//! A trust domain has no VMPL: the field is 0.

use std::path::PathBuf;

use casemate_crypto::hash::sha384;
use casemate_evidence::bundle::{Bundle, Item};
use casemate_evidence::intel::{Body, Ppid, QuoteBuilder, QuoteVersion};
use casemate_evidence::tdx::{LaunchRegisters, ReportBuilder, TdAttributes};
use casemate_evidence::{Measurement, ReportData};
use clap::Args;
use der::pem::LineEnding;
use serde::Serialize;

use super::collateral::collateral;
use super::launch::Launch;
use super::platform::{Holder, Platform, TEE_TCB_SVN, quoting_enclave};
use crate::error::Error;
use crate::root::Root;
use crate::socket::{Request, Socket, with_length};

/// Arguments of `serve-tdx`.
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
}

/// The line that says that the socket can be used.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    /// Of MRTD and RTMR 0 to 2 together.
    measurement: Measurement,
    mrtd: Measurement,
    rtmr0: Measurement,
    rtmr1: Measurement,
    rtmr2: Measurement,
    ppid: Ppid,
    /// The root's certificate, in DER.
    root: PathBuf,
}

/// Measures the launch, listens, and answers until killed.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Error> {
    let platform = Platform::open(&Root::open(&arguments.state)?)?;
    let registers = arguments.launch.measure()?;
    let signer = Signer {
        report: report(&arguments.launch, &registers)?,
        certificates_pem: certificates_pem(&platform)?,
        platform,
    };
    let socket = Socket::listen(&arguments.socket)?;
    let LaunchRegisters { mrtd, rtmr0, rtmr1, rtmr2 } = registers;
    let ready = Ready {
        ready: true,
        measurement: registers.launch_measurement(),
        mrtd,
        rtmr0,
        rtmr1,
        rtmr2,
        ppid: signer.platform.ppid,
        root: signer.platform.certificate_path(Holder::Root),
    };
    println!("{}", serde_json::to_string(&ready).expect("digests and paths are JSON"));
    socket.answer(|request| signer.answer(request))
}

/// What every quote of this VM says, but for report data.
fn report(launch: &Launch, registers: &LaunchRegisters) -> Result<ReportBuilder, Error> {
    let LaunchRegisters { mrtd, rtmr0, rtmr1, rtmr2 } = *registers;
    let mut report = ReportBuilder::new(TEE_TCB_SVN);
    report.mr_seam = Measurement::from(*sha384(b"casemate-simtee: no TDX module").as_bytes());
    report.td_attributes = TdAttributes::from_bits(launch.td_attributes)?;
    report.mr_td = mrtd;
    report.rtmr = [rtmr0, rtmr1, rtmr2, Measurement::from([0; 48])];
    report.mr_config_id[..32].copy_from_slice(launch.workload_digest.as_ref());
    Ok(report)
}

/// PCK certificate, its authority and the root, as Quoting Enclaves put them into quotes.
fn certificates_pem(platform: &Platform) -> Result<Vec<u8>, Error> {
    let mut text = String::new();
    for holder in [Holder::Pck, Holder::Authority, Holder::Root] {
        let der = platform.certificate(holder)?;
        text += &der::pem::encode_string("CERTIFICATE", LineEnding::LF, &der).map_err(der::Error::from)?;
    }
    Ok(text.into_bytes())
}

/// Signs the quotes of one VM.
struct Signer {
    platform: Platform,
    report: ReportBuilder,
    certificates_pem: Vec<u8>,
}

impl Signer {
    fn answer(&self, request: &Request) -> Result<Vec<u8>, Error> {
        if request.asks_for_endorsements() {
            let bundle = Bundle::new([Item::IntelCollateral(collateral(&self.platform)?)]);
            return Ok(with_length(&bundle.to_bytes()));
        }
        if request.vmpl() != 0 || !request.reserved_is_zero() {
            return Ok(with_length(&[]));
        }
        Ok(with_length(&self.quote(request.report_data())))
    }

    fn quote(&self, report_data: ReportData) -> Vec<u8> {
        let builder = QuoteBuilder {
            version: QuoteVersion::V4,
            body: Body::Tdx(ReportBuilder { report_data, ..self.report.clone() }.finish()),
            header_svns: [0, 0],
            user_data: [0; 20],
            attestation_key: self.platform.attestation.public(),
            quoting_enclave: quoting_enclave(),
            qe_authentication_data: (0..32).collect(),
            certificates_pem: self.certificates_pem.clone(),
        };
        let signature = self.platform.attestation.sign(&builder.signed_bytes());
        builder.finish(&signature, &self.platform.pck.sign(builder.qe_report().as_bytes()))
    }
}
