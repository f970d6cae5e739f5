//! Prints evidence about this guest: `CERTIFICATE <kind> <hex>` for each that came along, then
//! `EVIDENCE <hex>`, a report or a quote.
//!
//! The report data are 64 bytes of `x`, or the hexadecimal digits in the first argument that has 128.

use casemate_attester::Evidence;
use casemate_evidence::ReportData;

fn main() {
    // As process 1 of a test guest, the kernel's command line may bring other words.
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let report_data = asked.unwrap_or(ReportData::from([b'x'; 64]));
    match casemate_attester::open().and_then(|attester| attester.evidence(&report_data)) {
        Ok(evidence) => {
            if let Evidence::Snp { certificates, .. } = &evidence {
                for certificate in certificates {
                    println!("CERTIFICATE {:?} {}", certificate.kind, hex(&certificate.bytes));
                }
            }
            println!("EVIDENCE {}", hex(evidence.report()));
        }
        Err(error) => println!("NO EVIDENCE: {error}"),
    }
    if std::process::id() == 1 {
        // The end of process 1 is a panic, which cuts off what the console has not sent yet.
        std::thread::sleep(std::time::Duration::from_secs(600));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
