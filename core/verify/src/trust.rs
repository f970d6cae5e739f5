//! Whose word is it in the end?

use casemate_crypto::hash::Sha256;
use casemate_evidence::snp::Product;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Whether hardware stands behind a verdict, or software that imitates it.
///
/// Every key derivation, certificate and receipt takes it as an input, so that nothing made under
/// simulation is good for anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum TrustClass {
    /// The root is the vendor's.
    #[n(1)]
    Real,
    /// The root was made on the spot: no confidentiality.
    #[n(2)]
    Simulated,
}

impl std::fmt::Display for TrustClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TrustClass::Real => "real",
            TrustClass::Simulated => "simulated",
        })
    }
}

/// Whether the caller, apart from any policy, puts up with simulated hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptSimulated {
    /// Yes, where the policy lists the root as well.
    Yes,
    /// No, whatever the policy says.
    No,
}

/// A root key of AMD, named by SHA-256 of its certificate's `SubjectPublicKeyInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmdRoot {
    /// Digest of the key.
    pub key_digest: Sha256,
    /// The product that it endorses.
    pub product: Product,
}

/// A root key of Intel, named in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntelRoot {
    /// Digest of the key.
    pub key_digest: Sha256,
}

/// A root key of a simulated TEE, named in the same way. It endorses any product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulatedRoot {
    /// Digest of the key.
    pub key_digest: Sha256,
}

/// The root keys at which a chain may end. Which list holds the key decides the [`TrustClass`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    amd: Vec<AmdRoot>,
    intel: Vec<IntelRoot>,
    aws: Vec<Sha256>,
    google: Vec<Sha256>,
    tpm: TpmRoots,
    nvidia_devices: Vec<Sha256>,
    nvidia_manifests: Vec<Sha256>,
    simulated: Vec<SimulatedRoot>,
}

/// Who may vouch for the attestation key of a TPM; nobody is built in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TpmRoots {
    /// Root keys of vendors and clouds, by SHA-256 of the `SubjectPublicKeyInfo`.
    pub authorities: Vec<Sha256>,
    /// Attestation keys that the Verifier itself enrolled, named in the same way.
    pub enrolled_keys: Vec<Sha256>,
}

impl Roots {
    /// The roots of every vendor that Casemate knows, and nothing else.
    pub fn builtin() -> Self {
        Self::none().with_amd().with_intel().with_aws().with_google().with_nvidia()
    }

    /// No root at all.
    pub fn none() -> Self {
        Self {
            amd: Vec::new(),
            intel: Vec::new(),
            aws: Vec::new(),
            google: Vec::new(),
            tpm: TpmRoots::default(),
            nvidia_devices: Vec::new(),
            nvidia_manifests: Vec::new(),
            simulated: Vec::new(),
        }
    }

    /// These roots and AMD's of Milan, Genoa and Turin.
    pub fn with_amd(mut self) -> Self {
        self.amd = AMD_ROOTS.to_vec();
        self
    }

    /// These roots and Intel's.
    pub fn with_intel(mut self) -> Self {
        self.intel = vec![INTEL_ROOT];
        self
    }

    /// These roots and AWS's.
    pub fn with_aws(mut self) -> Self {
        self.aws = crate::nitro::ROOTS.to_vec();
        self
    }

    /// These roots and Google's of vTPMs.
    pub fn with_google(mut self) -> Self {
        self.google = crate::gcp::ROOTS.to_vec();
        self
    }

    /// These roots and NVIDIA's, of devices and of manifests.
    pub fn with_nvidia(mut self) -> Self {
        self.nvidia_devices = crate::nvidia::DEVICE_ROOTS.to_vec();
        self.nvidia_manifests = crate::nvidia::MANIFEST_ROOTS.to_vec();
        self
    }

    /// These roots and those of TPMs' attestation keys.
    pub fn with_tpm(mut self, roots: TpmRoots) -> Self {
        self.tpm = roots;
        self
    }

    /// Whether no root is here at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::none()
    }

    /// These roots and simulated ones. A key that is a vendor's as well stays the vendor's.
    pub fn with_simulated(mut self, roots: impl IntoIterator<Item = SimulatedRoot>) -> Self {
        self.simulated.extend(roots);
        self
    }

    /// AMD's roots.
    pub fn amd(&self) -> &[AmdRoot] {
        &self.amd
    }

    /// Intel's roots.
    pub fn intel(&self) -> &[IntelRoot] {
        &self.intel
    }

    /// Roots of simulated TEEs.
    pub fn simulated(&self) -> &[SimulatedRoot] {
        &self.simulated
    }

    pub(crate) fn find(&self, key_digest: &Sha256) -> Option<Anchor> {
        if let Some(root) = self.amd.iter().find(|root| root.key_digest == *key_digest) {
            return Some(Anchor::Amd(root.product));
        }
        self.simulated.iter().any(|root| root.key_digest == *key_digest).then_some(Anchor::Simulated)
    }

    /// Whether chains of Intel platforms may end at this key, and what stands behind it then. A root of
    /// AMD endorses nothing of Intel.
    pub(crate) fn find_intel(&self, key_digest: &Sha256) -> Option<TrustClass> {
        if self.intel.iter().any(|root| root.key_digest == *key_digest) {
            return Some(TrustClass::Real);
        }
        let simulated = self.simulated.iter().any(|root| root.key_digest == *key_digest);
        simulated.then_some(TrustClass::Simulated)
    }
}

impl Roots {
    /// Keys at which the chain of a document of AWS may end.
    pub(crate) fn nitro_anchors(&self) -> Vec<Sha256> {
        self.anchors([&self.aws])
    }

    /// Keys at which the chain of an attestation key's certificate may end.
    pub(crate) fn tpm_anchors(&self) -> Vec<Sha256> {
        self.anchors([&self.google, &self.tpm.authorities])
    }

    /// Keys at which the chain of an NVIDIA device may end.
    pub fn nvidia_device_anchors(&self) -> Vec<Sha256> {
        self.anchors([&self.nvidia_devices])
    }

    /// Keys at which the chain of a manifest's signer may end.
    pub fn nvidia_manifest_anchors(&self) -> Vec<Sha256> {
        self.anchors([&self.nvidia_manifests])
    }

    /// What stands behind a device whose chain ends at this key.
    pub(crate) fn nvidia_device_class(&self, anchor: &Sha256) -> TrustClass {
        class(self.nvidia_devices.contains(anchor))
    }

    /// What stands behind a manifest whose chain ends at this key.
    pub(crate) fn nvidia_manifest_class(&self, anchor: &Sha256) -> TrustClass {
        class(self.nvidia_manifests.contains(anchor))
    }

    /// Whether the Verifier enrolled this attestation key, or accepts it as a simulated TPM's.
    pub(crate) fn is_enrolled(&self, key_digest: &Sha256) -> bool {
        self.anchors([&self.tpm.enrolled_keys]).contains(key_digest)
    }

    /// Whether this root is Google's, and the policy accepts it as such.
    pub(crate) fn is_google(&self, key_digest: &Sha256) -> bool {
        self.google.contains(key_digest)
    }

    /// What stands behind a document of AWS whose chain ends at this key.
    pub(crate) fn nitro_class(&self, anchor: &Sha256) -> TrustClass {
        class(self.aws.contains(anchor))
    }

    /// What stands behind an attestation key whose chain ends at this key, or which is this key.
    pub(crate) fn tpm_class(&self, anchor: &Sha256) -> TrustClass {
        let lists = [&self.google, &self.tpm.authorities, &self.tpm.enrolled_keys];
        class(lists.iter().any(|list| list.contains(anchor)))
    }

    fn anchors<const N: usize>(&self, lists: [&Vec<Sha256>; N]) -> Vec<Sha256> {
        let simulated = self.simulated.iter().map(|root| root.key_digest);
        lists.into_iter().flatten().copied().chain(simulated).collect()
    }
}

/// A key that is a vendor's, or was enrolled, is not a simulated one, even if it is listed as such.
fn class(real: bool) -> TrustClass {
    if real { TrustClass::Real } else { TrustClass::Simulated }
}

/// Which list anchored a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Amd(Product),
    Simulated,
}

impl Anchor {
    pub(crate) fn trust_class(self) -> TrustClass {
        match self {
            Anchor::Amd(_) => TrustClass::Real,
            Anchor::Simulated => TrustClass::Simulated,
        }
    }
}

/// SHA-256 of the `SubjectPublicKeyInfo` of ARK-Milan, ARK-Genoa and ARK-Turin, as AMD's key
/// distribution service publishes them (AMD 57230 §4, `/vcek/v1/{product}/cert_chain`).
const AMD_ROOTS: [AmdRoot; 3] = [
    AmdRoot {
        key_digest: digest(*b"9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"),
        product: Product::Milan,
    },
    AmdRoot {
        key_digest: digest(*b"429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"),
        product: Product::Genoa,
    },
    AmdRoot {
        key_digest: digest(*b"4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"),
        product: Product::Turin,
    },
];

/// SHA-256 of the `SubjectPublicKeyInfo` of Intel SGX Root CA, as Intel publishes it
/// (<https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer>).
const INTEL_ROOT: IntelRoot =
    IntelRoot { key_digest: digest(*b"a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e") };

pub(crate) const fn digest(text: [u8; 64]) -> Sha256 {
    const fn digit(byte: u8) -> u8 {
        match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => panic!("a digest is written in lower-case hexadecimal"),
        }
    }
    let mut bytes = [0; 32];
    let mut index = 0;
    while index < 32 {
        bytes[index] = digit(text[2 * index]) << 4 | digit(text[2 * index + 1]);
        index += 1;
    }
    Sha256::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_that_holds_a_key_decides_its_class() {
        let simulated = SimulatedRoot { key_digest: Sha256::from([1; 32]) };
        let roots = Roots::builtin().with_simulated([simulated]);
        assert_eq!(roots.find(&Sha256::from([1; 32])).map(Anchor::trust_class), Some(TrustClass::Simulated));
        for root in roots.amd() {
            assert_eq!(roots.find(&root.key_digest), Some(Anchor::Amd(root.product)));
        }
        assert_eq!(roots.find(&Sha256::from([2; 32])), None);
        assert_eq!(Roots::none().find(&AMD_ROOTS[0].key_digest), None);
    }

    #[test]
    fn a_vendor_key_listed_as_simulated_stays_the_vendors() {
        let roots = Roots::builtin().with_simulated([SimulatedRoot { key_digest: AMD_ROOTS[1].key_digest }]);
        assert_eq!(roots.find(&AMD_ROOTS[1].key_digest), Some(Anchor::Amd(Product::Genoa)));
    }
}
