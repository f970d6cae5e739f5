//! Is a generated part of the reference what the code says?

use std::path::PathBuf;

/// Compares the part of a page of `docs/reference` that stands between its marks with what was generated now;
/// writes it where `CASEMATE_UPDATE_DOCS` is set.
///
/// # Panics
/// If it is out of date.
#[track_caller]
pub fn compare(page: &str, part: &str, generated: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (begin, end) = (format!("<!-- generated: {part} -->\n"), format!("<!-- end: {part} -->"));
    let start = text.find(&begin).unwrap_or_else(|| panic!("{page} has no {begin}")) + begin.len();
    let stop = text.find(&end).unwrap_or_else(|| panic!("{page} has no {end}"));
    if std::env::var_os("CASEMATE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{generated}{}", &text[..start], &text[stop..]))
            .expect("the page can be written");
    } else {
        assert_eq!(&text[start..stop], generated, "{page} is out of date: CASEMATE_UPDATE_DOCS=1 writes it");
    }
}
