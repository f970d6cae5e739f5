//! Attestation reports: encode and parse are inverse, and every rule of the layout refuses its breach.

use casemate_crypto::P384Signature;
use casemate_evidence::snp::{
    CpuId, FlagsError, GuestPolicy, KeyInfo, Layout, PlatformInfo, PolicyBitsError, Report, ReportBuilder,
    ReportError, TcbVersion, Version, Vmpl,
};
use casemate_evidence::{ChipId, HostData, Measurement, ReportData};
use proptest::prelude::*;

const CPUID: CpuId = CpuId { family: 0x19, model: 0x11, stepping: 1 };
const LAYOUTS: [Layout; 4] = [
    Layout::V2,
    Layout::V3 { cpuid: CPUID },
    Layout::V4 { cpuid: CPUID, undescribed: [0xA5; 16] },
    Layout::V5 { cpuid: CPUID, launch_mitigations: 0x0B, current_mitigations: 0x1B },
];

fn report(layout: Layout) -> Report {
    let mut builder = ReportBuilder::new(layout, TcbVersion::from([10, 0, 0, 0, 0, 0, 23, 84]));
    builder.measurement = Measurement::from([3; 48]);
    builder.finish(&P384Signature::from([5; 96]))
}

fn layout() -> impl Strategy<Value = Layout> {
    let cpuid = any::<[u8; 3]>().prop_map(|[family, model, stepping]| CpuId { family, model, stepping });
    prop_oneof![
        Just(Layout::V2),
        cpuid.clone().prop_map(|cpuid| Layout::V3 { cpuid }),
        (cpuid.clone(), any::<[u8; 16]>()).prop_map(|(cpuid, undescribed)| Layout::V4 { cpuid, undescribed }),
        (cpuid, any::<u64>(), any::<u64>()).prop_map(|(cpuid, launch_mitigations, current_mitigations)| {
            Layout::V5 { cpuid, launch_mitigations, current_mitigations }
        }),
    ]
}

prop_compose! {
    fn builder()(
        layout in layout(),
        guest_svn in any::<u32>(),
        policy in 0u64..1 << 26,
        (family_id, image_id) in any::<([u8; 16], [u8; 16])>(),
        vmpl in prop_oneof![(0u8..4).prop_map(Vmpl::Guest), Just(Vmpl::Host)],
        tcbs in any::<[[u8; 8]; 4]>(),
        platform in any::<u64>(),
        flags in (0u32..4, prop_oneof![Just(0u32), Just(1), Just(7)]),
        bytes in proptest::collection::vec(any::<u8>(), 64 + 48 + 32 + 48 + 48 + 32 + 32 + 64 + 6),
    ) -> ReportBuilder {
        let mut rest = bytes.as_slice();
        let mut next = |length: usize| {
            let (head, tail) = rest.split_at(length);
            rest = tail;
            head.to_vec()
        };
        let mut builder = ReportBuilder::new(layout, TcbVersion::from(tcbs[0]));
        builder.guest_svn = guest_svn;
        builder.policy = GuestPolicy::from_bits(policy | 1 << 17).unwrap();
        builder.family_id = family_id;
        builder.image_id = image_id;
        builder.vmpl = vmpl;
        builder.reported_tcb = TcbVersion::from(tcbs[1]);
        builder.committed_tcb = TcbVersion::from(tcbs[2]);
        builder.launch_tcb = TcbVersion::from(tcbs[3]);
        builder.platform_info = PlatformInfo::from_bits(platform);
        builder.key_info = KeyInfo::from_bits(flags.0 | flags.1 << 2).unwrap();
        builder.report_data = ReportData::try_from(&next(64)[..]).unwrap();
        builder.measurement = Measurement::try_from(&next(48)[..]).unwrap();
        builder.host_data = HostData::try_from(&next(32)[..]).unwrap();
        builder.id_key_digest = next(48).try_into().unwrap();
        builder.author_key_digest = next(48).try_into().unwrap();
        builder.report_id = next(32).try_into().unwrap();
        builder.report_id_ma = next(32).try_into().unwrap();
        builder.chip_id = ChipId::try_from(&next(64)[..]).unwrap();
        let versions = next(6);
        builder.current_version.build = versions[0];
        builder.current_version.minor = versions[1];
        builder.current_version.major = versions[2];
        builder.committed_version.build = versions[3];
        builder.committed_version.minor = versions[4];
        builder.committed_version.major = versions[5];
        builder
    }
}

proptest! {
    #[test]
    fn parse_is_the_inverse_of_encode(builder in builder(), signature in any::<[u8; 32]>()) {
        let mut bytes = [0; 96];
        bytes[10..42].copy_from_slice(&signature);
        let signature = P384Signature::from(bytes);
        let report = builder.finish(&signature);
        prop_assert_eq!(ReportBuilder::from(&report), builder.clone());
        prop_assert_eq!(report.signature(), signature);
        prop_assert_eq!(report.signed_bytes(), &builder.signed_bytes()[..]);
        let again = Report::parse(report.as_bytes()).unwrap();
        prop_assert_eq!(again.as_bytes(), report.as_bytes());
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
        let _ = Report::parse(&bytes);
    }

    #[test]
    fn one_changed_byte_is_refused_or_read_back_as_it_is(layout in layout(), offset in 0usize..Report::LEN, value in any::<u8>()) {
        let mut bytes = *report(layout).as_bytes();
        bytes[offset] = value;
        if let Ok(read) = Report::parse(&bytes) {
            let rebuilt = ReportBuilder::from(&read).finish(&read.signature());
            prop_assert_eq!(&rebuilt.as_bytes()[..], &bytes[..]);
        }
    }
}

#[test]
fn every_length_but_one_is_refused() {
    let bytes = *report(LAYOUTS[1]).as_bytes();
    assert_eq!(Report::parse(&bytes[..1183]), Err(ReportError::Length { found: 1183 }));
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    assert_eq!(Report::parse(&longer), Err(ReportError::Length { found: 1185 }));
    assert_eq!(Report::parse(&[]), Err(ReportError::Length { found: 0 }));
}

#[test]
fn each_rule_refuses_its_breach() {
    let le32 = |value: u32| value.to_le_bytes().to_vec();
    let le64 = |value: u64| value.to_le_bytes().to_vec();
    let table: Vec<(usize, Vec<u8>, ReportError)> = vec![
        (0x00, le32(0), ReportError::Version { found: 0 }),
        (0x00, le32(1), ReportError::Version { found: 1 }),
        (0x00, le32(6), ReportError::Version { found: 6 }),
        (0x08, le64(0x10000), ReportError::Policy(PolicyBitsError::ReservedOneClear { found: 0x10000 })),
        (
            0x08,
            le64(0x0400_0000 | 0x30000),
            ReportError::Policy(PolicyBitsError::ReservedSet { found: 0x0403_0000 }),
        ),
        (0x30, le32(4), ReportError::Vmpl { found: 4 }),
        (0x30, le32(0xFFFF_FFFE), ReportError::Vmpl { found: 0xFFFF_FFFE }),
        (0x34, le32(0), ReportError::SignatureAlgorithm { found: 0 }),
        (0x34, le32(2), ReportError::SignatureAlgorithm { found: 2 }),
        (0x48, le32(0x20), ReportError::Flags(FlagsError::ReservedSet { found: 0x20 })),
        (0x48, le32(2 << 2), ReportError::Flags(FlagsError::UnknownSigningKey { found: 2 })),
        (0x2D0, vec![1], ReportError::SignatureTooLarge { offset: 0x2D0, found: 1 }),
        (0x32F, vec![2], ReportError::SignatureTooLarge { offset: 0x32F, found: 2 }),
    ];
    for (offset, value, expected) in table {
        let mut bytes = *report(LAYOUTS[3]).as_bytes();
        bytes[offset..offset + value.len()].copy_from_slice(&value);
        assert_eq!(Report::parse(&bytes), Err(expected));
    }
}

#[test]
fn every_reserved_byte_of_every_version_is_refused() {
    // AMD 56860, ATTESTATION_REPORT: what is not listed here is a field.
    let table: [(Version, &[std::ops::Range<usize>]); 4] = [
        (Version::V2, &[0x4C..0x50, 0x188..0x1A0, 0x1EB..0x1EC, 0x1EF..0x1F0, 0x1F8..0x2A0, 0x330..0x4A0]),
        (Version::V3, &[0x4C..0x50, 0x18B..0x1A0, 0x1EB..0x1EC, 0x1EF..0x1F0, 0x1F8..0x2A0, 0x330..0x4A0]),
        (Version::V4, &[0x4C..0x50, 0x18B..0x1A0, 0x1EB..0x1EC, 0x1EF..0x1F0, 0x208..0x2A0, 0x330..0x4A0]),
        (Version::V5, &[0x4C..0x50, 0x18B..0x1A0, 0x1EB..0x1EC, 0x1EF..0x1F0, 0x208..0x2A0, 0x330..0x4A0]),
    ];
    for (layout, (version, reserved)) in LAYOUTS.into_iter().zip(table) {
        for offset in reserved.iter().cloned().flatten() {
            let mut bytes = *report(layout).as_bytes();
            bytes[offset] = 1;
            assert_eq!(Report::parse(&bytes), Err(ReportError::Reserved { version, offset, found: 1 }));
        }
    }
}

#[test]
fn fields_of_later_versions_are_absent_from_earlier_ones() {
    let [v2, v3, v4, v5] = LAYOUTS.map(report);
    assert_eq!((v2.cpuid(), v2.launch_mitigations()), (None, None));
    assert_eq!((v3.cpuid(), v3.current_mitigations()), (Some(CPUID), None));
    // AMD does not say what version 4 holds where version 5 has the vectors, so it is read as nothing.
    assert_eq!((v4.cpuid(), v4.launch_mitigations(), v4.current_mitigations()), (Some(CPUID), None, None));
    assert_eq!((v5.launch_mitigations(), v5.current_mitigations()), (Some(0x0B), Some(0x1B)));
}
