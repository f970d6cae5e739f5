//! casemate-hostd
