//! Which root filesystem does the measured command line name?
//!
//! The command line is the image builder's and is measured with the kernel; nothing on it differs per
//! tenant or launch. Only words that begin with `casemate.` concern init: exactly `casemate.root` and
//! `casemate.root_blocks`, each once. The other words are the kernel's.

use casemate_guest_sys::device_mapper::Verity;

/// Reads dm-verity's parameters from the kernel's command line.
///
/// # Errors
/// [`CommandLineError`].
pub fn root_verity(command_line: &str) -> Result<Verity, CommandLineError> {
    let mut root_hash = None;
    let mut root_blocks = None;
    for word in command_line.split_ascii_whitespace() {
        let Some(ours) = word.strip_prefix("casemate.") else { continue };
        let place = match ours.split_once('=') {
            Some(("root", value)) => (&mut root_hash, value, ROOT),
            Some(("root_blocks", value)) => (&mut root_blocks, value, ROOT_BLOCKS),
            _ => return Err(CommandLineError::Unknown { word: word.chars().take(64).collect() }),
        };
        let (slot, value, word) = place;
        if slot.replace(value).is_some() {
            return Err(CommandLineError::Repeated { word });
        }
    }
    let root_hash = root_hash.ok_or(CommandLineError::Missing { word: ROOT })?;
    let root_blocks = root_blocks.ok_or(CommandLineError::Missing { word: ROOT_BLOCKS })?;
    Ok(Verity { root_hash: parse_hash(root_hash)?, data_blocks: parse_blocks(root_blocks)? })
}

/// Why the command line does not name a root filesystem.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandLineError {
    /// A word is not there.
    #[error("the kernel command line lacks {word}; the image's builder writes it")]
    Missing {
        /// Which.
        word: &'static str,
    },
    /// A word is there twice.
    #[error("the kernel command line has {word} more than once; the image's builder writes it once")]
    Repeated {
        /// Which.
        word: &'static str,
    },
    /// A word that begins like ours and is not.
    #[error("the kernel command line has {word:?}, expected only casemate.root and casemate.root_blocks")]
    Unknown {
        /// The word, or its first 64 characters.
        word: String,
    },
    /// The root hash is not 64 lower-case hexadecimal digits.
    #[error("casemate.root has {found} characters that are not all 64 lower-case hexadecimal digits")]
    Hash {
        /// Its length in characters.
        found: usize,
    },
    /// The number of blocks is not a canonical decimal number from 1 to 2^32.
    #[error("casemate.root_blocks is no decimal number from 1 to {maximum} without leading zeros", maximum = MAXIMUM_BLOCKS)]
    Blocks,
}

fn parse_hash(text: &str) -> Result<[u8; 32], CommandLineError> {
    let refused = CommandLineError::Hash { found: text.len() };
    if text.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return Err(refused);
    }
    let hash: casemate_crypto::hash::Sha256 = text.parse().map_err(|_| refused)?;
    Ok(*hash.as_bytes())
}

fn parse_blocks(text: &str) -> Result<u64, CommandLineError> {
    let canonical = text.bytes().all(|digit| digit.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(blocks @ 1..=MAXIMUM_BLOCKS) if canonical => Ok(blocks),
        _ => Err(CommandLineError::Blocks),
    }
}

const ROOT: &str = "casemate.root";
const ROOT_BLOCKS: &str = "casemate.root_blocks";
const MAXIMUM_BLOCKS: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn parse(tail: &str) -> Result<Verity, CommandLineError> {
        root_verity(&format!("console=ttyS0 quiet panic=-1 random.trust_bootloader=off {tail}\n"))
    }

    #[test]
    fn the_builder_s_line_is_read() {
        let verity = parse(&format!("casemate.root={HASH} casemate.root_blocks=5120")).unwrap();
        assert_eq!(verity.root_hash[31], 0x1f);
        assert_eq!(verity.data_blocks, 5120);
    }

    #[test]
    fn a_missing_word_is_named() {
        let hash = format!("casemate.root={HASH}");
        assert_eq!(parse(&hash), Err(CommandLineError::Missing { word: ROOT_BLOCKS }));
        assert_eq!(parse("casemate.root_blocks=1"), Err(CommandLineError::Missing { word: ROOT }));
    }

    #[test]
    fn a_repeated_word_is_refused_even_if_equal() {
        let line = format!("casemate.root={HASH} casemate.root={HASH} casemate.root_blocks=1");
        assert_eq!(parse(&line), Err(CommandLineError::Repeated { word: ROOT }));
        let line = format!("casemate.root={HASH} casemate.root_blocks=1 casemate.root_blocks=2");
        assert_eq!(parse(&line), Err(CommandLineError::Repeated { word: ROOT_BLOCKS }));
    }

    #[test]
    fn unknown_words_of_ours_are_refused() {
        for word in ["casemate.debug", "casemate.root", "casemate.root_offset=4096", "casemate."] {
            let line = format!("casemate.root={HASH} casemate.root_blocks=1 {word}");
            assert_eq!(parse(&line), Err(CommandLineError::Unknown { word: word.into() }));
        }
    }

    #[test]
    fn another_spelling_of_the_hash_is_refused() {
        for hash in [&HASH[1..], &HASH.to_uppercase(), &format!("{HASH}00"), "", &"g".repeat(64)] {
            let line = format!("casemate.root={hash} casemate.root_blocks=1");
            assert_eq!(parse(&line), Err(CommandLineError::Hash { found: hash.len() }), "{hash}");
        }
    }

    #[test]
    fn another_spelling_of_the_blocks_is_refused() {
        for blocks in ["", "0", "01", "+1", "-1", "0x10", "1 ", "4294967297", "99999999999999999999"] {
            let line = format!("casemate.root={HASH} casemate.root_blocks={blocks}");
            let expected = if blocks == "1 " { Ok(1) } else { Err(CommandLineError::Blocks) };
            assert_eq!(parse(&line).map(|verity| verity.data_blocks), expected, "{blocks}");
        }
    }
}
