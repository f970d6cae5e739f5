//! casemate-api
