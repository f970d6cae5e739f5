//! Each field of a report and of the PCK certificate is looked at by some rule, or said not to be.

use casemate_evidence::intel::{PlatformTcb, QuoteVersion, SgxType};
use casemate_evidence::sgx::Attributes;
use casemate_evidence::tdx::{ServiceTd, Xfam};
use casemate_verify::Code;

use crate::case::{Case, attributes, svn};
use crate::support::fields::fields;
use crate::support::intel::{Machine, Platform};

/// A policy that names every value of the report.
fn strict() -> Case {
    let mut case = Case::tdx();
    let listed = |byte: &str| format!("[\"{}\"]", byte.repeat(48));
    case.set("tdx.modules", &listed("5e"));
    case.set("tdx.xfam", "\"00000000000600e7\"");
    case.set("tdx.mr_owner", &listed("00"));
    case.set("tdx.mr_owner_config", &listed("00"));
    for (key, byte) in [("mrtd", "4d"), ("rtmr0", "40"), ("rtmr1", "41"), ("rtmr2", "42"), ("rtmr3", "43")] {
        case.set(&format!("tdx.registers.{key}"), &listed(byte));
    }
    case
}

#[test]
fn each_field_of_a_trust_domain_is_looked_at() {
    type Row = (&'static str, fn(&mut Machine), &'static [Code]);
    let rows: &[Row] = &[
        ("tee_tcb_svn", |machine| machine.td().tee_tcb_svn = svn([5, 9, 2]), &[Code::ModuleVersion]),
        ("mr_seam", |machine| machine.td().mr_seam = [1; 48].into(), &[Code::TdxModule]),
        ("mr_signer_seam", |machine| machine.td().mr_signer_seam = [1; 48].into(), &[Code::ModuleSigner]),
        ("seam_attributes", |machine| machine.td().seam_attributes[7] = 1, &[Code::ModuleAttributes]),
        ("td_attributes", |machine| machine.td().td_attributes = attributes(1), &[Code::TdDebug]),
        ("xfam", |machine| machine.td().xfam = Xfam::from_bits(1 << 8), &[Code::Xfam]),
        ("mr_td", |machine| machine.td().mr_td = [1; 48].into(), &[Code::Measurement, Code::Mrtd]),
        ("mr_config_id", |machine| machine.td().mr_config_id[31] ^= 1, &[Code::ExpectedWorkload]),
        ("mr_owner", |machine| machine.td().mr_owner[0] = 1, &[Code::MrOwner]),
        ("mr_owner_config", |machine| machine.td().mr_owner_config[0] = 1, &[Code::MrOwnerConfig]),
        ("rtmr", |machine| machine.td().rtmr[0] = [1; 48].into(), &[Code::Measurement, Code::Rtmr0]),
        ("report_data", |machine| machine.td().report_data = [1; 64].into(), &[Code::ReportData]),
        (
            "service_td",
            |machine| {
                let tee_tcb_svn_2 = machine.td().tee_tcb_svn;
                machine.td().service_td = Some(ServiceTd { tee_tcb_svn_2, mr_service_td: [1; 48].into() });
            },
            &[Code::ServiceTd],
        ),
    ];
    let in_rows: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let all = fields!(casemate_evidence::tdx::ReportBuilder {
        tee_tcb_svn,
        mr_seam,
        mr_signer_seam,
        seam_attributes,
        td_attributes,
        xfam,
        mr_td,
        mr_config_id,
        mr_owner,
        mr_owner_config,
        rtmr,
        report_data,
        service_td,
    });
    assert_eq!(in_rows, all);
    assert_eq!(strict().failures(), []);
    for (field, change, codes) in rows {
        let mut case = strict();
        change(&mut case.machine);
        assert_eq!(case.failures(), *codes, "{field}");
    }
    // Each register by itself, and the half of the workload slot that must be zero.
    for (index, codes) in [
        (1, &[Code::Measurement, Code::Rtmr1][..]),
        (2, &[Code::Measurement, Code::Rtmr2]),
        (3, &[Code::Rtmr3]),
    ] {
        let mut case = strict();
        case.machine.td().rtmr[index] = [1; 48].into();
        assert_eq!(case.failures(), codes, "RTMR {index}");
    }
    let mut case = strict();
    case.machine.td().mr_config_id[47] = 1;
    assert_eq!(case.failures(), [Code::ExpectedWorkload]);
    assert_eq!(case.verdict().claims().expect("genuine").workload_slot.digest, None);
}

#[test]
fn each_field_of_an_enclave_is_looked_at_or_said_not_to_be() {
    type Row = (&'static str, fn(&mut Machine), &'static [Code]);
    let rows: &[Row] = &[
        // Opaque, or meant for the enclave's own use: shown to nobody, asked by no rule.
        ("cpu_svn", |machine| machine.enclave().cpu_svn = [1; 16], &[]),
        ("misc_select", |machine| machine.enclave().misc_select = [1; 4], &[]),
        ("isv_ext_prod_id", |machine| machine.enclave().isv_ext_prod_id = [1; 16], &[]),
        (
            "attributes",
            |machine| machine.enclave().attributes = Attributes { flags: 0b111, xfrm: 3 },
            &[Code::EnclaveDebug],
        ),
        ("mr_enclave", |machine| machine.enclave().mr_enclave = [1; 32].into(), &[Code::Measurement]),
        ("mr_signer", |machine| machine.enclave().mr_signer = [1; 32].into(), &[Code::MrSigner]),
        ("config_id", |machine| machine.enclave().config_id = [1; 64], &[]),
        ("isv_prod_id", |machine| machine.enclave().isv_prod_id = 8, &[Code::IsvProdId]),
        ("isv_svn", |machine| machine.enclave().isv_svn = 2, &[Code::IsvSvn]),
        ("config_svn", |machine| machine.enclave().config_svn = 1, &[]),
        ("isv_family_id", |machine| machine.enclave().isv_family_id = [1; 16], &[]),
        ("report_data", |machine| machine.enclave().report_data = [1; 64].into(), &[Code::ReportData]),
    ];
    let in_rows: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let all = fields!(casemate_evidence::sgx::ReportBuilder {
        cpu_svn,
        misc_select,
        isv_ext_prod_id,
        attributes,
        mr_enclave,
        mr_signer,
        config_id,
        isv_prod_id,
        isv_svn,
        config_svn,
        isv_family_id,
        report_data,
    });
    assert_eq!(in_rows, all);
    for version in [QuoteVersion::V3, QuoteVersion::V4, QuoteVersion::V5] {
        for (field, change, codes) in rows {
            let mut case = Case::sgx();
            case.machine.version = version;
            case.set("sgx.mr_signers", &format!("[\"{}\"]", "e2".repeat(32)));
            case.set("sgx.isv_prod_ids", "[7]");
            case.set("sgx.minimum_isv_svn", "3");
            assert_eq!(case.failures(), []);
            change(&mut case.machine);
            assert_eq!(case.failures(), *codes, "{field} in version {version:?}");
        }
    }
}

#[test]
fn each_value_of_the_pck_certificate_is_looked_at_or_said_not_to_be() {
    type Row = (&'static str, fn(&mut Platform), &'static [Code]);
    let rows: &[Row] = &[
        ("ppid", |platform| platform.ppid = [1; 16].into(), &[Code::IntelPlatform]),
        ("tcb", |platform| platform.tcb.components[15] = 5, &[Code::TcbLevel]),
        ("pce_id", |platform| platform.pce_id = [1, 0], &[Code::CollateralPlatform]),
        ("fmspc", |platform| platform.fmspc = [1; 6].into(), &[Code::CollateralPlatform]),
        // Shown, and asked by no rule: confidentiality of memory is the same for all.
        ("sgx_type", |platform| platform.sgx_type = SgxType::Standard, &[]),
        ("configuration", |platform| platform.configuration = None, &[Code::IntelSmt]),
    ];
    let in_rows: Vec<&str> = rows.iter().map(|row| row.0).collect();
    assert_eq!(in_rows, fields!(Platform { ppid, tcb, pce_id, fmspc, sgx_type, configuration }));
    let tcb = fields!(PlatformTcb { components, pce_svn, cpu_svn });
    assert_eq!(tcb.len(), 3, "the rows below are for these");
    for (field, change, codes) in rows {
        let mut case = Case::tdx();
        case.set("intel.platforms", &format!("[\"{}\"]", "ab".repeat(16)));
        case.set("intel.smt", "\"required\"");
        change(&mut case.machine.platform);
        assert_eq!(case.failures(), *codes, "{field}");
    }
    for index in 0..16 {
        let mut case = Case::tdx();
        case.machine.platform.tcb.components[index] = 5;
        assert_eq!(case.failures(), [Code::TcbLevel], "component {}", index + 1);
    }
    let mut case = Case::tdx();
    case.machine.platform.tcb.pce_svn = 11;
    assert_eq!(case.failures(), [Code::TcbLevel]);
    // CPUSVN is opaque: the components are what it stands for.
    let mut case = Case::tdx();
    case.machine.platform.tcb.cpu_svn = [1; 16];
    assert_eq!(case.failures(), []);
}
