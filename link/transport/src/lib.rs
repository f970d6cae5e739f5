//! casemate-transport
