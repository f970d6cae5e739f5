//! Is this file here, and is it the one that was named?
//!
//! Public files, named by SHA-256 and checked before they get their name. A file that is here under
//! its name was whole when it was put; guests verify what they read all the same.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use casemate_api::host::{Blob, BlobDigest};
use sha2::{Digest as _, Sha256};
use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use crate::error::{Blame, Explain};

/// Why a blob is not stored or not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// Nothing is stored under this name.
    #[error("no blob {}", digest)]
    Absent {
        /// The name.
        digest: BlobDigest,
    },
    /// The bytes sent have another digest than their name.
    #[error("blob named {named} has digest {found}; nothing was stored")]
    WrongDigest {
        /// Name in the request.
        named: BlobDigest,
        /// Digest of what was sent.
        found: BlobDigest,
    },
    /// More bytes than one blob may have.
    #[error("blob of more than {maximum_bytes} bytes; nothing was stored")]
    TooLarge {
        /// The limit in bytes.
        maximum_bytes: u64,
    },
    /// The disk is full.
    #[error("no room for the blob after {written_bytes} bytes; nothing was stored")]
    DiskFull {
        /// Bytes written before the disk was full.
        written_bytes: u64,
    },
    /// The sender stopped in the middle.
    #[error("the sender stopped after {written_bytes} bytes; nothing was stored")]
    CutShort {
        /// Bytes that came.
        written_bytes: u64,
    },
    /// The state directory cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

impl Explain for BlobError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        match self {
            Self::Absent { .. } => ("blob_absent", Blame::Absent, "put it with PUT /v1/blobs/{sha256} first"),
            Self::WrongDigest { .. } => {
                ("blob_digest", Blame::Request, "name the blob by SHA-256 of exactly the bytes sent")
            }
            Self::TooLarge { .. } => {
                ("blob_too_large", Blame::TooLarge, "make the image smaller, or raise --max-blob-bytes")
            }
            Self::DiskFull { .. } => (
                "disk_full",
                Blame::NoRoom,
                "free space in the state directory; `casemate doctor` shows how much",
            ),
            Self::CutShort { .. } => ("blob_cut_short", Blame::Request, "send it again, whole"),
            Self::Storage { .. } => ("storage", Blame::Host, "check owner and mode of the state directory"),
        }
    }
}

/// A folder of blobs.
#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
    maximum_bytes: u64,
    next: AtomicU64,
}

impl Blobs {
    /// Opens the folder, making it if needed, and drops what was half written when the daemon ended.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub fn open(folder: &Path, maximum_bytes: u64) -> Result<Self, BlobError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| BlobError::Storage { path, source }
        };
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        for entry in std::fs::read_dir(folder).map_err(at(folder))? {
            let entry = entry.map_err(at(folder))?;
            if entry.file_name().to_string_lossy().starts_with(INCOMING) {
                std::fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
            }
        }
        Ok(Self { folder: folder.to_owned(), maximum_bytes, next: AtomicU64::new(0) })
    }

    /// Where the blob is.
    ///
    /// # Errors
    /// [`BlobError::Absent`].
    pub fn path(&self, digest: &BlobDigest) -> Result<PathBuf, BlobError> {
        let path = self.folder.join(digest.to_string());
        if path.is_file() { Ok(path) } else { Err(BlobError::Absent { digest: *digest }) }
    }

    /// Describes the blob.
    ///
    /// # Errors
    /// [`BlobError::Absent`].
    pub fn describe(&self, digest: &BlobDigest) -> Result<Blob, BlobError> {
        let path = self.path(digest)?;
        let size_bytes = path.metadata().map_err(|source| BlobError::Storage { path, source })?.len();
        Ok(Blob { digest: *digest, size_bytes })
    }

    /// Every blob.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub fn list(&self) -> Result<Vec<Blob>, BlobError> {
        let at = |source| BlobError::Storage { path: self.folder.clone(), source };
        let mut blobs = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(at)? {
            let name = entry.map_err(at)?.file_name();
            if let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) {
                blobs.push(self.describe(&digest)?);
            }
        }
        blobs.sort_by_key(|blob| blob.digest);
        Ok(blobs)
    }

    /// Begins to take a blob in. What comes of one that is here already is checked, and not written.
    ///
    /// # Errors
    /// [`BlobError::Storage`], [`BlobError::DiskFull`].
    pub async fn begin(&self, named: BlobDigest) -> Result<Incoming<'_>, BlobError> {
        let draft = if self.path(&named).is_ok() { None } else { Some(self.draft().await?) };
        Ok(Incoming { blobs: self, named, draft, hasher: Sha256::new(), received_bytes: 0 })
    }

    async fn draft(&self) -> Result<Draft, BlobError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{INCOMING}{}-{number}", std::process::id()));
        let file = fs::File::create_new(&path).await;
        let file = file.map_err(|error| storage(error, &path, 0))?;
        Ok(Draft { file, guard: RemoveOnDrop { path: Some(path) } })
    }

    /// Deletes the blob.
    ///
    /// # Errors
    /// [`BlobError::Absent`], [`BlobError::Storage`].
    pub fn remove(&self, digest: &BlobDigest) -> Result<(), BlobError> {
        let path = self.path(digest)?;
        std::fs::remove_file(&path).map_err(|source| BlobError::Storage { path, source })
    }

    /// Deletes blobs that are not in `referenced` and were put longer than `age` ago; returns how many.
    ///
    /// # Errors
    /// [`BlobError::Storage`].
    pub fn collect(&self, referenced: &HashSet<BlobDigest>, age: Duration) -> Result<usize, BlobError> {
        let mut removed = 0;
        for blob in self.list()? {
            let path = self.path(&blob.digest)?;
            let put = path.metadata().and_then(|metadata| metadata.modified());
            let old =
                put.is_ok_and(|put| SystemTime::now().duration_since(put).is_ok_and(|since| since > age));
            if old && !referenced.contains(&blob.digest) {
                self.remove(&blob.digest)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// A blob that is on its way. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming<'a> {
    blobs: &'a Blobs,
    named: BlobDigest,
    /// `None` where the blob was here before.
    draft: Option<Draft>,
    hasher: Sha256,
    received_bytes: u64,
}

#[derive(Debug)]
struct Draft {
    file: fs::File,
    guard: RemoveOnDrop,
}

impl Incoming<'_> {
    /// Whether the blob was not here when it began to come.
    pub fn is_new(&self) -> bool {
        self.draft.is_some()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`], [`BlobError::DiskFull`], [`BlobError::Storage`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let maximum_bytes = self.blobs.maximum_bytes;
        let received_bytes = self.received_bytes + bytes.len() as u64;
        if received_bytes > maximum_bytes {
            return Err(BlobError::TooLarge { maximum_bytes });
        }
        if let Some(draft) = &mut self.draft {
            let result = draft.file.write_all(bytes).await;
            result.map_err(|error| storage(error, &self.blobs.folder, self.received_bytes))?;
        }
        self.hasher.update(bytes);
        self.received_bytes = received_bytes;
        Ok(())
    }

    /// Checks the digest and gives the blob its name.
    ///
    /// # Errors
    /// [`BlobError::WrongDigest`], [`BlobError::DiskFull`], [`BlobError::Storage`].
    pub async fn finish(mut self) -> Result<Blob, BlobError> {
        let failed = |error| storage(error, &self.blobs.folder, self.received_bytes);
        if let Some(draft) = &mut self.draft {
            draft.file.flush().await.map_err(failed)?;
        }
        let found = BlobDigest::from(<[u8; 32]>::from(self.hasher.finalize_reset()));
        if found != self.named {
            return Err(BlobError::WrongDigest { named: self.named, found });
        }
        if let Some(mut draft) = self.draft {
            draft.file.sync_all().await.map_err(failed)?;
            let path = draft.guard.path.take().expect("taken once, here");
            let result = fs::rename(&path, self.blobs.folder.join(self.named.to_string())).await;
            result.map_err(|source| BlobError::Storage { path, source })?;
        }
        Ok(Blob { digest: self.named, size_bytes: self.received_bytes })
    }

    /// The sender went away: names the error and leaves nothing behind.
    pub fn cut_short(self) -> BlobError {
        BlobError::CutShort { written_bytes: self.received_bytes }
    }
}

const INCOMING: &str = ".incoming-";

#[derive(Debug)]
struct RemoveOnDrop {
    path: Option<PathBuf>,
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn storage(source: io::Error, path: &Path, written_bytes: u64) -> BlobError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::DiskFull { written_bytes },
        _ => BlobError::Storage { path: path.to_owned(), source },
    }
}
