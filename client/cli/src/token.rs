//! With which token does this person show a validator who they are?

use std::path::Path;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use crate::{Error, files};

/// A validator's token. It has no `Display`, and its `Debug` shows nothing of it.
pub struct Token(HeaderValue);

impl Token {
    /// Greatest length, in characters.
    pub const MAXIMUM_LEN: usize = 4096;

    /// The token in a file: its one line.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::File`], [`Error::FileTooLarge`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = Zeroizing::new(files::read(path, Self::MAXIMUM_LEN as u64 + 2)?);
        let none = || Error::Token { path: path.to_owned() };
        let line = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| none())?;
        let is_token =
            (1..=Self::MAXIMUM_LEN).contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token {
            return Err(none());
        }
        let text = Zeroizing::new(format!("Bearer {line}"));
        let mut value = HeaderValue::from_str(&text).map_err(|_| none())?;
        value.set_sensitive(true);
        Ok(Token(value))
    }

    /// What each request carries (RFC 6750 §2.1).
    pub(crate) fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, self.0.clone())])
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}
