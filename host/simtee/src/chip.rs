//! With which key does the chip sign?
//!
//! A VCEK belongs to one chip and one TCB version, so there is a key and a certificate for each version
//! of each product that was ever served.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use casemate_crypto::P384Signature;
use casemate_evidence::snp::{Leaf, Product, TcbVersion};

use crate::certificate::{self, Issuer, Statement};
use crate::error::Error;
use crate::root::{Root, intermediate_subject, leaf_subject, lower, write_private, write_public};

/// The chip's key for one TCB version.
pub(crate) struct ChipKey {
    key: EcdsaKeyPair,
    /// Its certificate.
    pub(crate) certificate: PathBuf,
}

impl ChipKey {
    /// Opens the key, or makes it and its certificate on first use.
    pub(crate) fn open(root: &Root, product: Product, tcb: TcbVersion) -> Result<Self, Error> {
        let name = format!("vcek-{}-{tcb}", lower(product));
        let path = root.chip_keys().join(format!("{name}.key"));
        if !path.exists() {
            let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(|_| FAILED)?;
            let key = key.to_pkcs8v1().map_err(|_| FAILED)?;
            once(&path, |draft| write_private(draft, key.as_ref()))?;
        }
        let der = fs::read(&path).map_err(Error::io("read", &path))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &der)
            .map_err(|_| Error::Key { path: path.clone() })?;
        let certificate = root.public().join(format!("{name}.der"));
        if !certificate.exists() {
            let bytes = certify(root, product, tcb, &key)?;
            once(&certificate, |draft| write_public(draft, &bytes))?;
        }
        Ok(ChipKey { key, certificate })
    }

    /// ECDSA P-384 over SHA-384 of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<P384Signature, Error> {
        let failed = Error::Crypto { action: "sign a report" };
        match self.key.sign(&SystemRandom::new(), message) {
            Ok(signature) => P384Signature::try_from(signature.as_ref()).map_err(|_| failed),
            Err(_) => Err(failed),
        }
    }
}

fn certify(root: &Root, product: Product, tcb: TcbVersion, key: &EcdsaKeyPair) -> Result<Vec<u8>, Error> {
    let extensions = Leaf::vcek_extensions(product, tcb, &root.chip_id(product))
        .into_iter()
        .map(|(identifier, content)| certificate::extension(identifier, content))
        .collect::<Result<_, _>>()?;
    let statement = Statement {
        subject: leaf_subject(),
        issuer: intermediate_subject(product),
        serial: 0,
        public_key: certificate::public_key(key)?,
        years: 7,
        extensions,
    };
    certificate::sign(statement, Issuer::Rsa(&root.intermediate_key))
}

/// Puts a whole file at `path` unless one is there: two processes that start together agree on one.
fn once(path: &Path, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    write(&draft)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft).map_err(Error::io("remove", &draft))?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io("create", path)(error))
        }
        _ => Ok(()),
    }
}

const FAILED: Error = Error::Crypto { action: "make a P-384 key" };
