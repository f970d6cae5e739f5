//! What does AMD's key distribution service know, and how often may it be asked?
//!
//! Source: AMD 57230 §4, endpoints `vcek`, `cert_chain` and `crl`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use casemate_evidence::ChipId;
use casemate_evidence::snp::{Product, Tcb};

use crate::error::Error;
use crate::item::Kind;
use crate::store::MAXIMUM_FILE_LEN;

/// AMD's key distribution service, or a mirror of it, asked with manners.
#[derive(Debug, Clone)]
pub struct KeyServer {
    base: String,
    client: reqwest::Client,
    pub(crate) etiquette: Etiquette,
    turn: Arc<Mutex<Turn>>,
}

/// How a service is asked, and how long its answers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Etiquette {
    /// Questions at once, after a rest.
    pub burst: u32,
    /// A further question becomes possible after each of these.
    pub every: Duration,
    /// How long a caller waits; the question itself goes on, and its answer is kept.
    pub patience: Duration,
    /// How long a failure is remembered, so that the same question is not asked again.
    pub failures_kept: Duration,
    /// After which time a revocation list that still holds is fetched anew.
    pub refresh_after: Duration,
    /// Whether a caller waits for a new list while the stored one still holds.
    pub wait_for_refresh: bool,
}

impl Etiquette {
    /// For a person at a terminal, who waits and asks about few machines.
    pub fn person() -> Self {
        Self {
            burst: 20,
            every: Duration::from_secs(2),
            patience: Duration::from_secs(60),
            failures_kept: Duration::ZERO,
            refresh_after: Duration::from_secs(24 * 3600),
            wait_for_refresh: true,
        }
    }

    /// For a service that strangers can make ask: AMD's own limit is about one question in ten seconds.
    pub fn service() -> Self {
        Self {
            burst: 10,
            every: Duration::from_secs(10),
            patience: Duration::from_secs(8),
            failures_kept: Duration::from_secs(300),
            refresh_after: Duration::from_secs(24 * 3600),
            wait_for_refresh: false,
        }
    }
}

/// Who may ask next.
#[derive(Debug)]
struct Turn {
    /// How many questions may be asked at this moment, in thousandths.
    tokens_milli: u64,
    counted: Instant,
    /// Nothing is asked before this moment: the service did not answer.
    down_until: Option<Instant>,
}

/// How long a service that cannot be reached is left alone.
const DOWN: Duration = Duration::from_secs(30);

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
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30))
            // A mirror that sends elsewhere would choose whom this machine talks to.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| Error::Network { address: base.clone(), source })?;
        let turn = Turn {
            tokens_milli: u64::from(etiquette.burst) * 1000,
            counted: Instant::now(),
            down_until: None,
        };
        Ok(Self { base, client, etiquette, turn: Arc::new(Mutex::new(turn)) })
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

    /// Fetches at most `MAXIMUM_FILE_LEN` bytes, if it is our turn.
    pub(crate) async fn fetch(&self, address: &str) -> Result<Vec<u8>, Error> {
        self.take_turn(address, Instant::now())?;
        tracing::debug!(address, "asking the key distribution service");
        let answer = self.ask(address).await;
        if matches!(answer, Err(Error::Network { .. })) {
            self.turn.lock().expect("no panic while held").down_until = Some(Instant::now() + DOWN);
        }
        answer
    }

    async fn ask(&self, address: &str) -> Result<Vec<u8>, Error> {
        let network = |source: reqwest::Error| Error::Network {
            address: address.to_owned(),
            source: source.without_url(),
        };
        let mut response = self.client.get(address).send().await.map_err(network)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Error::Status { address: address.to_owned(), status: status.as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            if body.len() + chunk.len() > MAXIMUM_FILE_LEN {
                return Err(Error::TooLong { address: address.to_owned(), maximum: MAXIMUM_FILE_LEN });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn take_turn(&self, address: &str, now: Instant) -> Result<(), Error> {
        let refused =
            |seconds: u64| Error::TooManyRequests { address: address.to_owned(), seconds: seconds.max(1) };
        let every_ms = u64::try_from(self.etiquette.every.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut turn = self.turn.lock().expect("no panic while held");
        if let Some(until) = turn.down_until.filter(|until| *until > now)
            && self.etiquette.failures_kept > Duration::ZERO
        {
            return Err(refused(until.duration_since(now).as_secs()));
        }
        let passed_ms =
            u64::try_from(now.saturating_duration_since(turn.counted).as_millis()).unwrap_or(u64::MAX);
        turn.counted = now;
        let earned = passed_ms.saturating_mul(1000) / every_ms;
        let full = u64::from(self.etiquette.burst) * 1000;
        turn.tokens_milli = turn.tokens_milli.saturating_add(earned).min(full);
        if turn.tokens_milli < 1000 {
            return Err(refused((1000 - turn.tokens_milli) * every_ms / 1_000_000));
        }
        turn.tokens_milli -= 1000;
        Ok(())
    }
}

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

    #[test]
    fn after_a_burst_there_is_one_question_per_interval() {
        let etiquette = Etiquette { burst: 2, every: Duration::from_secs(10), ..Etiquette::service() };
        let server = KeyServer::at("http://kds.example", etiquette).unwrap();
        let start = Instant::now();
        let at = |seconds: u64| server.take_turn("x", start + Duration::from_secs(seconds));
        assert!(at(0).is_ok() && at(0).is_ok());
        assert!(matches!(at(0), Err(Error::TooManyRequests { seconds: 10, .. })));
        assert!(matches!(at(6), Err(Error::TooManyRequests { seconds: 4, .. })));
        assert!(at(10).is_ok());
        assert!(at(10).is_err());
        assert!(at(1000).is_ok() && at(1000).is_ok());
        assert!(at(1000).is_err(), "rest does not save up more than a burst");
    }
}
