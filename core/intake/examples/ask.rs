//! `ask REQUEST FILE...`: prints the reply to a request (`docs/reference/question.md`) about files.
//!
//! It shows how a binding uses this crate, and is what the tests of the other languages compare theirs with.

use casemate_intake::{File, call};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let request = arguments.next().unwrap_or_default();
    let mut files = Vec::new();
    for path in arguments {
        let name = std::path::Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, std::fs::read(path)?));
    }
    let files: Vec<_> = files.iter().map(|(name, bytes)| File { name, bytes }).collect();
    println!("{}", call(request.as_bytes(), &files, casemate_crypto::provider()));
    Ok(())
}
