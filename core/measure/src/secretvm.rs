//! What does a SecretVM measure of its workload, and which builds does its publisher list?
//!
//! An importer: so that deployments of SecretVM can be checked from their public files. The compose file is in
//! RTMR 3 on TDX, and by the kernel's command line in the launch measurement on SEV-SNP. The lists are claims of
//! whoever publishes them; they count as reference values only for a relying party that trusts them.

use casemate_crypto::hash::{Sha256, Sha384};
use casemate_evidence::Measurement;
use casemate_evidence::tdx::LaunchRegisters;
use serde::Deserialize;

use crate::dstack::DstackEvents;
use crate::launch_description::LaunchDescription;
use crate::shape::GuestFeatures;
use crate::snp::LaunchError;
use crate::tdx::boot::register;

/// RTMR 3 of a SecretVM: digests of the compose file, of the root image and, if there is one, of the
/// archive of further files, each followed by 16 zeros.
pub fn rtmr3(compose: &Sha256, root_image: &Sha256, files: Option<&Sha256>) -> Measurement {
    let padded = |digest: &Sha256| {
        let mut bytes = [0; 48];
        bytes[..32].copy_from_slice(digest.as_ref());
        Sha384::from(bytes)
    };
    let digests: Vec<Sha384> =
        [Some(compose), Some(root_image), files].into_iter().flatten().map(padded).collect();
    register(&digests)
}

/// RTMR 3 of a SecretVM whose keys come from dstack's service.
pub fn rtmr3_with_dstack_keys(
    app_id: &[u8],
    compose: &Sha256,
    root_image: &Sha256,
    files: Option<&Sha256>,
) -> Measurement {
    let mut events = vec![
        ("app-id", app_id.to_vec()),
        ("compose-hash", compose.as_bytes().to_vec()),
        ("os-image-hash", root_image.as_bytes().to_vec()),
    ];
    events.extend(files.map(|files| ("docker-files-hash", files.as_bytes().to_vec())));
    DstackEvents { events }.rtmr3()
}

/// A line of the list of builds (`tdx.csv`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Size of machine: `small`.
    pub template: String,
    /// `prod` or `dev`, and where it runs.
    pub kind: String,
    /// Version of the artifacts.
    pub version: String,
    /// MRTD and RTMR 0 to 2.
    pub registers: LaunchRegisters,
    /// SHA-256 of the root image.
    pub root_image: Sha256,
}

/// An entry of the list of builds for SEV-SNP (`sev.json`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SnpBuild {
    /// `prod` or `dev`, and where it runs.
    #[serde(rename = "vm_type")]
    pub kind: String,
    /// Version of the artifacts.
    #[serde(rename = "artifacts_ver")]
    pub version: String,
    rootfs_hash: Sha256,
    #[serde(default)]
    cmdline_extra: Option<String>,
    #[serde(flatten)]
    launch: LaunchDescription,
}

/// Why a text is no list of builds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Larger than any list.
    #[error("{found} bytes, at most {MAXIMUM_BYTES} are accepted")]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// The list for SEV-SNP is not JSON, or a member is missing or of another type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The first line names other columns.
    #[error("the first line is {found:?}, expected {}", COLUMNS.join(","))]
    Header {
        /// The line.
        found: String,
    },
    /// A line with another number of cells.
    #[error("line {line} has {found} cells, expected {}", COLUMNS.len())]
    Cells {
        /// Number of the line, from 1.
        line: usize,
        /// Cells found.
        found: usize,
    },
    /// A cell that is no digest.
    #[error("line {line}: {column} is {found:?}: {source}")]
    Digest {
        /// Number of the line, from 1.
        line: usize,
        /// The column.
        column: &'static str,
        /// The cell.
        found: String,
        /// What is wrong with it.
        source: casemate_canon::ParseBytesError,
    },
}

impl Build {
    /// Reads the list, all of its lines.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ListError> {
        if text.len() > MAXIMUM_BYTES {
            return Err(ListError::TooLong { found: text.len() });
        }
        let mut lines = text.lines().enumerate();
        let header = lines.next().map_or("", |(_, line)| line);
        if header.split(',').map(str::trim).ne(COLUMNS) {
            return Err(ListError::Header { found: header.to_owned() });
        }
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| Self::parse_line(index + 1, line))
            .collect()
    }

    fn parse_line(line: usize, text: &str) -> Result<Self, ListError> {
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        if cells.len() != COLUMNS.len() {
            return Err(ListError::Cells { line, found: cells.len() });
        }
        Ok(Self {
            template: cells[0].to_owned(),
            kind: cells[1].to_owned(),
            version: cells[2].to_owned(),
            registers: LaunchRegisters {
                mrtd: digest(line, &cells, 3)?,
                rtmr0: digest(line, &cells, 4)?,
                rtmr1: digest(line, &cells, 5)?,
                rtmr2: digest(line, &cells, 6)?,
            },
            root_image: digest(line, &cells, 7)?,
        })
    }
}

impl SnpBuild {
    /// Reads the list, all of its entries.
    ///
    /// # Errors
    /// [`ListError::TooLong`], [`ListError::Json`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ListError> {
        if text.len() > MAXIMUM_BYTES {
            return Err(ListError::TooLong { found: text.len() });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// MEASUREMENT of this build with a compose file and, if there is one, an archive of further files.
    ///
    /// # Errors
    /// As [`LaunchDescription::measurement`].
    pub fn measurement(
        &self,
        compose: &Sha256,
        files: Option<&Sha256>,
        vcpus: u32,
    ) -> Result<Measurement, LaunchError> {
        let mut line = "console=ttyS0 loglevel=7".to_owned();
        if let Some(extra) = &self.cmdline_extra {
            line.extend([" ", extra]);
        }
        line += &format!(" docker_compose_hash={compose} rootfs_hash={}", self.rootfs_hash);
        if let Some(files) = files {
            line += &format!(" docker_additional_files_hash={files}");
        }
        self.launch.measurement(&line, vcpus, GuestFeatures::SNP)
    }
}

fn digest<T>(line: usize, cells: &[&str], column: usize) -> Result<T, ListError>
where
    T: std::str::FromStr<Err = casemate_canon::ParseBytesError>,
{
    cells[column].parse().map_err(|source| ListError::Digest {
        line,
        column: COLUMNS[column],
        found: cells[column].to_owned(),
        source,
    })
}

const MAXIMUM_BYTES: usize = 4 << 20;

const COLUMNS: [&str; 9] = [
    "template_name",
    "vm_type",
    "artifacts_ver",
    "mrtd",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rootfs_data",
    "host_id",
];
