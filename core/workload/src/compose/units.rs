//! How long, how large, and which words?

/// Milliseconds of a Compose duration: `1h2m3s`, `500ms`, `90s`. Units `h m s ms us`, whole numbers.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total_us: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_length = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit_us = match &rest[..unit_length] {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return None,
        };
        total_us = total_us.checked_add(number.checked_mul(unit_us)?)?;
        rest = &rest[unit_length..];
    }
    (!text.is_empty()).then_some(total_us / 1000)
}

/// Bytes of a Compose size: `512`, `64k`, `300m`, `2gb`; units are powers of 1024.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Permissions written in octal with a leading zero: `0444`, `0o444`, or `1777` (four digits).
pub(super) fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    if !(3..=5).contains(&digits.len()) || !digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return None;
    }
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// The words of a command line, as a POSIX shell splits it before any expansion.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(next) = characters.next() {
        match next {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            '\n' => {}
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => match characters.next()? {
                '\n' => {}
                escaped => word.get_or_insert_default().push(escaped),
            },
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

/// Whether `text` names a service, volume, config or secret.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

/// Whether `text` is a lower-case DNS name with at least one dot.
pub(super) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
        && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Whether `text` is an absolute path in one spelling: no `.`, `..`, empty part or trailing slash.
pub(super) fn is_absolute_path(text: &str) -> bool {
    text.len() <= 1024
        && text.strip_prefix('/').is_some_and(|rest| {
            !rest.is_empty() && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
        })
}

/// `./a/b` or `a/b` without leaving the folder, in the one spelling `a/b`.
pub(super) fn relative_path(text: &str) -> Option<String> {
    let rest = text.strip_prefix("./").unwrap_or(text);
    let plain = rest.len() <= 1024
        && !rest.is_empty()
        && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !rest.contains('\\');
    plain.then(|| rest.to_owned())
}

/// Whether a plain scalar is a number that YAML readers normalise: `1.10`, `0755`, `1e3`, `0x1F`.
pub(super) fn is_ambiguous_number(text: &str) -> bool {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return false;
    }
    if text.parse::<i64>().is_ok_and(|number| number.to_string() == text) {
        return false;
    }
    let digits = text.trim_start_matches(['+', '-']);
    let radix = ["0x", "0X", "0o", "0O", "0b", "0B"].iter().any(|prefix| digits.starts_with(prefix));
    radix
        || text.replace('_', "").parse::<f64>().is_ok()
        || matches!(digits, ".inf" | ".nan" | ".NaN" | ".Inf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration_ms("1h2m3s4ms"), Some(3_723_004));
        assert_eq!(duration_ms("90s"), Some(90_000));
        for text in ["", "10", "s", "1.5s", "1d", "-1s", "1s ", "99999999999999999999s", "9999999999999999h"]
        {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size_bytes("2g"), Some(2 << 30));
        assert_eq!(size_bytes("64KB"), Some(64 << 10));
        assert_eq!(size_bytes("7"), Some(7));
        for text in ["", "g", "1.5g", "1t", "-1", "99999999999g"] {
            assert_eq!(size_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn command_lines() {
        assert_eq!(words(r#"a 'b c' "d \"e" f\ g ''"#).unwrap(), ["a", "b c", "d \"e", "f g", ""]);
        assert_eq!(words("a 'b"), None);
        assert_eq!(words("a\\"), None);
    }

    #[test]
    fn paths_have_one_spelling() {
        assert!(is_absolute_path("/var/lib"));
        for text in ["", "/", "var", "/a/", "/a//b", "/a/../b", "/./a"] {
            assert!(!is_absolute_path(text), "{text}");
        }
        assert_eq!(relative_path("./a/b").as_deref(), Some("a/b"));
        for text in ["", ".", "..", "../a", "/a", "a/../b", "./"] {
            assert_eq!(relative_path(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_that_programs_print_differently() {
        for text in ["1.10", "0755", "1e3", "0x1F", "1_000", "+1", ".5", "1.0"] {
            assert!(is_ambiguous_number(text), "{text}");
        }
        for text in ["1", "0", "-5", "10.0.0.1", "8080:80", "1.2.3", "5s", "abc"] {
            assert!(!is_ambiguous_number(text), "{text}");
        }
    }
}
