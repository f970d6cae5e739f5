//! What do the seats say to a submission?
//!
//! Every seat gets it, all at the same time; receipts are carried back as they came. Nothing here is
//! signed by the validator: whoever sent the submission knows the seats' keys and counts for itself.

use axum::body::Bytes;
use casemate_api::{
    problem::Problem,
    validator::{RecordsTaken, SeatRefusal},
};
use reqwest::Method;
use tokio::task::JoinSet;

use crate::{Error, Validator};

/// Longest receipt carried, in bytes; a seat's has some 250.
const MAXIMUM_RECEIPT_BYTES: usize = 4096;

impl Validator {
    /// Hands `body` to every seat.
    ///
    /// # Errors
    /// What the first seat said, if none gave a receipt.
    pub(crate) async fn submit(&self, body: Bytes) -> Result<RecordsTaken, Error> {
        let mut calls = JoinSet::new();
        for (place, seat) in self.seats.iter().enumerate() {
            let (seat, body) = (seat.clone(), reqwest::Body::from(body.clone()));
            calls.spawn(async move { (place, seat.bytes(Method::POST, "/v1/records", Some(body)).await) });
        }
        let mut answers = calls.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        let (mut receipts, mut refused) = (Vec::new(), Vec::new());
        for (place, answer) in answers {
            match answer {
                Ok(receipt) if receipt.len() <= MAXIMUM_RECEIPT_BYTES => {
                    receipts.push(receipt.iter().map(|byte| format!("{byte:02x}")).collect());
                }
                Ok(_) => refused.push((place, Error::Unexpected { whom: "seat", expected: "a receipt" })),
                Err(error) => refused.push((place, error)),
            }
        }
        if receipts.is_empty() {
            let none = || Error::Unexpected { whom: "seat", expected: "at least one seat" };
            return Err(refused.into_iter().next().map_or_else(none, |(_, error)| error));
        }
        let refusals = refused
            .into_iter()
            .map(|(place, error)| SeatRefusal {
                seat: u8::try_from(place + 1).unwrap_or(u8::MAX),
                problem: Problem::from(error),
            })
            .collect();
        Ok(RecordsTaken { receipts, refusals })
    }
}
