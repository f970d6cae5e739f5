//! casemate-tests
