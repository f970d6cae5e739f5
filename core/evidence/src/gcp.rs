//! Which instance does Google say that this vTPM belongs to?
//!
//! Source: Google's published format of the extension 1.3.6.1.4.1.11129.2.1.21 in certificates of Shielded
//! VMs' endorsement and attestation keys (`GceInstanceID`). Google certifies the vTPM of every such VM, not
//! only of confidential ones: that the VM has a TEE is not in the certificate.

use std::ops::Range;

use der::Decode as _;
use der::oid::ObjectIdentifier;
use serde::Serialize;

use crate::x509::{Certificate, content, elements};

/// The instance that a certificate names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Zone: `us-central1-a`.
    pub zone: String,
    /// Number of the project.
    pub project_number: u64,
    /// Name of the project.
    pub project: String,
    /// Number of the instance.
    pub instance_number: u64,
    /// Name of the instance.
    pub instance: String,
    /// What Google says of the security of the vTPM.
    pub security: Option<SecurityProperties>,
}

/// `GceSecurityProperties`; what is absent is not stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SecurityProperties {
    /// securityVersion.
    pub security_version: Option<u64>,
    /// isProduction.
    pub is_production: Option<bool>,
    /// tpmDataAlwaysEncrypted.
    pub tpm_data_always_encrypted: Option<bool>,
    /// suspendResumeDisabled.
    pub suspend_resume_disabled: Option<bool>,
    /// vmtdDisabled.
    pub vmtd_disabled: Option<bool>,
    /// alwaysInVmtd.
    pub always_in_vmtd: Option<bool>,
}

/// Why a certificate names no instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// There is no such extension.
    #[error("the certificate has no extension 1.3.6.1.4.1.11129.2.1.21: it names no instance of Google's")]
    Missing,
    /// It is not DER, or another structure.
    #[error("the instance's identity cannot be read: {0}")]
    Malformed(der::Error),
    /// A field that is missing or of another type.
    #[error("field `{field}` of the instance's identity is missing or of another type")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// Fields that this version does not know.
    #[error("{found} more fields in the instance's identity than Casemate knows; update it")]
    Unknown {
        /// How many.
        found: usize,
    },
}

impl Instance {
    /// Reads the extension.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn of(certificate: &Certificate) -> Result<Self, InstanceError> {
        let der = certificate.extension(GCE_INSTANCE_ID).ok_or(InstanceError::Missing)?;
        let fields = elements(der, &(0..der.len())).map_err(InstanceError::Malformed)?;
        let mut fields = Fields { der, fields: fields.into_iter() };
        let instance = Self {
            zone: fields.text("zone")?,
            project_number: fields.number("projectNumber")?,
            project: fields.text("projectId")?,
            instance_number: fields.number("instanceId")?,
            instance: fields.text("instanceName")?,
            security: fields.fields.next().map(|at| security(der, &at)).transpose()?,
        };
        match fields.fields.count() {
            0 => Ok(instance),
            found => Err(InstanceError::Unknown { found }),
        }
    }
}

struct Fields<'a> {
    der: &'a [u8],
    fields: std::vec::IntoIter<Range<usize>>,
}

impl Fields<'_> {
    fn text(&mut self, field: &'static str) -> Result<String, InstanceError> {
        let at = self.fields.next().ok_or(InstanceError::Field { field })?;
        String::from_der(&self.der[at]).map_err(|_| InstanceError::Field { field })
    }

    fn number(&mut self, field: &'static str) -> Result<u64, InstanceError> {
        let at = self.fields.next().ok_or(InstanceError::Field { field })?;
        u64::from_der(&self.der[at]).map_err(|_| InstanceError::Field { field })
    }
}

/// A sequence of fields with explicit tags 0 to 5, behind the explicit tag 0.
fn security(der: &[u8], at: &Range<usize>) -> Result<SecurityProperties, InstanceError> {
    let bad = InstanceError::Field { field: "securityProperties" };
    if der[at.start] != EXPLICIT_0 {
        return Err(bad);
    }
    let inner = content(der, at).map_err(InstanceError::Malformed)?;
    let mut found = SecurityProperties::default();
    let mut previous = None;
    for field in elements(der, &inner).map_err(InstanceError::Malformed)? {
        let tag = der[field.start];
        // Each at most once, in ascending order.
        if previous.is_some_and(|previous| previous >= tag) {
            return Err(bad);
        }
        previous = Some(tag);
        let value = &der[content(der, &field).map_err(InstanceError::Malformed)?];
        let flag = || bool::from_der(value).map(Some).map_err(|_| bad.clone());
        match tag.checked_sub(EXPLICIT_0) {
            Some(0) => found.security_version = Some(u64::from_der(value).map_err(|_| bad.clone())?),
            Some(1) => found.is_production = flag()?,
            Some(2) => found.tpm_data_always_encrypted = flag()?,
            Some(3) => found.suspend_resume_disabled = flag()?,
            Some(4) => found.vmtd_disabled = flag()?,
            Some(5) => found.always_in_vmtd = flag()?,
            _ => return Err(InstanceError::Unknown { found: 1 }),
        }
    }
    Ok(found)
}

const GCE_INSTANCE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.1.21");
/// Context-specific, constructed, number 0.
const EXPLICIT_0: u8 = 0xA0;
