//! casemate-image
