//! What did the Attester hand over?
//!
//! An evidence bundle is deterministic CBOR: a version and items of distinct types in ascending order.
//! Specified in `docs/reference/evidence-bundle.md`. The items are not yet parsed: which of them are
//! evidence of what is asked in their own modules.

mod nvidia;

pub use nvidia::NvidiaDevice;

use casemate_crypto::sign;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode};

/// A list of items, at most one of each type, in ascending order of type.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Bundle {
    #[n(0)]
    version: u8,
    #[cbor(n(1), decode_with = "read_items")]
    items: Vec<Item>,
}

/// As many items as there may be types: an item takes four bytes on the wire, and a hundred times as many in memory.
fn read_items<'b, C>(d: &mut Decoder<'b>, c: &mut C) -> Result<Vec<Item>, minicbor::decode::Error> {
    let at = d.position();
    match d.array()? {
        Some(found) if found <= Bundle::MAXIMUM_ITEMS => (0..found).map(|_| Item::decode(d, c)).collect(),
        _ => Err(minicbor::decode::Error::message("expected at most 64 items").at(at)),
    }
}

/// One item. Numbers are for ever: 16 to 31 are kept for other TEEs, 32 to 47 for TPMs and logs, 48 to
/// 63 for devices.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum Item {
    /// An SEV-SNP attestation report; see [`crate::snp::Report`].
    #[n(1)]
    SnpReport(#[n(0)] ByteVec),
    /// The certificates that endorse the report's signing key.
    #[n(2)]
    SnpCertificates(#[n(0)] SnpCertificates),
    /// The revocation list of the root that issued the intermediate, DER.
    #[n(3)]
    SnpRevocationList(#[n(0)] ByteVec),
    /// The workload's manifest, byte for byte.
    #[n(4)]
    Manifest(#[n(0)] ByteVec),
    /// Which session of which instance made the bundle.
    #[n(5)]
    Session(#[n(0)] Session),
    /// A TDX quote; see [`crate::intel::Quote`].
    #[n(16)]
    TdxQuote(#[n(0)] ByteVec),
    /// An SGX quote; see [`crate::intel::Quote`].
    #[n(17)]
    SgxQuote(#[n(0)] ByteVec),
    /// What Intel publishes about the platform of either.
    #[n(18)]
    IntelCollateral(#[n(0)] IntelCollateral),
    /// An attestation document of AWS; see [`crate::nitro::Document`].
    #[n(19)]
    NitroDocument(#[n(0)] ByteVec),
    /// What a confidential VM of Azure keeps in NV index 0x01400001; see [`crate::azure::HclReport`].
    #[n(20)]
    AzureReport(#[n(0)] ByteVec),
    /// What a TPM stated of its PCRs.
    #[n(32)]
    TpmQuote(#[n(0)] TpmQuote),
    /// The key that signed the quote, and who certifies it.
    #[n(33)]
    TpmKey(#[n(0)] TpmKey),
    /// What was measured into the PCRs, or into a trust domain's RTMRs; see [`crate::eventlog::EventLog`].
    #[n(34)]
    EventLog(#[n(0)] ByteVec),
    /// What the running kernel measured, in ASCII; see [`crate::ima::List`].
    #[n(35)]
    ImaList(#[n(0)] ByteVec),
    /// What the machine's NVIDIA devices answered.
    #[n(48)]
    NvidiaDevices(#[cbor(n(0), decode_with = "nvidia::read_devices")] Vec<NvidiaDevice>),
    /// What they should measure, each as NVIDIA publishes it; see [`crate::nvidia::Manifest`].
    #[n(49)]
    NvidiaManifests(#[cbor(n(0), decode_with = "nvidia::read_manifests")] Vec<ByteVec>),
}

/// A TPM's quote with the PCR values that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TpmQuote {
    /// TPMS_ATTEST.
    #[n(0)]
    pub statement: ByteVec,
    /// TPMT_SIGNATURE; or an RSA signature by itself, of RSASSA with SHA-256.
    #[n(1)]
    pub signature: ByteVec,
    /// Values of PCRs; those that the quote does not select do not count.
    #[n(2)]
    pub pcrs: Vec<TpmPcr>,
}

/// The value of a PCR.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TpmPcr {
    /// TPM_ALG_ID of its bank.
    #[n(0)]
    pub bank: u16,
    /// Its index.
    #[n(1)]
    pub index: u8,
    /// Its value.
    #[n(2)]
    pub value: ByteVec,
}

/// The attestation key of a TPM, in as many ways as its holder has: what is not there is empty, and not all
/// of it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TpmKey {
    /// DER `SubjectPublicKeyInfo`.
    #[n(0)]
    pub public_key: ByteVec,
    /// TPMT_PUBLIC.
    #[n(1)]
    pub public_area: ByteVec,
    /// Its certificate and those above it, each in DER, in any order.
    #[n(2)]
    pub certificates: Vec<ByteVec>,
    /// Revocation lists of authorities among them, each in DER.
    #[n(3)]
    pub revocation_lists: Vec<ByteVec>,
}

/// A chain from the report's signing key to a root, each certificate in DER.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SnpCertificates {
    /// VCEK or VLEK.
    #[n(0)]
    pub leaf: ByteVec,
    /// ASK or ASVK.
    #[n(1)]
    pub intermediate: ByteVec,
    /// ARK.
    #[n(2)]
    pub root: ByteVec,
}

/// What Intel publishes about a kind of platform, as far as a quote does not carry it; certificates and
/// lists in DER.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct IntelCollateral {
    /// TCB info: the JSON text that is signed.
    #[n(0)]
    pub tcb_info: ByteVec,
    /// Over the TCB info.
    #[n(1)]
    pub tcb_info_signature: sign::Signature,
    /// Intel SGX TCB Signing, as it signed the TCB info.
    #[n(2)]
    pub tcb_info_signer: ByteVec,
    /// Identity of the Quoting Enclave: the JSON text that is signed.
    #[n(3)]
    pub qe_identity: ByteVec,
    /// Over the identity.
    #[n(4)]
    pub qe_identity_signature: sign::Signature,
    /// Intel SGX TCB Signing, as it signed the identity.
    #[n(5)]
    pub qe_identity_signer: ByteVec,
    /// Intel SGX Root CA.
    #[n(6)]
    pub root: ByteVec,
    /// The root's revocation list.
    #[n(7)]
    pub root_revocation_list: ByteVec,
    /// The revocation list of the authority of the PCK.
    #[n(8)]
    pub pck_revocation_list: ByteVec,
    /// PCK certificate, its authority and the root, for a quote that names its PCK only; else empty.
    #[n(9)]
    pub pck_chain: Vec<ByteVec>,
}

/// What a guest commits to in the report data of purpose `sess`, apart from the nonce and the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Session {
    /// Public X-Wing key to which messages for this session are sealed.
    #[n(0)]
    pub key: ByteVec,
    /// Instance of the app.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub instance: [u8; 16],
    /// Chosen anew by each boot.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub boot_id: [u8; 16],
    /// Digest of the roster that the guest goes by.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub roster_digest: [u8; 32],
    /// The key epoch of that roster.
    #[n(4)]
    pub key_epoch: u32,
    /// When the first of the leases ends, by its seat's clock: Unix milliseconds.
    #[n(5)]
    pub lease_ends_ms: u64,
    /// The leases that the guest holds, each as a seat signed it. Not covered by the report data: they
    /// carry signatures of their own, and must end when `lease_ends_ms` says.
    #[n(6)]
    pub leases: Vec<ByteVec>,
}

/// Why bytes are no evidence bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Not the expected CBOR, which includes item types that this version does not know.
    #[error("not an evidence bundle: {0}")]
    Encoding(#[from] casemate_canon::Error),
    /// Another version.
    #[error("bundle version {found}, expected {}; update the older side", Bundle::VERSION)]
    Version {
        /// Version found.
        found: u8,
    },
    /// An item type twice, or not in ascending order.
    #[error("item type {found} follows type {previous}; each type occurs once, in ascending order")]
    Order {
        /// Type of the item.
        found: u8,
        /// Type of the item before.
        previous: u8,
    },
}

impl Bundle {
    /// Version of the format.
    pub const VERSION: u8 = 1;
    /// Greatest size in bytes.
    pub const MAXIMUM_LEN: usize = 1024 * 1024;
    /// Greatest number of items: types are numbered below it.
    const MAXIMUM_ITEMS: u64 = 64;

    /// A bundle of these items; of several items of one type the last stays.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Self {
        let by_type: std::collections::BTreeMap<u8, Item> =
            items.into_iter().map(|item| (item.number(), item)).collect();
        Self { version: Self::VERSION, items: by_type.into_values().collect() }
    }

    /// Reads a bundle; its items stay unparsed.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let bundle: Self = casemate_canon::from_cbor(bytes, Self::MAXIMUM_LEN)?;
        if bundle.version != Self::VERSION {
            return Err(BundleError::Version { found: bundle.version });
        }
        for pair in bundle.items.windows(2) {
            let (previous, found) = (pair[0].number(), pair[1].number());
            if found <= previous {
                return Err(BundleError::Order { found, previous });
            }
        }
        Ok(bundle)
    }

    /// The bytes that [`parse`](Self::parse) reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        casemate_canon::to_cbor(self)
    }

    /// The items, in ascending order of type.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The bundle with `item` added, in place of one of the same type.
    pub fn with(self, item: Item) -> Self {
        Self::new(self.items.into_iter().chain([item]))
    }

    /// The attestation report.
    pub fn snp_report(&self) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match item {
            Item::SnpReport(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The certificates carried along.
    pub fn snp_certificates(&self) -> Option<&SnpCertificates> {
        self.items.iter().find_map(|item| match item {
            Item::SnpCertificates(certificates) => Some(certificates),
            _ => None,
        })
    }

    /// The revocation list carried along.
    pub fn snp_revocation_list(&self) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match item {
            Item::SnpRevocationList(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The TDX quote.
    pub fn tdx_quote(&self) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match item {
            Item::TdxQuote(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The SGX quote.
    pub fn sgx_quote(&self) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match item {
            Item::SgxQuote(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// Intel's collateral carried along.
    pub fn intel_collateral(&self) -> Option<&IntelCollateral> {
        self.items.iter().find_map(|item| match item {
            Item::IntelCollateral(collateral) => Some(collateral),
            _ => None,
        })
    }

    /// The attestation document of AWS.
    pub fn nitro_document(&self) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match item {
            Item::NitroDocument(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// Azure's report.
    pub fn azure_report(&self) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match item {
            Item::AzureReport(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The TPM's quote.
    pub fn tpm_quote(&self) -> Option<&TpmQuote> {
        self.items.iter().find_map(|item| match item {
            Item::TpmQuote(quote) => Some(quote),
            _ => None,
        })
    }

    /// The key of the TPM's quote.
    pub fn tpm_key(&self) -> Option<&TpmKey> {
        self.items.iter().find_map(|item| match item {
            Item::TpmKey(key) => Some(key),
            _ => None,
        })
    }

    /// The event log.
    pub fn event_log(&self) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match item {
            Item::EventLog(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The list of what the running kernel measured.
    pub fn ima_list(&self) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match item {
            Item::ImaList(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The NVIDIA devices; empty if none came along.
    pub fn nvidia_devices(&self) -> &[NvidiaDevice] {
        let devices = self.items.iter().find_map(|item| match item {
            Item::NvidiaDevices(devices) => Some(devices.as_slice()),
            _ => None,
        });
        devices.unwrap_or_default()
    }

    /// The manifests of NVIDIA; empty if none came along.
    pub fn nvidia_manifests(&self) -> &[ByteVec] {
        let manifests = self.items.iter().find_map(|item| match item {
            Item::NvidiaManifests(manifests) => Some(manifests.as_slice()),
            _ => None,
        });
        manifests.unwrap_or_default()
    }

    /// The manifest.
    pub fn manifest(&self) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match item {
            Item::Manifest(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The session.
    pub fn session(&self) -> Option<&Session> {
        self.items.iter().find_map(|item| match item {
            Item::Session(session) => Some(session),
            _ => None,
        })
    }
}

impl TpmKey {
    /// A key of which nothing is known yet: fill in what there is.
    pub fn empty() -> Self {
        Self {
            public_key: Vec::new().into(),
            public_area: Vec::new().into(),
            certificates: Vec::new(),
            revocation_lists: Vec::new(),
        }
    }
}

impl Item {
    /// The number of the type on the wire.
    pub fn number(&self) -> u8 {
        match self {
            Item::SnpReport(_) => 1,
            Item::SnpCertificates(_) => 2,
            Item::SnpRevocationList(_) => 3,
            Item::Manifest(_) => 4,
            Item::Session(_) => 5,
            Item::TdxQuote(_) => 16,
            Item::SgxQuote(_) => 17,
            Item::IntelCollateral(_) => 18,
            Item::NitroDocument(_) => 19,
            Item::AzureReport(_) => 20,
            Item::TpmQuote(_) => 32,
            Item::TpmKey(_) => 33,
            Item::EventLog(_) => 34,
            Item::ImaList(_) => 35,
            Item::NvidiaDevices(_) => 48,
            Item::NvidiaManifests(_) => 49,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle::new([
            Item::Manifest(vec![7; 3].into()),
            Item::SnpReport(vec![1; 4].into()),
            Item::Session(Session {
                key: vec![9; 2].into(),
                instance: [1; 16],
                boot_id: [2; 16],
                roster_digest: [3; 32],
                key_epoch: 4,
                lease_ends_ms: 5,
                leases: vec![vec![6].into()],
            }),
            Item::SnpCertificates(SnpCertificates {
                leaf: vec![1].into(),
                intermediate: vec![2].into(),
                root: vec![3].into(),
            }),
        ])
    }

    #[test]
    fn reads_back_what_it_wrote_in_ascending_order() {
        let bytes = bundle().to_bytes();
        let read = Bundle::parse(&bytes).unwrap();
        assert_eq!(read, bundle());
        assert_eq!(read.items().iter().map(Item::number).collect::<Vec<_>>(), [1, 2, 4, 5]);
        assert_eq!(read.snp_report(), Some(&[1, 1, 1, 1][..]));
        assert_eq!(read.manifest(), Some(&[7, 7, 7][..]));
        assert_eq!(read.snp_revocation_list(), None);
    }

    #[test]
    fn worked_bytes_of_the_reference_hold() {
        // docs/reference/evidence-bundle.md
        let bundle =
            Bundle::new([Item::SnpReport(vec![0xAA, 0xBB].into()), Item::Manifest(vec![0xCC].into())]);
        assert_eq!(
            bundle.to_bytes(),
            [0x82, 1, 0x82, 0x82, 1, 0x81, 0x42, 0xAA, 0xBB, 0x82, 4, 0x81, 0x41, 0xCC]
        );
    }

    #[test]
    fn items_of_tpms_and_clouds_read_back() {
        let bundle = Bundle::new([
            Item::ImaList(vec![6].into()),
            Item::EventLog(vec![5].into()),
            Item::TpmKey(TpmKey { certificates: vec![vec![4].into()], ..TpmKey::empty() }),
            Item::TpmQuote(TpmQuote {
                statement: vec![3].into(),
                signature: vec![2].into(),
                pcrs: vec![TpmPcr { bank: 11, index: 7, value: vec![1; 32].into() }],
            }),
            Item::AzureReport(vec![8].into()),
            Item::NitroDocument(vec![9].into()),
        ]);
        let read = Bundle::parse(&bundle.to_bytes()).unwrap();
        assert_eq!(read, bundle);
        assert_eq!(read.items().iter().map(Item::number).collect::<Vec<_>>(), [19, 20, 32, 33, 34, 35]);
        assert_eq!(read.nitro_document(), Some(&[9][..]));
        assert_eq!(read.azure_report(), Some(&[8][..]));
        assert_eq!(read.tpm_quote().unwrap().pcrs[0].index, 7);
        assert_eq!(read.tpm_key().unwrap().certificates.len(), 1);
        assert_eq!((read.event_log(), read.ima_list()), (Some(&[5][..]), Some(&[6][..])));
    }

    #[test]
    fn another_version_is_refused() {
        let mut other = bundle();
        other.version = 2;
        assert!(matches!(Bundle::parse(&other.to_bytes()), Err(BundleError::Version { found: 2 })));
    }

    #[test]
    fn a_second_item_of_a_type_and_a_wrong_order_are_refused() {
        let mut twice = bundle();
        twice.items.insert(1, twice.items[0].clone());
        assert!(matches!(
            Bundle::parse(&twice.to_bytes()),
            Err(BundleError::Order { found: 1, previous: 1 })
        ));
        let mut swapped = bundle();
        swapped.items.swap(0, 1);
        assert!(matches!(
            Bundle::parse(&swapped.to_bytes()),
            Err(BundleError::Order { found: 1, previous: 2 })
        ));
    }

    #[test]
    fn unknown_item_types_are_refused() {
        let bytes = [0x82, 1, 0x81, 0x82, 0x18, 99, 0x81, 0x41, 0xAA];
        assert!(matches!(Bundle::parse(&bytes), Err(BundleError::Encoding(_))));
    }

    #[test]
    fn more_items_than_types_are_refused_before_they_are_read() {
        // An array of 65 items that are not there, and one of 64.
        let refusal = |count: u8| Bundle::parse(&[0x82, 1, 0x98, count]).unwrap_err().to_string();
        assert!(refusal(65).contains("at most 64 items"), "{}", refusal(65));
        assert!(!refusal(64).contains("at most 64 items"), "{}", refusal(64));
        assert!(Bundle::parse(&[0x82, 1, 0x9F, 0xFF]).is_err(), "without a number they are not read either");
    }

    #[test]
    fn oversized_bundles_are_refused_before_they_are_read() {
        assert!(matches!(
            Bundle::parse(&vec![0; Bundle::MAXIMUM_LEN + 1]),
            Err(BundleError::Encoding(casemate_canon::Error::TooLong { .. }))
        ));
    }
}
