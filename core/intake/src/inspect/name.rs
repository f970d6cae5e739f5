//! What is somebody called in a certificate?
//!
//! RFC 4514. Kinds of names are written as words where vendors use them; the table of all that have one would make the
//! module of the browsers too large.

use der::{Encode, Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

/// The parts of a name, the last one first (RFC 4514 §2.1).
pub(super) fn write_name(name: &Name) -> String {
    let mut parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(write_part).collect::<Vec<_>>().join("+")).collect();
    parts.reverse();
    parts.join(",")
}

/// A word and a text, or an OID and the digits of any other value (RFC 4514 §2.3 and §2.4).
fn write_part(part: &AttributeTypeAndValue) -> String {
    let oid = part.oid.to_string();
    let word = WORDS.iter().find(|(known, _)| *known == oid).map(|(_, word)| *word);
    let is_text = matches!(
        part.value.tag(),
        Tag::PrintableString | Tag::Utf8String | Tag::Ia5String | Tag::TeletexString
    );
    let text = std::str::from_utf8(part.value.value()).ok().filter(|_| is_text);
    match (word, text) {
        (Some(word), Some(text)) => format!("{word}={}", escape(text)),
        _ => {
            let value = part.value.to_der().expect("what was read can be written");
            format!("{oid}=#{}", hex::encode(value))
        }
    }
}

/// What would otherwise end a part, or be taken for its form; of control characters the digits.
fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut escaped = String::new();
    for (index, c) in text.chars().enumerate() {
        match c {
            '#' if index == 0 => escaped.push_str("\\#"),
            ' ' if index == 0 || index == last => escaped.push_str("\\ "),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => escaped.extend(['\\', c]),
            '\0'..='\x1f' | '\x7f' => escaped.push_str(&format!("\\{:02x}", u32::from(c))),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// RFC 4514 §3; of what it has no word for, those that OpenSSL writes and vendors of TPMs use.
const WORDS: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_by_rfc_4514() {
        // The examples of §4, as far as their words are in the table above.
        for text in [
            "UID=jsmith,DC=example,DC=net",
            "OU=Sales+CN=J.  Smith,DC=example,DC=net",
            "CN=James \\\"Jim\\\" Smith\\, III,DC=example,DC=net",
            "CN=Before\\0dAfter,DC=example,DC=net",
            "CN=\\#1\\ ,O=\\ x",
            "1.3.6.1.4.1.1466.0=#04024869",
        ] {
            let name: Name = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            let written = write_name(&name);
            let read: Name = written.parse().expect("a name");
            assert_eq!(read, name, "{written}");
            assert_eq!(written, text);
        }
    }
}
