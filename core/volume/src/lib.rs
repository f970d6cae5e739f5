//! casemate-volume
