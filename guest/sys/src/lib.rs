//! casemate-guest-sys
