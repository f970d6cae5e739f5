//! What vectors of TPMs, logs, clouds and devices expect, in words that can be compared.
#![allow(dead_code, unused_imports)] // each test file uses its part

#[path = "../vector/folders.rs"]
mod folders;

use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_evidence::x509::Certificate;
pub use folders::{Vector, for_each_vector, root};
use serde_json::{Map, Value, json};

/// Both libraries must give the same answer.
pub const BACK_ENDS: [&dyn Provider; 2] = [&AwsLc, &RustCrypto];

/// A span of time in milliseconds since 1970.
pub struct Window {
    pub start: u64,
    pub end: u64,
}

impl Window {
    pub fn middle(&self) -> u64 {
        self.start + (self.end - self.start) / 2
    }
}

impl Vector {
    pub fn result(&self) -> &str {
        self.json["expected"]["result"].as_str().expect("a vector expects a result")
    }

    pub fn fields(&self) -> &Map<String, Value> {
        self.json["fields"].as_object().expect("a vector has fields")
    }

    /// Compares each field with what `found` gives for its name.
    pub fn check_fields(&self, mut found: impl FnMut(&str, &Value) -> Value) {
        for (name, expected) in self.fields() {
            assert_eq!(found(name, expected), *expected, "{}: field {name}", self.name);
        }
    }

    pub fn optional_file(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join(name)).ok()
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(name)).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.file(name)).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name))
    }

    /// The DER contents of a PEM file, any number of them.
    pub fn pem(&self, name: &str) -> Vec<Vec<u8>> {
        let blocks = self.optional_file(name).map(|bytes| String::from_utf8(bytes).expect("PEM is text"));
        pem_blocks(&blocks.unwrap_or_default())
    }

    /// The certificates of a PEM file; none if there is no such file.
    pub fn certificates(&self, name: &str) -> Vec<Certificate> {
        let parse = |der: &Vec<u8>| {
            Certificate::parse(der).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name))
        };
        self.pem(name).iter().map(parse).collect()
    }

    /// `expected.valid_from` to `expected.valid_until`.
    pub fn window(&self) -> Window {
        let at = |name: &str| {
            let text = self.json["expected"][name].as_str();
            unix_ms(text.unwrap_or_else(|| panic!("{}: expected.{name}", self.name)))
        };
        Window { start: at("valid_from"), end: at("valid_until") }
    }
}

/// The DER contents of every PEM block in `text`.
pub fn pem_blocks(text: &str) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN ") {
        let block = &rest[start..];
        let marker = block.find("-----END ").expect("a PEM block ends");
        let end = marker + block[marker..].find('\n').unwrap_or(block.len() - marker);
        let (_, der) = der::pem::decode_vec(&block.as_bytes()[..end]).expect("a PEM block is well formed");
        blocks.push(der);
        rest = &block[end..];
    }
    blocks
}

pub fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn hex(bytes: &[u8]) -> Value {
    json!(hex_text(bytes))
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text:?} is not hexadecimal");
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("digits")).collect()
}

pub fn unix_ms(text: &str) -> u64 {
    let text = text.strip_suffix("+00:00").unwrap_or_else(|| panic!("{text:?} is not in UTC"));
    let time: x509_cert::der::DateTime = format!("{text}Z").parse().expect("an RFC 3339 time");
    u64::try_from(time.unix_duration().as_millis()).expect("a time after 1970")
}

pub fn iso_time(ms: u64) -> String {
    let time = x509_cert::der::DateTime::from_unix_duration(std::time::Duration::from_millis(ms));
    time.expect("a time before year 10000").to_string().replace('Z', "+00:00")
}
