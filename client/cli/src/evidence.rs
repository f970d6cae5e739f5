//! Which kind of evidence do these bytes hold?
//!
//! Kinds are told apart by their first bytes. Bytes that begin like a kind and break its rules count as
//! that kind, so that whoever looks into them can say what is wrong.

use casemate_evidence::{
    bundle::{Bundle, BundleError, Item},
    snp::Report,
    x509::{self, Certificate, RevocationList},
};

/// Bytes, by the kind of evidence they begin as.
#[derive(Debug)]
pub enum Evidence {
    /// An SEV-SNP attestation report, unparsed.
    SnpReport(Vec<u8>),
    /// A TDX or SGX quote, unparsed.
    Quote(Item),
    /// An evidence bundle.
    Bundle(Result<Box<Bundle>, BundleError>),
    /// Certificates, in DER one, in PEM a chain.
    Certificates(Result<Vec<Certificate>, x509::Error>),
    /// A certificate revocation list.
    RevocationList(Box<RevocationList>),
}

impl Evidence {
    /// Greatest length of a file that is read, in bytes.
    pub const MAXIMUM_LEN: usize = Bundle::MAXIMUM_LEN;

    /// Which kind it is; `None` for everything else.
    pub fn recognise(bytes: Vec<u8>) -> Option<Self> {
        match bytes.as_slice() {
            // A CBOR array of two: version and items (docs/reference/evidence-bundle.md).
            [0x82, ..] => Some(Evidence::Bundle(Bundle::parse(&bytes).map(Box::new))),
            [b'-', b'-', b'-', ..] => {
                let text = String::from_utf8_lossy(&bytes);
                Some(Evidence::Certificates(Certificate::parse_pem(&text)))
            }
            // A DER sequence: a certificate, or a list.
            [0x30, ..] => Some(match RevocationList::parse(&bytes) {
                Ok(list) => Evidence::RevocationList(Box::new(list)),
                Err(_) => Evidence::Certificates(Certificate::parse(&bytes).map(|one| vec![one])),
            }),
            // Intel DCAP library API, appendix A.3 and A.4: version and kind of the attestation key, 16 bits each,
            // little-endian, then in 32 bits the kind of TEE.
            [3..=5, 0, 2 | 3, 0, 0x81, 0, 0, 0, ..] => Some(Evidence::Quote(Item::TdxQuote(bytes.into()))),
            [3..=5, 0, 2 | 3, 0, 0, 0, 0, 0, ..] => Some(Evidence::Quote(Item::SgxQuote(bytes.into()))),
            // AMD 56860 §7.3: the report begins with VERSION, 32 bits, little-endian.
            [2..=15, 0, 0, 0, ..] => Some(Evidence::SnpReport(bytes)),
            _ if bytes.len() == Report::LEN => Some(Evidence::SnpReport(bytes)),
            _ => None,
        }
    }

    /// The bundle to verify: this one, or one that holds the report or quote alone; `None` for what proves nothing
    /// by itself.
    ///
    /// # Errors
    /// [`BundleError`] for a bundle that breaks its format.
    pub fn into_bundle(self) -> Result<Option<Bundle>, BundleError> {
        match self {
            Evidence::SnpReport(bytes) => Ok(Some(Bundle::new([Item::SnpReport(bytes.into())]))),
            Evidence::Quote(quote) => Ok(Some(Bundle::new([quote]))),
            Evidence::Bundle(bundle) => bundle.map(|bundle| Some(*bundle)),
            Evidence::Certificates(_) | Evidence::RevocationList(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_by_their_first_bytes() {
        let kind = |bytes: &[u8]| Evidence::recognise(bytes.to_vec());
        assert!(matches!(kind(&[3, 0, 0, 0, 1]), Some(Evidence::SnpReport(_))));
        assert!(matches!(kind(&[0xFF; 1184]), Some(Evidence::SnpReport(_))));
        assert!(matches!(kind(&[4, 0, 2, 0, 0x81, 0, 0, 0]), Some(Evidence::Quote(Item::TdxQuote(_)))));
        assert!(matches!(kind(&[3, 0, 2, 0, 0, 0, 0, 0]), Some(Evidence::Quote(Item::SgxQuote(_)))));
        assert!(matches!(kind(&[0x82, 1, 0x80]), Some(Evidence::Bundle(Ok(_)))));
        assert!(matches!(kind(&[0x82, 1]), Some(Evidence::Bundle(Err(_)))));
        assert!(matches!(kind(&[0x30, 0]), Some(Evidence::Certificates(Err(_)))));
        assert!(matches!(kind(b"-----BEGIN X-----"), Some(Evidence::Certificates(Err(_)))));
        assert!(kind(b"nothing").is_none());
        assert!(kind(b"").is_none());
    }
}
