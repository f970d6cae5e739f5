//! Which app, key service, workload or instance is meant?

casemate_canon::byte_type! {
    /// An app: SHA-256 of its genesis (`docs/reference/records.md`).
    pub struct AppId([u8; 32]);
}

casemate_canon::byte_type! {
    /// A key service: SHA-256 of its genesis (`docs/reference/records.md`).
    pub struct KmsId([u8; 32]);
}

casemate_canon::byte_type! {
    /// A workload: SHA-256 of its manifest's CBOR. On SEV-SNP this is HOST_DATA.
    pub struct WorkloadDigest([u8; 32]);
}

casemate_canon::byte_type! {
    /// One instance of an app, chosen at random by its owner when the instance is created.
    pub struct InstanceId([u8; 16]);
}
