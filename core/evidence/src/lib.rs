//! casemate-evidence
