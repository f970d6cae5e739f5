//! What does the world hear when the guest gives up?
//!
//! One public code and one line; neither holds anything that a container or an owner said.

use casemate_api::progress::FailureCode;

/// Why the guest powers off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What init left cannot be read.
    #[error("cannot read {path}: {source}; init and agent must come from one image")]
    Handover {
        /// The file.
        path: &'static str,
        /// What failed.
        source: std::io::Error,
    },
    /// What init left is not well formed.
    #[error("handover: {0}; init and agent must come from one image")]
    HandoverEncoding(#[from] casemate_canon::Error),
    /// The workload is refused.
    #[error(transparent)]
    Workload(#[from] crate::workload::Error),
    /// The kernel or a program of the root failed.
    #[error(transparent)]
    System(crate::system::Error),
    /// The network failed.
    #[error(transparent)]
    Network(crate::system::Error),
    /// The resolver's address cannot be used.
    #[error("cannot answer names on {address}: {source}")]
    Resolver {
        /// Address and port.
        address: std::net::SocketAddr,
        /// What failed.
        source: std::io::Error,
    },
    /// The root is not the measured one any more.
    #[error(transparent)]
    Root(#[from] crate::root::Error),
    /// An image is refused.
    #[error(transparent)]
    Image(#[from] crate::images::Error),
    /// A service cannot be prepared.
    #[error(transparent)]
    Service(#[from] crate::service::Error),
    /// A service that may ask for evidence has no socket for it.
    #[error(transparent)]
    ServiceEvidence(#[from] crate::service_evidence::Error),
    /// A service ended before everything worked.
    #[error("service {service} ended with code {code} before everything worked; its log says why")]
    ServiceEnded {
        /// Service.
        service: String,
        /// Its last exit code.
        code: u8,
    },
    /// The store of secrets failed.
    #[error(transparent)]
    Secrets(#[from] crate::secrets::Error),
    /// The relay's port is not there.
    #[error(transparent)]
    Port(#[from] casemate_transport::port::PortError),
    /// The relay's port cannot be opened.
    #[error("cannot open the relay: {0}; the VM must be started by casemate-hostd")]
    Relay(#[source] std::io::Error),
    /// The lease ran out.
    #[error("the lease ran out {late_ms} ms ago and the seats have not renewed it; are they reachable?")]
    LeaseLapsed {
        /// How late it was noticed, in milliseconds.
        late_ms: u64,
    },
    /// A newer boot took over.
    #[error("the seats say that a newer boot of this instance has taken over; only one may run")]
    Superseded,
}

impl Error {
    /// Its public code.
    pub fn code(&self) -> FailureCode {
        match self {
            Error::Handover { .. } | Error::HandoverEncoding(_) => FailureCode::HandoverRefused,
            Error::Workload(crate::workload::Error::Value { .. }) | Error::Secrets(_) => {
                FailureCode::SecretsRefused
            }
            Error::Workload(_) => FailureCode::HandoverRefused,
            Error::System(_) => FailureCode::Environment,
            Error::Network(_) | Error::Resolver { .. } => FailureCode::NetworkFailed,
            Error::Root(_) => FailureCode::RootRefused,
            Error::Image(_) => FailureCode::ImageRefused,
            Error::Service(_) | Error::ServiceEvidence(_) | Error::ServiceEnded { .. } => {
                FailureCode::ServiceFailed
            }
            Error::Port(_) | Error::Relay(_) => FailureCode::RelayFailed,
            Error::LeaseLapsed { .. } => FailureCode::LeaseLapsed,
            Error::Superseded => FailureCode::Superseded,
        }
    }
}
