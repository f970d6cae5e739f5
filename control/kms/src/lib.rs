//! casemate-kms
