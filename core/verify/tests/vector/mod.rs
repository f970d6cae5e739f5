//! What vectors of SNP, TDX and SGX expect, in words that can be compared.
#![allow(dead_code, unused_imports)] // each test file uses its part

mod folders;

pub use folders::{Vector, for_each_vector};
use serde_json::{Map, Value, json};

impl Vector {
    pub fn result(&self) -> String {
        self.json["expected"]["result"].as_str().expect("a vector expects a result").to_owned()
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(name)).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name))
    }
}

pub fn check_fields(vector: &Vector, fields: &Map<String, Value>, found: impl Fn(&str, &Value) -> Value) {
    for (name, expected) in fields {
        assert_eq!(found(name, expected), *expected, "{}: field {name}", vector.name);
    }
}

pub fn hex(bytes: &[u8]) -> Value {
    json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub fn serial(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

pub fn unix_ms(text: &str) -> u64 {
    let utc = text.strip_suffix("+00:00").or(text.strip_suffix('Z'));
    let text = utc.unwrap_or_else(|| panic!("{text:?} is not in UTC"));
    let time: x509_cert::der::DateTime = format!("{text}Z").parse().expect("an RFC 3339 time");
    u64::try_from(time.unix_duration().as_millis()).expect("a time after 1970")
}

pub fn iso_time(ms: u64) -> String {
    let time = x509_cert::der::DateTime::from_unix_duration(std::time::Duration::from_millis(ms));
    time.expect("a time before year 10000").to_string().replace('Z', "+00:00")
}
