//! What came along from NVIDIA's devices?
//!
//! As many devices as a machine has, each with its own certificates, and the manifests for all of them.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode};

/// What one GPU or switch answered, and who vouches for its key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NvidiaDevice {
    /// The request and the device's answer; see [`crate::nvidia::Report`].
    #[n(0)]
    pub report: ByteVec,
    /// The device's own certificate, then those above it in any order, each in DER.
    #[cbor(n(1), decode_with = "read_certificates")]
    pub certificates: Vec<ByteVec>,
}

impl NvidiaDevice {
    /// Greatest number of devices in a bundle: eight GPUs and four switches are one machine of NVIDIA's.
    pub const MAXIMUM: usize = 16;
    /// Greatest number of manifests in a bundle.
    pub const MAXIMUM_MANIFESTS: usize = 16;
    /// Greatest number of certificates of one device; those in use have five.
    pub const MAXIMUM_CERTIFICATES: usize = 8;
}

pub(super) fn read_devices<'b, C>(
    d: &mut Decoder<'b>,
    c: &mut C,
) -> Result<Vec<NvidiaDevice>, minicbor::decode::Error> {
    read(d, c, NvidiaDevice::MAXIMUM, "expected at most 16 devices")
}

pub(super) fn read_manifests<'b, C>(
    d: &mut Decoder<'b>,
    c: &mut C,
) -> Result<Vec<ByteVec>, minicbor::decode::Error> {
    read(d, c, NvidiaDevice::MAXIMUM_MANIFESTS, "expected at most 16 manifests")
}

fn read_certificates<'b, C>(d: &mut Decoder<'b>, c: &mut C) -> Result<Vec<ByteVec>, minicbor::decode::Error> {
    read(d, c, NvidiaDevice::MAXIMUM_CERTIFICATES, "expected at most 8 certificates of a device")
}

/// The number is looked at before anything is read.
fn read<'b, C, T: Decode<'b, C>>(
    d: &mut Decoder<'b>,
    c: &mut C,
    maximum: usize,
    refusal: &'static str,
) -> Result<Vec<T>, minicbor::decode::Error> {
    let at = d.position();
    match d.array()? {
        Some(found) if found <= maximum as u64 => (0..found).map(|_| T::decode(d, c)).collect(),
        _ => Err(minicbor::decode::Error::message(refusal).at(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bundle, BundleError, Item};
    use super::*;

    fn device(certificates: usize) -> NvidiaDevice {
        NvidiaDevice { report: vec![1, 2].into(), certificates: vec![vec![3].into(); certificates] }
    }

    #[test]
    fn devices_and_manifests_read_back() {
        let bundle = Bundle::new([
            Item::NvidiaManifests(vec![vec![5].into()]),
            Item::NvidiaDevices(vec![device(5), device(1)]),
        ]);
        let read = Bundle::parse(&bundle.to_bytes()).unwrap();
        assert_eq!(read, bundle);
        assert_eq!(read.items().iter().map(Item::number).collect::<Vec<_>>(), [48, 49]);
        assert_eq!(read.nvidia_devices(), [device(5), device(1)]);
        assert_eq!(read.nvidia_manifests(), [ByteVec::from(vec![5])]);
    }

    #[test]
    fn more_than_a_machine_has_is_refused() {
        let parse = |item| Bundle::parse(&Bundle::new([item]).to_bytes());
        let refused = |item, expected: &str| match parse(item) {
            Err(BundleError::Encoding(error)) => assert!(error.to_string().contains(expected), "{error}"),
            other => panic!("{expected}: {other:?}"),
        };
        parse(Item::NvidiaDevices(vec![device(8); 16])).unwrap();
        parse(Item::NvidiaManifests(vec![vec![5].into(); 16])).unwrap();
        refused(Item::NvidiaDevices(vec![device(1); 17]), "at most 16 devices");
        refused(Item::NvidiaDevices(vec![device(9)]), "at most 8 certificates of a device");
        refused(Item::NvidiaManifests(vec![vec![5].into(); 17]), "at most 16 manifests");
    }
}
