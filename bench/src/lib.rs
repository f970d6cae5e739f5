//! casemate-bench
