//! For which firmware is a device's key certified?
//!
//! Sources: Hopper writes Microsoft's RIoT composite device id (version, key, one FWID) under the number that
//! the TCG later gave to DICE; Blackwell writes `DiceTcbInfo` of "DICE Attestation Architecture" 1.1, §6.1.1,
//! one arc deeper, whose first FWID is the firmware's.

use std::ops::Range;

use der::oid::ObjectIdentifier;

use crate::x509::{Certificate, elements};

/// Where devices state their firmware; both are known where they are critical.
pub const FIRMWARE_EXTENSIONS: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("2.23.133.5.4.1"), ObjectIdentifier::new_unwrap("2.23.133.5.4.1.1")];

/// Digest of the firmware that holds the certified key, SHA-384; `None` if the certificate states none that
/// can be read. A certificate that is given is not verified by this.
pub fn certified_firmware(certificate: &Certificate) -> Option<[u8; 48]> {
    let [composite, tcb_info] = FIRMWARE_EXTENSIONS.map(|id| certificate.extension(id));
    match (composite, tcb_info) {
        (Some(content), None) => {
            let [_version, _key, id] =
                <[_; 3]>::try_from(elements(content, &(0..content.len())).ok()?).ok()?;
            firmware_id(content, &id)
        }
        (None, Some(content)) => {
            let members = elements(content, &(0..content.len())).ok()?;
            let ids = members.into_iter().find(|member| content[member.start] == FWIDS)?;
            firmware_id(content, elements(content, &ids).ok()?.first()?)
        }
        _ => None,
    }
}

/// FWID: which hash, and the digest.
fn firmware_id(content: &[u8], at: &Range<usize>) -> Option<[u8; 48]> {
    let [hash, digest] = <[_; 2]>::try_from(elements(content, at).ok()?).ok()?;
    let (hash, digest) = (&content[hash], &content[digest]);
    let (header, digest) = digest.split_first_chunk::<2>()?;
    if hash != SHA384 || *header != [0x04, 48] {
        return None;
    }
    digest.try_into().ok()
}

/// `[6] IMPLICIT FWIDLIST`.
const FWIDS: u8 = 0xA6;
/// 2.16.840.1.101.3.4.2.2 in DER.
const SHA384: [u8; 11] = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
