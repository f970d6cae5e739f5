//! SEV-SNP reports.

use casemate_evidence::snp::{Product, Report};

use crate::{Target, Vectors};

pub const REPORT: Target = Target {
    name: "snp-report",
    maximum_len: 1200,
    check: report,
    seeds: |vectors: &Vectors| vectors.files("snp", &["report.bin"]),
};

fn report(bytes: &[u8]) {
    let Ok(report) = Report::parse(bytes) else { return };
    assert_eq!(report.as_bytes().as_slice(), bytes);
    assert!(bytes.starts_with(report.signed_bytes()));
    for product in Product::ALL {
        for tcb in [report.reported_tcb(), report.current_tcb(), report.committed_tcb(), report.launch_tcb()]
        {
            let _ = tcb.components(product);
        }
    }
    let _ = report.cpuid().and_then(|cpuid| cpuid.product());
    let _ = (
        report.signature(),
        report.vmpl(),
        report.key_info(),
        report.chip_id(),
        report.current_mitigations(),
    );
}
