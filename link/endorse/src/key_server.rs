//! What does AMD's key distribution service know?
//!
//! Source: AMD 57230 §4, endpoints `vcek`, `cert_chain` and `crl`.

use casemate_evidence::ChipId;
use casemate_evidence::snp::{Product, Tcb};

use crate::error::Error;
use crate::item::Kind;
use crate::service::{Etiquette, Service};

/// AMD's key distribution service, or a mirror of it, asked with manners.
#[derive(Debug, Clone)]
pub struct KeyServer {
    base: String,
    service: Service,
}

impl KeyServer {
    /// AMD's own address.
    pub const AMD: &'static str = "https://kdsintf.amd.com";

    /// AMD's own.
    ///
    /// # Errors
    /// [`Error::Network`] if this machine cannot set up TLS.
    pub fn amd(etiquette: Etiquette) -> Result<Self, Error> {
        Self::at(Self::AMD, etiquette)
    }

    /// A mirror with the same paths below `base`. Plain HTTP does no harm: answers are verified.
    ///
    /// # Errors
    /// As [`amd`](Self::amd).
    pub fn at(base: &str, etiquette: Etiquette) -> Result<Self, Error> {
        let base = base.trim_end_matches('/').to_owned();
        let service = Service::new(&base, etiquette)?;
        Ok(Self { base, service })
    }

    pub(crate) fn etiquette(&self) -> Etiquette {
        self.service.etiquette
    }

    pub(crate) async fn fetch(&self, address: &str) -> Result<Vec<u8>, Error> {
        Ok(self.service.fetch(address, MAXIMUM_ANSWER_LEN, &[]).await?.body)
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

    /// Where the intermediate and the ARK of a product are, as PEM.
    pub fn authority_address(&self, product: Product, signing_key: SigningKey) -> String {
        format!("{}/{}/v1/{product}/cert_chain", self.base, signing_key.path())
    }

    /// Where the ARK's revocation list is, as DER.
    pub fn revocation_list_address(&self, product: Product) -> String {
        format!("{}/vcek/v1/{product}/crl", self.base)
    }
}

/// Chains have 5 kB, revocation lists 1 kB.
const MAXIMUM_ANSWER_LEN: usize = 64 * 1024;

/// Which keys an intermediate certifies.
pub(crate) type SigningKey = Kind;

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Kind::Vcek => "vcek",
            Kind::Vlek => "vlek",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_specification() {
        let server = KeyServer::at("https://kds.example/", Etiquette::person()).unwrap();
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
        assert_eq!(
            server.authority_address(Product::Genoa, Kind::Vcek),
            "https://kds.example/vcek/v1/Genoa/cert_chain"
        );
        assert_eq!(
            server.authority_address(Product::Genoa, Kind::Vlek),
            "https://kds.example/vlek/v1/Genoa/cert_chain"
        );
        assert_eq!(server.revocation_list_address(Product::Turin), "https://kds.example/vcek/v1/Turin/crl");
    }
}
