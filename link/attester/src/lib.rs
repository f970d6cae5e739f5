//! casemate-attester
