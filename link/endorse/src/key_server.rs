//! What does AMD's key distribution service know?
//!
//! Source: AMD 57230 §4, endpoints `vcek`, `cert_chain` and `crl`.

use std::time::Duration;

use casemate_evidence::ChipId;
use casemate_evidence::snp::{Product, Tcb};

use crate::error::Error;

/// AMD's key distribution service, or a mirror of it.
#[derive(Debug, Clone)]
pub struct KeyServer {
    base: String,
    client: reqwest::Client,
}

impl KeyServer {
    /// AMD's own.
    ///
    /// # Errors
    /// [`Error::Network`] if this machine cannot set up TLS.
    pub fn amd() -> Result<Self, Error> {
        Self::at("https://kdsintf.amd.com")
    }

    /// A mirror with the same paths below `base`. Plain HTTP does no harm: answers are verified.
    ///
    /// # Errors
    /// As [`amd`](Self::amd).
    pub fn at(base: &str) -> Result<Self, Error> {
        let base = base.trim_end_matches('/').to_owned();
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|source| Error::Network { address: base.clone(), source })?;
        Ok(Self { base, client })
    }

    /// Where the VCEK of a chip at a TCB version is.
    pub fn vcek_address(&self, product: Product, chip_id: &ChipId, tcb: &Tcb) -> String {
        let length = if product.has_short_hardware_id() { 8 } else { 64 };
        let chip: String = chip_id.as_bytes()[..length].iter().map(|byte| format!("{byte:02x}")).collect();
        let fmc = tcb.fmc.map_or_else(String::new, |fmc| format!("fmcSPL={fmc:02}&"));
        format!(
            "{}/vcek/v1/{product}/{chip}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
            self.base, tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
        )
    }

    /// Where ASK and ARK of a product are, as PEM.
    pub fn chain_address(&self, product: Product) -> String {
        format!("{}/vcek/v1/{product}/cert_chain", self.base)
    }

    /// Where the ARK's revocation list is, as DER.
    pub fn revocation_list_address(&self, product: Product) -> String {
        format!("{}/vcek/v1/{product}/crl", self.base)
    }

    /// Fetches at most `MAXIMUM_LEN` bytes.
    pub(crate) async fn fetch(&self, address: &str) -> Result<Vec<u8>, Error> {
        let network = |source| Error::Network { address: address.to_owned(), source };
        tracing::debug!(address, "asking the key distribution service");
        let mut response = self.client.get(address).send().await.map_err(network)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Error::Status { address: address.to_owned(), status: status.as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            if body.len() + chunk.len() > MAXIMUM_LEN {
                return Err(Error::TooLong { address: address.to_owned(), maximum: MAXIMUM_LEN });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Chains have 5 kB, revocation lists 1 kB.
const MAXIMUM_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_specification() {
        let server = KeyServer::at("https://kds.example/").unwrap();
        let tcb = Tcb { fmc: None, bootloader: 4, tee: 0, snp: 24, microcode: 219 };
        assert_eq!(
            server.vcek_address(Product::Milan, &[0xAB; 64].into(), &tcb),
            format!(
                "https://kds.example/vcek/v1/Milan/{}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219",
                "ab".repeat(64)
            )
        );
        let tcb = Tcb { fmc: Some(1), bootloader: 1, tee: 1, snp: 4, microcode: 81 };
        assert_eq!(
            server.vcek_address(Product::Turin, &[0xCD; 64].into(), &tcb),
            "https://kds.example/vcek/v1/Turin/cdcdcdcdcdcdcdcd?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"
        );
        assert_eq!(server.chain_address(Product::Genoa), "https://kds.example/vcek/v1/Genoa/cert_chain");
        assert_eq!(server.revocation_list_address(Product::Turin), "https://kds.example/vcek/v1/Turin/crl");
    }
}
