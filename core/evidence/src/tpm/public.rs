//! Which key is this, and what may it do?

use casemate_crypto::hash::{Digest, HashAlgorithm};
use casemate_crypto::{Curve, P384PublicKey, sign};

use super::attest::{finish, id_of, read_hash, read_sized, strip_size};
use super::error::TpmError;
use crate::reader::Reader;
use crate::x509::PublicKey;

/// TPMT_PUBLIC (TPM2 Part 2 §12.2.4): the public area of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Public {
    bytes: Vec<u8>,
    /// The hash function of its name.
    pub name_algorithm: HashAlgorithm,
    /// What it may do, and where it came from.
    pub attributes: ObjectAttributes,
    /// Digest of the policy that its use needs; empty without one.
    pub auth_policy: Vec<u8>,
    /// The only scheme that it signs with, if there is only one.
    pub scheme: Option<Scheme>,
    /// The key itself.
    pub key: UniqueKey,
}

/// The public key, by type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UniqueKey {
    /// RSA; the modulus big-endian.
    Rsa {
        /// The modulus, as many bytes as the key has.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: u32,
    },
    /// A point; x and y big-endian, each as long as the curve's field.
    Ecc {
        /// The curve.
        curve: Curve,
        /// x, then y.
        point: Vec<u8>,
    },
}

/// A signature scheme (TPMT_SIG_SCHEME, TPM2 Part 2 §11.2.1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// TPM_ALG_RSASSA: RSASSA-PKCS1-v1_5.
    RsaSsa(HashAlgorithm),
    /// TPM_ALG_RSAPSS.
    RsaPss(HashAlgorithm),
    /// TPM_ALG_ECDSA.
    Ecdsa(HashAlgorithm),
}

/// TPMA_OBJECT (TPM2 Part 2 §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectAttributes(u32);

/// TPM2B_NAME (TPM2 Part 2 §10.5.3): names an object or a handle in one TPM.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Name {
    /// No name.
    Empty,
    /// A handle of a hierarchy or of a PCR.
    Handle(u32),
    /// Digest of a public area, by its own name algorithm.
    Object(Digest),
}

impl Public {
    /// Greatest length in bytes: a key of 4096 bits with a policy of 64 bytes fits.
    pub const MAXIMUM_LEN: usize = 1024;

    /// Reads a TPMT_PUBLIC of an RSA or an elliptic-curve key.
    ///
    /// # Errors
    /// [`TpmError`], the first broken rule in the order of the structure.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        if bytes.len() > Self::MAXIMUM_LEN {
            let (found, maximum) = (bytes.len(), Self::MAXIMUM_LEN);
            return Err(TpmError::TooLong { field: "public", found, maximum });
        }
        let mut reader = Reader::new(bytes);
        let kind = reader.u16_be()?;
        let name_algorithm = read_hash(&mut reader)?;
        let attributes = ObjectAttributes(reader.u32_be()?);
        let auth_policy = read_sized(&mut reader, "authPolicy", 64)?.to_vec();
        let (scheme, key) = match kind {
            TPM_ALG_RSA => read_rsa(&mut reader)?,
            TPM_ALG_ECC => read_ecc(&mut reader)?,
            found => return Err(TpmError::KeyType { found }),
        };
        finish(&reader)?;
        Ok(Self { bytes: bytes.to_vec(), name_algorithm, attributes, auth_policy, scheme, key })
    }

    /// Reads a TPM2B_PUBLIC: the same behind its length in two bytes.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn parse_sized(bytes: &[u8]) -> Result<Self, TpmError> {
        Self::parse(strip_size(bytes)?)
    }

    /// The TPMT_PUBLIC.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its name: the digest of the whole public area by its own name algorithm (TPM2 Part 1 §16).
    pub fn name(&self) -> Name {
        Name::Object(self.name_algorithm.digest(&self.bytes))
    }

    /// The key in the form in which certificates hold it; `None` for an RSA key whose numbers no
    /// certificate holds (a modulus that begins with a zero byte).
    pub fn public_key(&self) -> Option<PublicKey> {
        match &self.key {
            UniqueKey::Rsa { modulus, exponent } => {
                let exponent = exponent.to_be_bytes();
                let zeros = exponent.iter().take_while(|byte| **byte == 0).count();
                (modulus.first() != Some(&0)).then(|| PublicKey::Rsa {
                    modulus: modulus.clone(),
                    exponent: exponent[zeros..].to_vec(),
                })
            }
            UniqueKey::Ecc { curve: Curve::P256, point } => {
                sign::PublicKey::try_from(point.as_slice()).ok().map(PublicKey::P256)
            }
            UniqueKey::Ecc { curve: Curve::P384, point } => {
                P384PublicKey::try_from(point.as_slice()).ok().map(PublicKey::P384)
            }
        }
    }
}

impl ObjectAttributes {
    /// These bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// All bits, those reserved as well.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// fixedTPM: it cannot leave its TPM.
    pub const fn fixed_tpm(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// fixedParent: it cannot be moved below another parent.
    pub const fn fixed_parent(self) -> bool {
        self.0 & 1 << 4 != 0
    }

    /// sensitiveDataOrigin: the TPM made the private part.
    pub const fn sensitive_data_origin(self) -> bool {
        self.0 & 1 << 5 != 0
    }

    /// restricted: it signs only what the TPM made or checked.
    pub const fn restricted(self) -> bool {
        self.0 & 1 << 16 != 0
    }

    /// decrypt: it may decrypt.
    pub const fn decrypt(self) -> bool {
        self.0 & 1 << 17 != 0
    }

    /// sign/encrypt: it may sign.
    pub const fn sign(self) -> bool {
        self.0 & 1 << 18 != 0
    }
}

impl Name {
    /// The bytes that a TPM2B_NAME holds.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Name::Empty => Vec::new(),
            Name::Handle(handle) => handle.to_be_bytes().to_vec(),
            Name::Object(digest) => {
                [&id_of(digest.algorithm()).to_be_bytes()[..], digest.as_bytes()].concat()
            }
        }
    }
}

/// Qualified name of the object `name` below `parents`, from the hierarchy down (TPM2 Part 1 §16, "Names"):
/// the digest of the parent's qualified name and the object's name, by the object's name algorithm.
///
/// `None` if one of the names below the hierarchy is not an object's.
pub fn qualified_name(hierarchy: u32, parents: &[Name], name: &Name) -> Option<Name> {
    let mut qualified = Name::Handle(hierarchy);
    for name in parents.iter().chain([name]) {
        let Name::Object(digest) = name else { return None };
        let parts = [qualified.to_bytes(), name.to_bytes()].concat();
        qualified = Name::Object(digest.algorithm().digest(&parts));
    }
    Some(qualified)
}

impl std::fmt::Debug for Public {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Public")
            .field("name", &self.name())
            .field("attributes", &self.attributes)
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Name({self})")
    }
}

/// TPMS_RSA_PARMS (TPM2 Part 2 §12.2.3.5) and TPM2B_PUBLIC_KEY_RSA.
fn read_rsa(reader: &mut Reader<'_>) -> Result<(Option<Scheme>, UniqueKey), TpmError> {
    skip_symmetric(reader)?;
    let scheme = match reader.u16_be()? {
        TPM_ALG_NULL | TPM_ALG_RSAES => None,
        TPM_ALG_RSASSA => Some(Scheme::RsaSsa(read_hash(reader)?)),
        TPM_ALG_RSAPSS => Some(Scheme::RsaPss(read_hash(reader)?)),
        TPM_ALG_OAEP => {
            read_hash(reader)?;
            None
        }
        found => return Err(TpmError::Parameter { field: "rsaDetail.scheme", found }),
    };
    let key_bits = reader.u16_be()?;
    let exponent = match reader.u32_be()? {
        0 => 65537, // TPM2 Part 2 §12.2.3.5: zero stands for the default
        exponent => exponent,
    };
    let modulus = read_sized(reader, "unique.rsa", 512)?.to_vec();
    if modulus.len() * 8 != usize::from(key_bits) {
        return Err(TpmError::Modulus { found: modulus.len(), key_bits });
    }
    Ok((scheme, UniqueKey::Rsa { modulus, exponent }))
}

/// TPMS_ECC_PARMS (TPM2 Part 2 §12.2.3.6) and TPMS_ECC_POINT.
fn read_ecc(reader: &mut Reader<'_>) -> Result<(Option<Scheme>, UniqueKey), TpmError> {
    skip_symmetric(reader)?;
    let scheme = match reader.u16_be()? {
        TPM_ALG_NULL => None,
        TPM_ALG_ECDSA => Some(Scheme::Ecdsa(read_hash(reader)?)),
        // Schemes that sign nothing Casemate reads, each with a hash function.
        TPM_ALG_ECDH | TPM_ALG_SM2 | TPM_ALG_ECSCHNORR | TPM_ALG_ECMQV => {
            read_hash(reader)?;
            None
        }
        found => return Err(TpmError::Parameter { field: "eccDetail.scheme", found }),
    };
    let curve = match reader.u16_be()? {
        0x0003 => Curve::P256,
        0x0004 => Curve::P384,
        found => return Err(TpmError::Curve { found }),
    };
    match reader.u16_be()? {
        TPM_ALG_NULL => {}
        0x0007 | 0x0020 | 0x0021 | 0x0022 => {
            read_hash(reader)?; // MGF1 and the key derivation functions
        }
        found => return Err(TpmError::Parameter { field: "eccDetail.kdf", found }),
    }
    let mut point = Vec::with_capacity(2 * curve.field_len());
    for field in ["unique.ecc.x", "unique.ecc.y"] {
        let coordinate = read_sized(reader, field, curve.field_len())?;
        // Leading zeros may be left out.
        point.resize(point.len() + curve.field_len() - coordinate.len(), 0);
        point.extend_from_slice(coordinate);
    }
    Ok((scheme, UniqueKey::Ecc { curve, point }))
}

/// TPMT_SYM_DEF_OBJECT (TPM2 Part 2 §11.1.7): how a parent protects its children; says nothing of a signer.
fn skip_symmetric(reader: &mut Reader<'_>) -> Result<(), TpmError> {
    match reader.u16_be()? {
        TPM_ALG_NULL => {}
        TPM_ALG_AES | TPM_ALG_SM4 | TPM_ALG_CAMELLIA => {
            reader.u16_be()?; // keyBits
            reader.u16_be()?; // mode
        }
        found => return Err(TpmError::Parameter { field: "symmetric", found }),
    }
    Ok(())
}

/// TPM_ALG_ID (TPM2 Part 2 §6.3).
const TPM_ALG_RSA: u16 = 0x0001;
const TPM_ALG_AES: u16 = 0x0006;
const TPM_ALG_NULL: u16 = 0x0010;
const TPM_ALG_SM4: u16 = 0x0013;
pub(super) const TPM_ALG_RSASSA: u16 = 0x0014;
const TPM_ALG_RSAES: u16 = 0x0015;
pub(super) const TPM_ALG_RSAPSS: u16 = 0x0016;
const TPM_ALG_OAEP: u16 = 0x0017;
pub(super) const TPM_ALG_ECDSA: u16 = 0x0018;
const TPM_ALG_ECDH: u16 = 0x0019;
const TPM_ALG_SM2: u16 = 0x001B;
const TPM_ALG_ECSCHNORR: u16 = 0x001C;
const TPM_ALG_ECMQV: u16 = 0x001D;
const TPM_ALG_ECC: u16 = 0x0023;
const TPM_ALG_CAMELLIA: u16 = 0x0026;
