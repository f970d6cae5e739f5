//! casemate-measure
