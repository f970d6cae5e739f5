//! casemate-workload
