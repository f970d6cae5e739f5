//! What is to run here?
//!
//! What init handed over, parsed once more with the same parser as every verifier's, and put in the
//! order in which the rest of this program counts services: by name.

use std::collections::BTreeMap;

use casemate_api::handover::Handover;
use casemate_canon::from_cbor;
use casemate_crypto::hash::{Sha256, sha256};
use casemate_crypto::sign::PublicKey;
use casemate_record::{BootId, Genesis, InstanceId, LeaseHolder, Roster, RosterChain, WorkloadDigest};
use casemate_workload::compose::{Compose, FileSource, Service};
use casemate_workload::manifest::{EgressTarget, Image, Manifest, digest_of};
use casemate_workload::template::Template;
use zeroize::Zeroizing;

use crate::names::Zone;
use crate::network::{self, MAXIMUM_SERVICES, Publish};
use crate::schedule::Rules;
use crate::secrets::{Secrets, Wanted};

/// The workload of this boot. Nothing in it changes or is secret.
#[derive(Debug)]
pub struct Workload {
    /// The manifest's bytes, as the hardware's digest covers them.
    pub manifest_bytes: Vec<u8>,
    /// The manifest.
    pub manifest: Manifest,
    /// SHA-256 of `manifest_bytes`.
    pub digest: WorkloadDigest,
    /// Whose orders are followed.
    pub owner: PublicKey,
    /// The seats that renew the lease.
    pub roster: Roster,
    /// Which instance this is.
    pub instance: InstanceId,
    /// Which boot this is.
    pub boot_id: BootId,
    compose: Compose,
    files: BTreeMap<Sha256, Vec<u8>>,
}

/// Why there is nothing that may run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest is refused.
    #[error(transparent)]
    Manifest(#[from] casemate_workload::manifest::Error),
    /// The genesis is not well formed.
    #[error("genesis: {0}; init and agent must come from one image")]
    Genesis(#[source] casemate_canon::Error),
    /// The genesis or the roster is not the manifest's.
    #[error(transparent)]
    Record(#[from] casemate_record::Error),
    /// A lease is not this boot's.
    #[error("{0}; init and agent must come from one image")]
    Lease(#[from] casemate_record::LeaseFault),
    /// A file that the manifest names was not handed over.
    #[error("file {name} with SHA-256 {expected} is not on the launch disk; run `casemate up` again")]
    FileMissing {
        /// Its name in the manifest.
        name: String,
        /// Its digest.
        expected: Sha256,
    },
    /// More services than there are addresses.
    #[error("{found} services, at most {MAXIMUM_SERVICES} can run in one guest; split the compose file")]
    TooManyServices {
        /// Services in the compose file.
        found: usize,
    },
    /// A value of the compose file cannot be rendered.
    #[error("service {service}: {source}")]
    Value {
        /// Service.
        service: String,
        /// Which variable.
        source: casemate_workload::template::Missing,
    },
}

impl Workload {
    /// Takes what init left.
    ///
    /// # Errors
    /// [`Error`]; each check repeats one of init's.
    pub fn new(handover: Handover) -> Result<Self, Error> {
        let (manifest, compose) = Manifest::parse(&handover.manifest)?;
        let genesis: Genesis =
            from_cbor(&handover.genesis, Genesis::MAXIMUM_BYTES).map_err(Error::Genesis)?;
        genesis.check_app_id(&manifest.app_id)?;
        let roster = RosterChain::from_bytes(&handover.roster_chain)?.verify(&manifest.kms_id)?;
        let digest = digest_of(&handover.manifest);
        let holder = LeaseHolder {
            app_id: manifest.app_id,
            workload_digest: digest,
            instance: handover.instance,
            boot_id: handover.boot_id,
        };
        for lease in &handover.leases {
            roster.check_lease(lease, &holder)?;
        }
        // Named by what they are, not by what their sender says.
        let files: BTreeMap<Sha256, Vec<u8>> =
            handover.files.into_iter().map(|file| (sha256(&file.content), file.content)).collect();
        if let Some(missing) = manifest.files.iter().find(|file| !files.contains_key(&file.digest)) {
            return Err(Error::FileMissing { name: missing.name.clone(), expected: missing.digest });
        }
        if compose.services.len() > MAXIMUM_SERVICES {
            return Err(Error::TooManyServices { found: compose.services.len() });
        }
        Ok(Workload {
            digest,
            manifest_bytes: handover.manifest,
            owner: genesis.owner,
            roster,
            instance: handover.instance,
            boot_id: handover.boot_id,
            manifest,
            compose,
            files,
        })
    }

    /// Its services, by name; the position of each is its index everywhere.
    pub fn services(&self) -> Vec<&Service> {
        self.compose.services.values().collect()
    }

    /// The index of the service named `name`.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.compose.services.keys().position(|known| known == name)
    }

    /// The image of `service`.
    ///
    /// # Panics
    /// If `service` is of another workload: each manifest has one image per service.
    pub fn image(&self, service: &Service) -> &Image {
        self.manifest.image(&service.name).expect("Manifest::parse checks that each service has an image")
    }

    /// Whether the manifest lets `service` ask for evidence.
    pub fn may_ask_for_evidence(&self, service: &Service) -> bool {
        self.manifest.evidence.contains(&service.name)
    }

    /// What the compose file says about each service's life.
    pub fn rules(&self) -> Vec<Rules> {
        let rules = |service: &Service| Rules {
            restart: service.restart,
            healthcheck: service.healthcheck.clone(),
            depends_on: service
                .depends_on
                .iter()
                .filter_map(|(name, dependency)| Some((self.index(name)?, dependency.condition)))
                .collect(),
            stop_grace_period_ms: service.stop_grace_period_ms,
        };
        self.services().into_iter().map(rules).collect()
    }

    /// Ports that are published.
    pub fn published(&self) -> Vec<Publish> {
        let ports = self.services().into_iter().enumerate().flat_map(|(index, service)| {
            service.ports.iter().map(move |port| Publish {
                service: index,
                guest_port: port.guest_port(),
                container_port: port.container_port,
            })
        });
        ports.collect()
    }

    /// Names that containers may ask for.
    pub fn zone(&self) -> Zone {
        let addresses = |index: usize, service: &Service| {
            let names = std::iter::once(service.name.clone()).chain(service.hostname.clone());
            names.map(move |name| (name, network::address(index))).collect::<Vec<_>>()
        };
        let services =
            self.services().into_iter().enumerate().flat_map(|(index, service)| addresses(index, service));
        let egress = self.manifest.egress.iter().enumerate().filter_map(|(index, rule)| match &rule.to {
            EgressTarget::Name(name) => Some((name.clone(), index)),
            EgressTarget::Ipv4 { .. } => None,
        });
        Zone::new(services, egress)
    }

    /// The values that the owner has to hand over.
    pub fn wanted(&self) -> Wanted {
        self.compose.secret_names()
    }

    /// The environment that the compose file gives `service`.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn environment(&self, service: &Service, secrets: &Secrets) -> Result<Vec<(String, String)>, Error> {
        let render =
            |(name, value): (&String, &Template)| Ok((name.clone(), self.render(service, value, secrets)?));
        service.environment.iter().map(render).collect()
    }

    /// The content of a config or secret.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn content(
        &self,
        service: &Service,
        source: &FileSource,
        secrets: &Secrets,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        match source {
            FileSource::PublicFile(path) => {
                let digest =
                    self.manifest.files.iter().find(|file| file.name == *path).map(|file| file.digest);
                let content = digest.and_then(|digest| self.files.get(&digest)).cloned();
                Ok(Zeroizing::new(content.expect("each public file is in the manifest and was handed over")))
            }
            FileSource::SecretFile { secret_name, .. } => {
                let value = secrets.value(secret_name).ok_or_else(|| self.missing(service, secret_name))?;
                Ok(Zeroizing::new(value.to_vec()))
            }
            FileSource::Content(template) => {
                Ok(Zeroizing::new(self.render(service, template, secrets)?.into_bytes()))
            }
        }
    }

    /// The source of a config.
    pub fn config(&self, name: &str) -> Option<&FileSource> {
        self.compose.configs.get(name)
    }

    /// The source of a secret.
    pub fn secret(&self, name: &str) -> Option<&FileSource> {
        self.compose.secrets.get(name)
    }

    fn render(&self, service: &Service, value: &Template, secrets: &Secrets) -> Result<String, Error> {
        let lookup = |name: &str| secrets.text(name).or_else(|| self.manifest.substitutions.value(name));
        value.render(&lookup).map_err(|source| Error::Value { service: service.name.clone(), source })
    }

    fn missing(&self, service: &Service, name: &str) -> Error {
        let source = casemate_workload::template::Missing { name: name.to_owned(), message: None };
        Error::Value { service: service.name.clone(), source }
    }
}
