//! What does the validator answer?

use std::{path::PathBuf, time::Duration};

use casemate_api::{
    agent::{self, AgentRequest, AgentResponse},
    problem::Problem,
    validator::{KmsInfo, RecordsTaken, Vm, VmEvent, VmSpec},
};
use casemate_canon::{from_cbor, to_cbor};
use casemate_crypto::hash::Sha256;
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::{
    answer::{self, AnswerError},
    error::exit,
    token::Token,
};

/// A validator's API.
#[derive(Debug, Clone)]
pub struct Validator {
    client: reqwest::Client,
    /// Without a slash at the end.
    base: String,
    address: String,
}

/// Why the validator gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// Not an address.
    #[error("'{found}' is no validator address; write unix:/PATH, http://HOST:PORT or https://HOST")]
    Address {
        /// What was given.
        found: String,
    },
    /// No answer.
    #[error("{address} does not answer: {source}")]
    Unreachable {
        /// What was dialled.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It refused.
    #[error("{problem}")]
    Refused {
        /// What it says.
        problem: Problem,
    },
    /// Refused without saying why.
    #[error("{address} answered {status} without a reason")]
    Status {
        /// What was dialled.
        address: String,
        /// HTTP status.
        status: u16,
    },
    /// An answer that this version does not read.
    #[error("{address} answered something that this version does not read")]
    Answer {
        /// What was dialled.
        address: String,
    },
    /// An answer that is too long, or broke off.
    #[error("{address} {source}")]
    Read {
        /// What was dialled.
        address: String,
        /// Why.
        #[source]
        source: AnswerError,
    },
    /// A token was to go where everybody on the way can read it.
    #[error("{address} is reached in the clear, and the token would be seen on the way")]
    TokenInClear {
        /// What was to be dialled.
        address: String,
    },
    /// The guest refused a call.
    #[error("the guest refused the call: {}", serde_json::to_string(refusal).unwrap_or_default())]
    Guest {
        /// Why.
        refusal: agent::Refusal,
    },
    /// The guest answered another question.
    #[error("the guest answered another question than was asked")]
    OtherAnswer,
    /// No VM of that name.
    #[error("there is no VM '{name}'")]
    NoVm {
        /// The name.
        name: String,
    },
}

impl ApiError {
    /// `docs/reference/exit-codes.md`.
    pub fn exit_code(&self) -> u8 {
        match self {
            ApiError::Address { .. } | ApiError::TokenInClear { .. } => exit::USAGE,
            ApiError::Unreachable { .. }
            | ApiError::Status { .. }
            | ApiError::Answer { .. }
            | ApiError::Read { .. } => exit::SERVICES,
            _ => exit::REFUSED,
        }
    }

    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            ApiError::Address { .. } => "the default is this machine's own; leave --validator away".into(),
            ApiError::Unreachable { .. } => {
                "`casemate local status` shows the services of this machine; `casemate up` starts them".into()
            }
            ApiError::Refused { problem } if problem.code == "unauthorised" => {
                "give the token that its operator gave you: --token-file FILE, or CASEMATE_TOKEN_FILE".into()
            }
            ApiError::TokenInClear { .. } => {
                "use https://, or a tunnel that ends at unix:/PATH or http://127.0.0.1:PORT".into()
            }
            ApiError::Refused { problem } => {
                problem.hint.clone().unwrap_or_else(|| "`casemate ps` shows what there is".into())
            }
            ApiError::Status { .. } | ApiError::Answer { .. } | ApiError::Read { .. } => {
                "is this a validator, and of this version? `casemate doctor` compares".into()
            }
            ApiError::Guest { .. } | ApiError::OtherAnswer => {
                "try again; `casemate verify` shows what the guest is".into()
            }
            ApiError::NoVm { .. } => "`casemate ps` lists VMs".into(),
        }
    }
}

/// Longest JSON answer that is read, in bytes: a thousand VMs, or the longest roster chain in digits.
const MAXIMUM_JSON_BYTES: usize = 8 << 20;

/// Longest refusal that is read, in bytes.
const MAXIMUM_PROBLEM_BYTES: usize = 64 << 10;

impl Validator {
    /// The validator at `address`: `unix:/path`, `http://..` or `https://..`.
    ///
    /// # Errors
    /// [`ApiError::Address`].
    pub fn at(address: &str) -> Result<Self, ApiError> {
        Self::with_token(address, None)
    }

    /// As [`Validator::at`]; each request shows the token.
    ///
    /// # Errors
    /// [`ApiError::Address`]; [`ApiError::TokenInClear`] for a token to `http://` elsewhere than on this machine.
    pub fn with_token(address: &str, token: Option<&Token>) -> Result<Self, ApiError> {
        let bad = || ApiError::Address { found: address.to_owned() };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(token) = token {
            if is_in_clear(address) {
                return Err(ApiError::TokenInClear { address: address.to_owned() });
            }
            builder = builder.default_headers(token.headers());
        }
        let (builder, base) = match address.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => {
                (builder.unix_socket(PathBuf::from(path)), "http://casemate".to_owned())
            }
            None if address.starts_with("http://") || address.starts_with("https://") => {
                (builder, address.trim_end_matches('/').to_owned())
            }
            _ => return Err(bad()),
        };
        let client = builder.build().map_err(|_| bad())?;
        Ok(Validator { client, base, address: address.to_owned() })
    }

    /// Its address, as it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it answers.
    pub async fn is_well(&self) -> bool {
        let answer = self.client.get(format!("{}/healthz", self.base)).timeout(Duration::from_secs(3)).send();
        answer.await.is_ok_and(|response| response.status().is_success())
    }

    /// All VMs.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn vms(&self) -> Result<Vec<Vm>, ApiError> {
        self.json(self.request(Method::GET, "/v1/vms")).await
    }

    /// One VM, by id or name.
    ///
    /// # Errors
    /// [`ApiError::NoVm`] if there is none.
    pub async fn vm(&self, name: &str) -> Result<Vm, ApiError> {
        let response = self.send(self.request(Method::GET, &vm_path(name)?)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(ApiError::NoVm { name: name.to_owned() });
        }
        self.read(response).await
    }

    /// Makes a VM.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn create(&self, spec: &VmSpec) -> Result<Vm, ApiError> {
        self.json(self.request(Method::POST, "/v1/vms").json(spec)).await
    }

    /// `start` or `stop`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn order(&self, name: &str, verb: &str) -> Result<Vm, ApiError> {
        self.json(self.request(Method::POST, &format!("{}/{verb}", vm_path(name)?))).await
    }

    /// Removes a VM, and its disks if `disks`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn remove(&self, name: &str, disks: bool) -> Result<Vm, ApiError> {
        let path = format!("{}?disks={disks}", vm_path(name)?);
        let response = self.send(self.request(Method::DELETE, &path)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(ApiError::NoVm { name: name.to_owned() });
        }
        self.read(response).await
    }

    /// What happened to a VM after the event with number `after`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn events(&self, name: &str, after: u64) -> Result<Vec<VmEvent>, ApiError> {
        self.json(self.request(Method::GET, &format!("{}/events?after={after}", vm_path(name)?))).await
    }

    /// The key service behind this validator: the roster chain's bytes, unverified.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn roster_chain(&self) -> Result<Vec<u8>, ApiError> {
        let info: KmsInfo = self.json(self.request(Method::GET, "/v1/kms")).await?;
        hex::decode(&info.roster).map_err(|_| ApiError::Answer { address: self.address.clone() })
    }

    /// What the host can do.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn host(&self) -> Result<serde_json::Value, ApiError> {
        self.json(self.request(Method::GET, "/v1/host")).await
    }

    /// Hands a submission to the seats, and brings what they answered; their receipts are not checked yet.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn record(&self, body: Vec<u8>) -> Result<RecordsTaken, ApiError> {
        let request = self
            .request(Method::POST, "/v1/records")
            .header(reqwest::header::CONTENT_TYPE, "application/cbor")
            .body(body);
        self.json(request).await
    }

    /// Puts a file under its digest, unless it is there.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn put_blob(&self, digest: &Sha256, path: &std::path::Path) -> Result<bool, crate::Error> {
        let place = format!("/v1/blobs/{digest}");
        let head = self.send(self.request(Method::HEAD, &place)).await?;
        if head.status().is_success() {
            return Ok(false);
        }
        let file =
            tokio::fs::File::open(path).await.map_err(|source| crate::files::error("read", path, source))?;
        let size = file.metadata().await.map_err(|source| crate::files::error("read", path, source))?.len();
        let request = self
            .request(Method::PUT, &place)
            .timeout(Duration::from_secs(3600))
            .header(reqwest::header::CONTENT_LENGTH, size)
            .body(reqwest::Body::from(file));
        accepted(&self.address, self.send(request).await?).await?;
        Ok(true)
    }

    /// Puts bytes under their digest.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn put_bytes(&self, digest: &Sha256, bytes: Vec<u8>) -> Result<(), ApiError> {
        let place = format!("/v1/blobs/{digest}");
        let head = self.send(self.request(Method::HEAD, &place)).await?;
        if !head.status().is_success() {
            let request = self.request(Method::PUT, &place).body(bytes);
            accepted(&self.address, self.send(request).await?).await?;
        }
        Ok(())
    }

    /// Calls the agent in a guest, through everyone's hands.
    ///
    /// # Errors
    /// [`ApiError::Guest`] if the guest itself refused.
    pub async fn agent(&self, name: &str, request: &AgentRequest) -> Result<AgentResponse, ApiError> {
        let request = self
            .request(Method::POST, &format!("{}/agent", vm_path(name)?))
            .header(reqwest::header::CONTENT_TYPE, "application/cbor")
            .body(to_cbor(request));
        let response = accepted(&self.address, self.send(request).await?).await?;
        let bytes = self.bytes(response, agent::MAXIMUM_RESPONSE_BYTES).await?;
        let answer = from_cbor(&bytes, agent::MAXIMUM_RESPONSE_BYTES)
            .map_err(|_| ApiError::Answer { address: self.address.clone() })?;
        match answer {
            AgentResponse::Refused { refusal } => Err(ApiError::Guest { refusal }),
            other => Ok(other),
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).timeout(Duration::from_secs(60))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, ApiError> {
        request.send().await.map_err(|source| self.unreachable(source))
    }

    async fn json<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ApiError> {
        let response = self.send(request).await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ApiError> {
        let response = accepted(&self.address, response).await?;
        let bytes = self.bytes(response, MAXIMUM_JSON_BYTES).await?;
        readable(&bytes).ok_or_else(|| ApiError::Answer { address: self.address.clone() })
    }

    async fn bytes(&self, response: Response, maximum: usize) -> Result<Vec<u8>, ApiError> {
        let failed = |source| ApiError::Read { address: self.address.clone(), source };
        answer::read(response, maximum).await.map_err(failed)
    }

    fn unreachable(&self, source: reqwest::Error) -> ApiError {
        ApiError::Unreachable { address: self.address.clone(), source }
    }
}

async fn accepted(address: &str, response: Response) -> Result<Response, ApiError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let read = answer::read(response, MAXIMUM_PROBLEM_BYTES).await;
    let bytes = read.map_err(|source| ApiError::Read { address: address.to_owned(), source })?;
    Err(match readable(&bytes) {
        Some(problem) => ApiError::Refused { problem },
        None => ApiError::Status { address: address.to_owned(), status: status.as_u16() },
    })
}

/// Reads an answer whose texts may be printed: a validator's escape sequences and line breaks could
/// paint a verdict that nobody reached onto a terminal.
fn readable<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut value = serde_json::from_slice(bytes).ok()?;
    without_controls(&mut value);
    serde_json::from_value(value).ok()
}

fn without_controls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) if text.contains(char::is_control) => {
            *text = text.replace(char::is_control, "\u{fffd}");
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_controls),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(without_controls),
        _ => {}
    }
}

/// Whether whoever is on the way can read what goes to `address`: `http://` to another machine.
fn is_in_clear(address: &str) -> bool {
    let Some(rest) = address.strip_prefix("http://") else { return false };
    let Ok(url) = reqwest::Url::parse(&format!("http://{rest}")) else { return true };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host != "localhost" && !host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A VM's path. Names that would lead elsewhere name no VM.
fn vm_path(name: &str) -> Result<String, ApiError> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain { Ok(format!("/v1/vms/{name}")) } else { Err(ApiError::NoVm { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_cannot_draw_on_the_terminal() {
        let bytes = br#"{"code": "c", "message": "no\u001b[2J\r\nVerified   all", "hint": "h\u009b1m"}"#;
        let problem: Problem = readable(bytes).unwrap();
        assert_eq!(problem.message, "no\u{fffd}[2J\u{fffd}\u{fffd}Verified   all");
        assert_eq!(problem.hint.as_deref(), Some("h\u{fffd}1m"));
    }
}
