//! Prints evidence about this guest, as `EVIDENCE <hex>`.
//!
//! The report data are 64 bytes of `x`, or the hexadecimal digits in the first argument that has 128.

use casemate_evidence::ReportData;

fn main() {
    // As process 1 of a test guest, the kernel's command line may bring other words.
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let report_data = asked.unwrap_or(ReportData::from([b'x'; 64]));
    match casemate_attester::open().and_then(|attester| attester.evidence(&report_data)) {
        Ok(evidence) => {
            let digits: String = evidence.report().iter().map(|byte| format!("{byte:02x}")).collect();
            println!("EVIDENCE {digits}");
        }
        Err(error) => println!("NO EVIDENCE: {error}"),
    }
}
