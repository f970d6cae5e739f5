//! How is another service reached?

use reqwest::{Client, Method, Response};
use serde::de::DeserializeOwned;

use casemate_api::problem::Problem;

use crate::Error;

/// A service behind `unix:PATH` or `http://HOST:PORT`.
#[derive(Debug, Clone)]
pub struct Dial {
    whom: &'static str,
    address: String,
    base: String,
    client: Client,
}

impl Dial {
    /// Prepares to reach `whom` at `address`; nothing is dialled yet.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn new(whom: &'static str, address: &str) -> Result<Self, Error> {
        let wrong = || Error::Address { found: address.to_owned() };
        // An answer that never ends is an attack by the peer; booting takes less than this.
        let builder = Client::builder().timeout(std::time::Duration::from_secs(120)).no_proxy();
        let (client, base) = match address.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => {
                (builder.unix_socket(path).build(), "http://localhost".to_owned())
            }
            Some(_) => return Err(wrong()),
            None if address.starts_with("http://") || address.starts_with("https://") => {
                (builder.build(), address.trim_end_matches('/').to_owned())
            }
            None => return Err(wrong()),
        };
        Ok(Self { whom, address: address.to_owned(), base, client: client.map_err(|_| wrong())? })
    }

    /// Where it is dialled, as it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends `body`, if any, and returns the answer if it is 2xx.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Refused`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<reqwest::Body>,
    ) -> Result<Response, Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.header("content-type", content_type).body(body);
        }
        let answer = request.send().await.map_err(|source| self.unreachable(source))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(|source| self.unreachable(source))?;
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            code: "refused".to_owned(),
            message: format!("the {} answered with HTTP status {status} and no reason", self.whom),
            hint: None,
        });
        Err(Error::Refused { whom: self.whom, status, problem })
    }

    /// Sends JSON, if any, and reads JSON.
    ///
    /// # Errors
    /// As [`Dial::send`], and [`Error::Unexpected`].
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl serde::Serialize + ?Sized)>,
        expected: &'static str,
    ) -> Result<T, Error> {
        let body = body.map(|body| serde_json::to_vec(body).expect("API types are plain JSON").into());
        let answer = self.send(method, path, "application/json", body).await?;
        let bytes = answer.bytes().await.map_err(|source| self.unreachable(source))?;
        serde_json::from_slice(&bytes).map_err(|_| Error::Unexpected { whom: self.whom, expected })
    }

    /// Sends bytes and reads bytes.
    ///
    /// # Errors
    /// As [`Dial::send`].
    pub async fn bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<reqwest::Body>,
    ) -> Result<Vec<u8>, Error> {
        let answer = self.send(method, path, "application/cbor", body).await?;
        Ok(answer.bytes().await.map_err(|source| self.unreachable(source))?.to_vec())
    }

    fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { whom: self.whom, address: self.address.clone(), source }
    }
}
