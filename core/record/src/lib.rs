//! What was decided, and by whom?
#![forbid(unsafe_code)]

mod ids;

pub use ids::{AppId, InstanceId, KmsId, WorkloadDigest};
