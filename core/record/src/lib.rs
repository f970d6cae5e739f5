//! casemate-record
