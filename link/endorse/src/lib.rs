//! casemate-endorse
