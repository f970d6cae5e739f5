//! What can be done about it?

use super::code::Code;

/// Why a failed check matters, by its advisory.
pub(super) fn reason(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TcbMicrocode => "AMD-SB-3019 (EntrySign): reports of older microcode can be forged.",
        Code::PlatformAliasCheck => "AMD-SB-3015 (BadRAM): aliased memory lets the host rewrite the guest.",
        Code::Mitigations => "A vulnerability of this processor that the policy names may have been open.",
        Code::PlatformIommuWriteSafe => "AMD-SB-3016: devices of the host may write the guest's memory.",
        Code::IdKey | Code::AuthorKey => "Nobody whom the policy lists vouches for what was launched.",
        Code::GuestDebug | Code::TdDebug | Code::EnclaveDebug => {
            "The host can read and write the memory of a debug guest."
        }
        Code::TdSeptVeDisable => {
            "The host can take pages away and have the guest handle it in host-chosen ways."
        }
        Code::TdMigratable => "A migration service TD can move the guest to another machine.",
        Code::TdHgsPlusProf | Code::TdPerfProf | Code::TdPmtProf => "The host can profile the guest.",
        Code::GuestMigrateMa => "A migration agent can move the guest's memory to another machine.",
        Code::SimulationAccepted | Code::SimulatedRoot => "A simulated TEE keeps nothing confidential.",
        Code::Vmpl => "Another privilege level than the expected one asked for the report.",
        _ => return None,
    })
}

/// What to do about a failed check; `None` where the found value says it all.
pub(super) fn hint(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::SnpAccepted | Code::TdxAccepted | Code::SgxAccepted => {
            "add the platform's rules to the policy if machines of this kind will do"
        }
        Code::EvidencePresent | Code::ReportFormat | Code::QuoteFormat => {
            "ask the guest for its evidence again; it may be of another kind"
        }
        Code::EndorsementsPresent | Code::EndorsementsFormat => {
            "fetch the certificates from AMD's key distribution service, or send them along"
        }
        Code::CollateralPresent | Code::CollateralPlatform | Code::TcbLevel => {
            "fetch the platform's current collateral from Intel's provisioning certification service"
        }
        Code::TcbInfoTime | Code::QeIdentityTime | Code::IntelCertificateTime => {
            "check this machine's clock; then fetch newer collateral"
        }
        Code::TcbStatus | Code::Advisories => {
            "ask the operator to update firmware and TDX module, or accept the status and its advisories under \
             [intel] in the policy"
        }
        Code::TdReportVersion => {
            "ask the operator for quotes of version 5: older ones do not name service TDs"
        }
        Code::Root | Code::IntelRootKey => {
            "if this is a simulated TEE of yours, list its key under [simulated_roots] in the policy"
        }
        Code::CertificateTime => "check this machine's clock; then fetch newer endorsements",
        Code::CertifiedTcb | Code::CertifiedChip | Code::ReportSignature => {
            "fetch the VCEK for this chip and firmware; if it is the right one, the report was changed"
        }
        Code::SimulationAccepted => "pass `accept simulated` if a machine without a TEE will do",
        Code::SimulatedRoot => "list the root's digest under [simulated_roots] in the policy if it is yours",
        Code::Measurement => "build or fetch the image that this measurement belongs to, or refuse the guest",
        Code::ExpectedWorkload | Code::AcceptedWorkload | Code::Manifest => {
            "another workload runs there: compare compose.yaml and compose.lock with what was deployed"
        }
        Code::ReportData => "the evidence answers another challenge: ask again with a new nonce",
        Code::ChallengeAge => "ask again with a new nonce",
        Code::SessionRoster | Code::SessionKeyEpoch => {
            "the guest was started under other seats: stop it and start it again"
        }
        Code::SessionLease => "the seats do not vouch for this boot: do not send it anything",
        Code::SessionLeaseBegin => "compare this machine's clock with the seats'",
        Code::SessionLeaseEnd => {
            "was the guest paused, or replaced by a newer boot? Ask again; if it stays so, start it again"
        }
        Code::RevocationListPresent | Code::CollateralAge => "fetch AMD's current revocation list",
        Code::GuestDebug => "the host started the guest in debug mode: do not use it",
        Code::PlatformAliasCheck => "ask the operator to update firmware and to enable the alias check",
        Code::Mitigations => {
            "ask the operator to update the host firmware and to start the guest anew: what was open at \
             launch stays open"
        }
        Code::PlatformIommuWriteSafe => "ask the operator to update the host firmware",
        Code::TcbFloor => {
            "update Casemate if the processor is newer, or add the product's table to the policy"
        }
        Code::GuestSvn => "the guest's maker has newer images: launch one of those",
        Code::DeniedChip => "this chip was denied on purpose: have the workload moved",
        Code::Chip => "add the chip to `hardware.chips` in the policy if you know the machine",
        _ => return None,
    })
}
