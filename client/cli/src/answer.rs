//! How much of an answer is read?
//!
//! Whoever answers is not trusted: an answer that never ends must not fill this machine's memory.

use reqwest::Response;

/// Why an answer was not read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It is longer than any such answer.
    #[error("answered {found} bytes or more, at most {maximum} are read")]
    TooLarge {
        /// Its length as it was announced, else how much had come.
        found: u64,
        /// Limit in bytes.
        maximum: usize,
    },
    /// It broke off.
    #[error("broke off its answer: {source}")]
    Broken {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// Reads an answer of at most `maximum` bytes.
///
/// # Errors
/// [`AnswerError::TooLarge`], before anything is read where the answer says its length;
/// [`AnswerError::Broken`].
pub async fn read(mut response: Response, maximum: usize) -> Result<Vec<u8>, AnswerError> {
    if let Some(found) = response.content_length().filter(|length| *length > maximum as u64) {
        return Err(AnswerError::TooLarge { found, maximum });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| AnswerError::Broken { source })? {
        let found = bytes.len() + chunk.len();
        if found > maximum {
            return Err(AnswerError::TooLarge { found: found as u64, maximum });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
