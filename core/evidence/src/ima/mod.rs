//! Which files did the running kernel measure, in which order?
//!
//! IMA measurement lists. Source: Linux 6.12, `security/integrity/ima` (`ima_fs.c`, `ima_template.c`,
//! `ima_template_lib.c`, `ima_crypto.c`), and its documentation "IMA Template Management Mechanism". A list
//! proves nothing by itself: it is as true as the PCR to which a prefix of it replays, for the list grows
//! while it is read.

mod entry;
mod list;
mod signature;

pub use entry::{Entry, EntryError, FileDigest, FileHash, Template};
pub use list::{BankRule, List, ListError};
pub use signature::{FileSignature, FileSignatureError};
