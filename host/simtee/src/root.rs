//! Which root stands in for AMD's?
//!
//! A folder, made once: keys in it, certificates in `public`. One ARK endorses every product; below it is
//! an ASK certificate for each, and a chip with a random id.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{self, KeySize};
use casemate_crypto::hash::{Sha256, sha256};
use casemate_evidence::ChipId;
use casemate_evidence::snp::Product;
use der::{Decode as _, Encode as _, EncodePem as _};
use serde::Serialize;

use crate::certificate::{self, Issuer, Statement};
use crate::error::Error;
use crate::tdx::{Platform, root_common_name};

/// A simulated root and its chip.
pub(crate) struct Root {
    folder: PathBuf,
    pub(crate) intermediate_key: rsa::KeyPair,
    root_key_digest: Sha256,
    chip_id: ChipId,
}

/// What others need to know of a root.
#[derive(Serialize)]
pub(crate) struct Summary {
    /// Common name of the ARK.
    pub(crate) name: String,
    /// SHA-256 of the ARK's `SubjectPublicKeyInfo`.
    pub(crate) key_digest: Sha256,
    /// CHIP_ID in reports of Milan and Genoa; of Turin the first 8 bytes.
    pub(crate) chip_id: ChipId,
    /// Common name of the root in place of Intel's.
    pub(crate) intel_name: String,
    /// SHA-256 of its `SubjectPublicKeyInfo`.
    pub(crate) intel_key_digest: Sha256,
    /// Folder of the certificates of the ARK, the ASKs and the chip.
    pub(crate) public: PathBuf,
}

impl Root {
    /// Makes a root in a folder that does not exist yet.
    ///
    /// The folder appears whole or not at all.
    pub(crate) fn create(folder: &Path) -> Result<Self, Error> {
        if folder.exists() {
            return Err(Error::RootExists { path: folder.into() });
        }
        let draft = folder.with_extension(format!("draft-{}", std::process::id()));
        let written =
            write_root(&draft).and_then(|()| fs::rename(&draft, folder).map_err(Error::io("create", folder)));
        if written.is_err() {
            let _ = fs::remove_dir_all(&draft); // the first error counts
        }
        written?;
        Root::open(folder)
    }

    /// Opens a root that exists.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let key_digest = sha256(&certificate::public_key(&read_key(&folder.join(ARK_KEY))?)?.to_der()?);
        Ok(Root {
            folder: folder.into(),
            intermediate_key: read_key(&folder.join(ASK_KEY))?,
            root_key_digest: key_digest,
            chip_id: read_chip_id(&folder.join(CHIP_ID))?,
        })
    }

    pub(crate) fn summary(&self, platform: &Platform) -> Result<Summary, Error> {
        let intel_key_digest = platform.root_key_digest()?;
        Ok(Summary {
            intel_name: root_common_name(&intel_key_digest),
            intel_key_digest,
            name: root_name(&self.root_key_digest),
            key_digest: self.root_key_digest,
            chip_id: self.chip_id,
            public: self.public(),
        })
    }

    /// CHIP_ID in reports of this product.
    pub(crate) fn chip_id(&self, product: Product) -> ChipId {
        let mut bytes = *self.chip_id.as_bytes();
        if product.has_short_hardware_id() {
            bytes[8..].fill(0);
        }
        ChipId::from(bytes)
    }

    /// Where keys and certificates in place of Intel's are kept.
    pub(crate) fn intel(&self) -> PathBuf {
        self.folder.join("intel")
    }

    /// Where keys of chips are kept.
    pub(crate) fn chip_keys(&self) -> PathBuf {
        self.folder.join("chip")
    }

    /// Where certificates are kept.
    pub(crate) fn public(&self) -> PathBuf {
        self.folder.join("public")
    }

    /// The ARK's certificate.
    pub(crate) fn root_certificate(&self) -> PathBuf {
        self.public().join(ARK)
    }

    /// The ASK's certificate for this product.
    pub(crate) fn intermediate_certificate(&self, product: Product) -> PathBuf {
        self.public().join(ask_file(product))
    }
}

/// Subject of the ASK of `product`: the common name is AMD's, because the kind of a key is read from it;
/// the organisation is not.
pub(crate) fn intermediate_subject(product: Product) -> String {
    format!("CN=SEV-{product},{ORGANISATION}")
}

/// Subject of a chip's certificate, likewise.
pub(crate) fn leaf_subject() -> String {
    format!("CN=SEV-VCEK,{ORGANISATION}")
}

/// Writes a file that only this user may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes, 0o600)
}

/// Writes a file for everyone.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes, 0o644)
}

fn write_root(folder: &Path) -> Result<(), Error> {
    for part in [folder, &folder.join("chip"), &folder.join("public")] {
        fs::DirBuilder::new().mode(0o700).create(part).map_err(Error::io("create", part))?;
    }
    let mut chip_id = [0; 64];
    getrandom::fill(&mut chip_id).map_err(|_| Error::Crypto { action: "draw a chip id" })?;
    write_private(&folder.join(CHIP_ID), ChipId::from(chip_id).to_string().as_bytes())?;

    let root_key = generate_key(&folder.join(ARK_KEY))?;
    let intermediate_key = generate_key(&folder.join(ASK_KEY))?;
    let root_public = certificate::public_key(&root_key)?;
    let subject = format!("CN={},{ORGANISATION}", root_name(&sha256(&root_public.to_der()?)));
    let root = Statement {
        subject: subject.clone(),
        issuer: subject.clone(),
        serial: 0x1_0000,
        public_key: root_public,
        years: 25,
        extensions: certificate::authority(None, true)?,
    };
    let root = certificate::sign(root, Issuer::Rsa(&root_key))?;
    let public = folder.join("public");
    write_public(&public.join(ARK), &root)?;
    for (product, serial) in Product::ALL.into_iter().zip(0x1_0001..) {
        let statement = Statement {
            subject: intermediate_subject(product),
            issuer: subject.clone(),
            serial,
            public_key: certificate::public_key(&intermediate_key)?,
            years: 25,
            extensions: certificate::authority(Some(0), false)?,
        };
        let intermediate = certificate::sign(statement, Issuer::Rsa(&root_key))?;
        write_public(&public.join(ask_file(product)), &intermediate)?;
        // As AMD's service answers /vcek/v1/{product}/cert_chain: ASK, then ARK.
        let chain = pem(&intermediate)? + &pem(&root)?;
        write_public(&public.join(format!("chain-{}.pem", lower(product))), chain.as_bytes())?;
    }
    Ok(())
}

fn root_name(key_digest: &Sha256) -> String {
    format!("SIMULATED ARK casemate-sim {}", &key_digest.to_string()[..8])
}

fn generate_key(path: &Path) -> Result<rsa::KeyPair, Error> {
    let failed = |_| Error::Crypto { action: "make an RSA key" };
    let key = rsa::KeyPair::generate(KeySize::Rsa4096).map_err(failed)?;
    let der: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
    write_private(path, der.as_ref())?;
    Ok(key)
}

fn read_key(path: &Path) -> Result<rsa::KeyPair, Error> {
    let der = fs::read(path).map_err(Error::io("read", path))?;
    rsa::KeyPair::from_pkcs8(&der).map_err(|_| Error::Key { path: path.into() })
}

fn read_chip_id(path: &Path) -> Result<ChipId, Error> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    text.trim_end().parse().map_err(|_| Error::ChipId { path: path.into() })
}

fn pem(certificate: &[u8]) -> Result<String, Error> {
    Ok(x509_cert::Certificate::from_der(certificate)?.to_pem(der::pem::LineEnding::LF)?)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(Error::io("write", path))
}

fn ask_file(product: Product) -> String {
    format!("ask-{}.der", lower(product))
}

pub(crate) fn lower(product: Product) -> String {
    product.name().to_ascii_lowercase()
}

/// What every name ends with.
pub(crate) const ORGANISATION: &str = "OU=casemate-simtee,O=SIMULATED TEE WITHOUT CONFIDENTIALITY";
const ARK_KEY: &str = "ark.key";
const ASK_KEY: &str = "ask.key";
const ARK: &str = "ark.der";
const CHIP_ID: &str = "chip-id";
