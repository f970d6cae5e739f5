//! Does every comparison still run? Nothing here looks at how long it takes.

use casemate_bench::{
    browser,
    evidence::Evidence,
    machine::Facts,
    quote,
    quote_evidence::QuoteEvidence,
    release,
    table::{Results, Section},
    verify,
};

#[test]
fn verification_is_compared() {
    for evidence in [Evidence::simulated(), Evidence::find()] {
        complete(verify::measure(&evidence, 2), 10);
    }
}

/// Without the feature, the table says that the other side is missing.
#[test]
fn verification_of_quotes_is_compared() {
    let with_theirs = cfg!(feature = "dcap-qvl");
    for evidence in [QuoteEvidence::simulated(), QuoteEvidence::find()] {
        let section = quote::measure(&evidence, 2);
        assert_eq!(section.not_measured.is_empty(), with_theirs, "{:?}", section.not_measured);
        complete(section, if with_theirs { 10 } else { 3 });
    }
}

#[test]
#[ignore = "needs what `make web` builds; `make client-tests` runs it"]
fn verification_in_a_browser_is_compared() {
    for (report, quote) in
        [(Evidence::simulated(), QuoteEvidence::simulated()), (Evidence::find(), QuoteEvidence::find())]
    {
        let section = browser::measure(&report, &quote, 2);
        assert_eq!(section.not_measured, Vec::<String>::new());
        complete(section, 6);
    }
}

/// Real seat, simulated chip, built image.
#[test]
fn key_release_is_compared() {
    let Some(image) = casemate_tests::boot::image() else { return };
    complete(release::measure(&image, 2), 13);
}

fn complete(section: Section, least_rows: usize) {
    assert!(section.rows.len() >= least_rows, "{} rows", section.rows.len());
    for row in &section.rows {
        let numbers = [Some(row.ours), row.theirs, row.ratio].into_iter().flatten();
        for spread in numbers {
            assert!(spread.median.is_finite() && spread.minimum <= spread.median, "{row:?}");
            assert!(spread.median <= spread.maximum && spread.minimum >= 0.0, "{row:?}");
        }
        assert_eq!(row.promise.is_some(), row.kept.is_some(), "{row:?}");
    }
    let rows = section.rows.len();
    let results = Results { machine: Facts::here(), sections: vec![section] };
    let json: serde_json::Value = serde_json::from_str(&results.to_json()).expect("it is JSON");
    assert_eq!(json["sections"][0]["rows"].as_array().map(Vec::len), Some(rows));
    println!("{}", results.to_text());
}
