//! casemate-verify
