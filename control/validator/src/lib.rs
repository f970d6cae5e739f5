//! casemate-validator
