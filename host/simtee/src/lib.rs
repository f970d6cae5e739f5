//! casemate-simtee
