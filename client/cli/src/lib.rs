//! casemate-cli
