//! Which status have platform, module and Quoting Enclave, and what does the policy make of it?

use casemate_evidence::intel::{QuoteVersion, TcbStatus};
use casemate_evidence::tdx::ServiceTd;
use casemate_verify::Code;

use crate::case::{Case, svn};
use crate::support::DAY_MS;
use crate::support::intel::Machine;

/// The statuses of platform, module and Quoting Enclave, and what they come to.
#[test]
fn the_worst_part_decides_the_status() {
    use TcbStatus as S;
    let rows: &[(TcbStatus, TcbStatus, TcbStatus, TcbStatus)] = &[
        (S::UpToDate, S::UpToDate, S::UpToDate, S::UpToDate),
        (S::SwHardeningNeeded, S::UpToDate, S::UpToDate, S::SwHardeningNeeded),
        (S::ConfigurationNeeded, S::UpToDate, S::UpToDate, S::ConfigurationNeeded),
        (
            S::ConfigurationAndSwHardeningNeeded,
            S::UpToDate,
            S::UpToDate,
            S::ConfigurationAndSwHardeningNeeded,
        ),
        (S::OutOfDate, S::UpToDate, S::UpToDate, S::OutOfDate),
        (S::OutOfDateConfigurationNeeded, S::UpToDate, S::UpToDate, S::OutOfDateConfigurationNeeded),
        (S::Revoked, S::UpToDate, S::UpToDate, S::Revoked),
        (S::UpToDate, S::OutOfDate, S::UpToDate, S::OutOfDate),
        (S::SwHardeningNeeded, S::OutOfDate, S::UpToDate, S::OutOfDate),
        (S::ConfigurationNeeded, S::OutOfDate, S::UpToDate, S::OutOfDateConfigurationNeeded),
        (S::ConfigurationAndSwHardeningNeeded, S::OutOfDate, S::UpToDate, S::OutOfDateConfigurationNeeded),
        (S::UpToDate, S::Revoked, S::UpToDate, S::Revoked),
        (S::UpToDate, S::UpToDate, S::OutOfDate, S::OutOfDate),
        (S::ConfigurationNeeded, S::UpToDate, S::OutOfDate, S::OutOfDateConfigurationNeeded),
        (S::UpToDate, S::UpToDate, S::Revoked, S::Revoked),
        (S::OutOfDate, S::OutOfDate, S::OutOfDate, S::OutOfDate),
        (S::Revoked, S::OutOfDate, S::OutOfDate, S::Revoked),
    ];
    for (platform, module, enclave, expected) in rows {
        let mut case = Case::tdx();
        // The module that runs now is as old as the one at launch.
        case.machine.collateral.levels[0].status = *platform;
        case.machine.collateral.module_identities[0].levels =
            vec![(9, TcbStatus::UpToDate, Vec::new()), (5, *module, Vec::new())];
        case.machine.collateral.qe_levels[0].1 = *enclave;
        let verdict = case.verdict();
        let status = verdict.checks().find(|check| check.code == Code::TcbStatus).expect("a check");
        assert_eq!(status.found.to_string(), expected.name(), "{platform} {module} {enclave}");
    }
}

/// A machine whose TDX module was updated under a running trust domain: a new launch is all it takes.
#[test]
fn a_trust_domain_launched_on_an_old_module_is_told_to_relaunch() {
    let status = |case: &Case| {
        let verdict = case.verdict();
        let check = verdict.checks().find(|check| check.code == Code::TcbStatus).expect("a check");
        check.found.to_string()
    };
    let old = |case: &mut Case| case.machine.td().tee_tcb_svn = svn([2, 3, 2]);
    let mut case = Case::tdx();
    old(&mut case);
    assert_eq!(status(&case), "TDRelaunchAdvised");
    // Listed by name, it is acceptable, with its advisory.
    case.set("intel.tcb_statuses", "[\"UpToDate\", \"TDRelaunchAdvised\"]");
    assert_eq!(case.failures(), [Code::Advisories]);
    case.set("intel.accepted_advisories", "[\"INTEL-SA-01036\"]");
    assert_eq!(case.failures(), []);

    let mut configuration = Case::tdx();
    old(&mut configuration);
    configuration.machine.collateral.levels[0].status = TcbStatus::ConfigurationNeeded;
    assert_eq!(status(&configuration), "TDRelaunchAdvisedConfigurationNeeded");

    // Not so if the module that runs now is old as well, if it is not named, if its microcode is old, or if
    // the Quoting Enclave is.
    let mut not_updated = Case::tdx();
    old(&mut not_updated);
    let service_td = not_updated.machine.td().service_td.expect("a report of TDX 1.5");
    not_updated.machine.td().service_td = Some(ServiceTd { tee_tcb_svn_2: svn([4, 3, 2]), ..service_td });
    assert_eq!(status(&not_updated), "OutOfDate");
    not_updated.machine.td().service_td = Some(ServiceTd { tee_tcb_svn_2: svn([5, 3, 1]), ..service_td });
    assert_eq!(status(&not_updated), "OutOfDate");
    not_updated.machine.td().service_td = Some(ServiceTd { tee_tcb_svn_2: svn([5, 9, 2]), ..service_td });
    assert_eq!(status(&not_updated), "OutOfDate");
    not_updated.machine.td().service_td = None;
    not_updated.machine.version = QuoteVersion::V4;
    assert_eq!(status(&not_updated), "OutOfDate");
    let mut enclave = Case::tdx();
    old(&mut enclave);
    enclave.machine.quoting_enclave.isv_svn = 4;
    assert_eq!(status(&enclave), "OutOfDate");
    let mut machine = Case::tdx();
    old(&mut machine);
    machine.machine.platform.tcb.components = [6; 16];
    assert_eq!(status(&machine), "OutOfDate");
}

#[test]
fn a_platform_that_no_level_fits_is_refused_whatever_the_policy_accepts() {
    type Change = fn(&mut Machine);
    let rows: [(&str, Change); 4] = [
        ("platform", |machine| machine.platform.tcb.components[3] = 1),
        ("module", |machine| machine.td().tee_tcb_svn = svn([1, 3, 2])),
        ("microcode", |machine| machine.td().tee_tcb_svn = svn([5, 3, 0])),
        ("Quoting Enclave", |machine| machine.quoting_enclave.isv_svn = 3),
    ];
    for (part, change) in rows {
        let mut case = Case::tdx();
        case.set("intel.accepted_advisories", "\"any\"");
        let statuses: Vec<String> = TcbStatus::ALL
            .iter()
            .filter(|status| **status != TcbStatus::Revoked)
            .map(|status| format!("\"{status}\""))
            .collect();
        case.set("intel.tcb_statuses", &format!("[{}]", statuses.join(", ")));
        change(&mut case.machine);
        assert_eq!(case.failures(), [Code::TcbLevel], "{part}");
    }
    // Module of major version 0: judged by the platform's levels, signer by `tdxModule`.
    let mut case = Case::tdx();
    case.machine.td().tee_tcb_svn = svn([5, 0, 2]);
    assert_eq!(case.failures(), []);
    case.machine.td().tee_tcb_svn = svn([4, 0, 2]);
    assert_eq!(case.failures(), [Code::TcbLevel]);
}

#[test]
fn older_levels_are_found_with_their_advisories() {
    let mut case = Case::tdx();
    case.machine.platform.tcb.components = [6; 16];
    assert_eq!(case.failures(), [Code::TcbStatus, Code::Advisories]);
    case.set("intel.tcb_statuses", "[\"OutOfDate\"]");
    case.set("intel.accepted_advisories", "[\"INTEL-SA-00615\"]");
    assert_eq!(case.failures(), [Code::Advisories]);
    let verdict = case.verdict();
    let check = verdict.failures().next().expect("one failed");
    assert_eq!(check.found.to_string(), "INTEL-SA-00657");
    case.set("intel.accepted_advisories", "[\"INTEL-SA-00615\", \"INTEL-SA-00657\"]");
    assert_eq!(case.failures(), []);
}

#[test]
fn collateral_older_than_the_policy_allows_is_refused() {
    // Issued 5 days ago; the revocation lists 10.
    for (days, codes) in [("10", &[][..]), ("9", &[Code::CollateralAge])] {
        let mut case = Case::tdx();
        case.set("collateral.maximum_age_days", days);
        assert_eq!(case.failures(), codes);
    }
    let mut case = Case::tdx();
    case.set("collateral.maximum_age_days", "10");
    case.machine.collateral.issued_ms -= 6 * DAY_MS;
    assert_eq!(case.failures(), [Code::CollateralAge]);
}
