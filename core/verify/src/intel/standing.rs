//! What does Intel say of this platform?
//!
//! Source: Provisioning Certification Service API, "Get TCB Info" and "Get TDX TCB Info", the algorithms
//! of the descriptions; and "Get Quoting Enclave Identity".

use casemate_evidence::intel::{EnclaveLevel, ModuleIdentity, PlatformTcb, TcbInfo, TcbLevel, TcbStatus};
use casemate_evidence::tdx::TeeTcbSvn;
use serde::Serialize;

use crate::verdict::printable;

/// Intel's judgement of a platform, part by part and as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Of the platform's firmware; `None` if no TCB level fits it.
    pub platform: Option<Judgement>,
    /// Of the TDX module, where it has judgements of its own.
    pub module: Option<ModuleStanding>,
    /// Of the Quoting Enclave; `None` if no level fits it.
    pub quoting_enclave: Option<Judgement>,
    /// The worst of all that was found; `None` if a part has no level that fits.
    pub status: Option<TcbStatus>,
    /// TCB evaluation data numbers of TCB info and enclave identity: the lower one.
    pub evaluation_number: u32,
}

/// Intel's judgement of a TDX module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleStanding {
    /// Its major version.
    pub version: u8,
    /// `None` if no level fits it.
    pub judgement: Option<Judgement>,
}

/// One judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The word.
    pub status: TcbStatus,
    /// The day whose knowledge it has, in milliseconds since 1970.
    pub date_ms: u64,
    /// Open advisories.
    pub advisories: Vec<String>,
}

/// What a trust domain's report says of the TDX module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModuleVersions {
    /// At launch.
    pub launched: TeeTcbSvn,
    /// Now; reports of TDX 1.5 only.
    pub current: Option<TeeTcbSvn>,
}

impl Standing {
    /// Finds what Intel says of a platform.
    pub(crate) fn find(
        info: &TcbInfo,
        platform: &PlatformTcb,
        modules: Option<ModuleVersions>,
        qe_levels: &[EnclaveLevel],
        qe_svn: u16,
        evaluation_number: u32,
    ) -> Self {
        let fits_sgx = |level: &&TcbLevel| fits_platform(level, platform);
        let level = match modules {
            None => info.levels().iter().find(fits_sgx),
            Some(modules) => {
                info.levels().iter().filter(fits_sgx).find(|level| fits_tdx(level, modules.launched))
            }
        };
        let module = modules.and_then(|modules| find_module(info, modules.launched));
        let enclave = find_enclave_level(qe_levels, qe_svn);
        let status = Self::converge(info, platform, level, module.as_ref(), modules, enclave);
        Self {
            platform: level.map(|level| Judgement {
                status: level.status,
                date_ms: level.date_ms,
                advisories: level.advisories.clone(),
            }),
            module: module
                .map(|(version, level)| ModuleStanding { version, judgement: level.map(judgement) }),
            quoting_enclave: enclave.map(judgement),
            status,
            evaluation_number,
        }
    }

    /// Every open advisory, once, in the order platform, module, Quoting Enclave.
    pub fn advisories(&self) -> Vec<&str> {
        let module = self.module.as_ref().and_then(|module| module.judgement.as_ref());
        let parts = [self.platform.as_ref(), module, self.quoting_enclave.as_ref()];
        let mut found: Vec<&str> = Vec::new();
        for advisory in parts.into_iter().flatten().flat_map(|judgement| &judgement.advisories) {
            if !found.contains(&advisory.as_str()) {
                found.push(advisory);
            }
        }
        found
    }

    /// Intel's word and open advisories, and under which evaluation.
    pub(crate) fn summary(&self) -> (String, String) {
        let word = self.status.map_or("no TCB level", TcbStatus::name);
        let advisories = self.advisories();
        let text = match advisories.len() {
            0 => word.to_owned(),
            1 => format!("{word}, {}", printable(advisories[0])),
            count => format!("{word}, {count} advisories"),
        };
        (text, format!("TCB evaluation {}", self.evaluation_number))
    }

    /// The part that no level fits, if there is one.
    pub fn unknown_part(&self) -> Option<&'static str> {
        if self.platform.is_none() {
            Some("the platform's firmware")
        } else if self.module.as_ref().is_some_and(|module| module.judgement.is_none()) {
            Some("the TDX module")
        } else if self.quoting_enclave.is_none() {
            Some("the Quoting Enclave")
        } else {
            None
        }
    }

    /// The platform's judgement, lowered by those of module and Quoting Enclave.
    fn converge(
        info: &TcbInfo,
        platform: &PlatformTcb,
        level: Option<&TcbLevel>,
        module: Option<&(u8, Option<&EnclaveLevel>)>,
        modules: Option<ModuleVersions>,
        enclave: Option<&EnclaveLevel>,
    ) -> Option<TcbStatus> {
        let (level, enclave) = (level?, enclave?);
        let module = match module {
            Some((_, level)) => Some((*level)?.status()),
            None => None,
        };
        let mut status = level.status;
        if let Some(module) = module {
            status = lowered_by(status, module);
        }
        let current = modules.and_then(|modules| modules.current);
        if let Some(current) = current
            && module == Some(TcbStatus::OutOfDate)
            && enclave.status() == TcbStatus::UpToDate
            && relaunch_mends(info, platform, status, current)
        {
            status = match status {
                TcbStatus::OutOfDateConfigurationNeeded => TcbStatus::TdRelaunchAdvisedConfigurationNeeded,
                _ => TcbStatus::TdRelaunchAdvised,
            };
        }
        Some(lowered_by(status, enclave.status()))
    }
}

/// A platform is no better than the enclave or module that it depends on.
fn lowered_by(status: TcbStatus, part: TcbStatus) -> TcbStatus {
    use TcbStatus as S;
    match (part, status) {
        (_, S::Revoked) | (S::Revoked, _) => S::Revoked,
        (S::UpToDate, status) => status,
        (_, S::UpToDate | S::SwHardeningNeeded | S::TdRelaunchAdvised | S::OutOfDate) => S::OutOfDate,
        (_, _) => S::OutOfDateConfigurationNeeded,
    }
}

/// Whether the machine was brought up to date while the trust domain ran, so that a new launch is all that
/// is missing (PCS API, "TD relaunch advised"; reports of TDX 1.5 state the module that runs now).
fn relaunch_mends(info: &TcbInfo, platform: &PlatformTcb, status: TcbStatus, current: TeeTcbSvn) -> bool {
    use TcbStatus as S;
    if !matches!(status, S::OutOfDate | S::OutOfDateConfigurationNeeded) {
        return false;
    }
    // The machine's other firmware must not be what is out of date.
    let machine = info.levels().iter().find(|level| fits_platform(level, platform)).map(|level| level.status);
    let good =
        [S::UpToDate, S::SwHardeningNeeded, S::ConfigurationNeeded, S::ConfigurationAndSwHardeningNeeded];
    if !machine.is_some_and(|status| good.contains(&status)) {
        return false;
    }
    let Some(newest) = info.levels().first().and_then(|level| level.tdx_components) else { return false };
    let [minor, major, microcode, ..] = *current.as_bytes();
    let module_is_new = if major == 0 {
        minor >= newest[0]
    } else {
        find_identity(info, major)
            .and_then(|identity| identity.levels.first())
            .is_some_and(|level| u16::from(minor) >= level.isv_svn())
    };
    module_is_new && microcode >= newest[2]
}

fn fits_platform(level: &TcbLevel, platform: &PlatformTcb) -> bool {
    let components = platform.components.iter().zip(level.sgx_components);
    components.into_iter().all(|(found, least)| *found >= least) && platform.pce_svn >= level.pce_svn
}

/// From major version 1 on the module is judged by its own identity, and its bytes do not count here.
fn fits_tdx(level: &TcbLevel, launched: TeeTcbSvn) -> bool {
    let Some(least) = level.tdx_components else { return false };
    let first = if launched.as_bytes()[1] > 0 { 2 } else { 0 };
    launched.as_bytes()[first..].iter().zip(&least[first..]).all(|(found, least)| found >= least)
}

/// The module's major version and the level that fits its minor version; `None` for major version 0, which
/// the platform's levels judge.
fn find_module(info: &TcbInfo, launched: TeeTcbSvn) -> Option<(u8, Option<&EnclaveLevel>)> {
    let [minor, major, ..] = *launched.as_bytes();
    if major == 0 {
        return None;
    }
    let level = find_identity(info, major)
        .and_then(|identity| find_enclave_level(&identity.levels, u16::from(minor)));
    Some((major, level))
}

pub(crate) fn find_identity(info: &TcbInfo, major: u8) -> Option<&ModuleIdentity> {
    info.module_identities().iter().find(|identity| identity.version == major)
}

fn find_enclave_level(levels: &[EnclaveLevel], svn: u16) -> Option<&EnclaveLevel> {
    levels.iter().find(|level| svn >= level.isv_svn())
}

fn judgement(level: &EnclaveLevel) -> Judgement {
    Judgement { status: level.status(), date_ms: level.date_ms(), advisories: level.advisories().to_vec() }
}
