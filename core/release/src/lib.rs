//! casemate-release
