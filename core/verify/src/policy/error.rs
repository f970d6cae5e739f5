//! Why is this text no policy?

use casemate_canon::ParseBytesError;
use casemate_evidence::snp::{Product, Silicon};

use crate::verdict::Platform;

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Larger than any policy; nothing of it was read.
    #[error("{found} bytes, a policy has at most {}; is this a policy file?", crate::Policy::MAXIMUM_LEN)]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// Not TOML, or a key that is unknown, missing or of another type; the source names line and column.
    #[error("{0}")]
    Toml(toml::de::Error),
    /// Another version of the format.
    #[error("policy version {found}, expected 1; update Casemate or the policy")]
    Version {
        /// The number found.
        found: u32,
    },
    /// A list without entries, which could be read as "nothing" or as "anything".
    #[error("`{field}` is an empty list; list what is accepted, or write {word:?}")]
    EmptyList {
        /// The key.
        field: &'static str,
        /// The word that says it outright.
        word: &'static str,
    },
    /// A word that this key does not know.
    #[error("`{field}` is {found:?}, expected {expected}")]
    Word {
        /// The key.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
    /// An entry that is no digest or chip id.
    #[error("`{field}` holds {found:?}: {source}")]
    Bytes {
        /// The key.
        field: &'static str,
        /// The entry.
        found: String,
        /// What is wrong with it.
        source: ParseBytesError,
    },
    /// A product that this version does not know.
    #[error("`{field}` names {found:?}, expected Milan, Genoa or Turin")]
    Product {
        /// The key.
        field: &'static str,
        /// The name.
        found: String,
    },
    /// An accepted product without a TCB floor.
    #[error("product {product} is accepted, but there is no [minimum_tcb.{product}]; write its floor")]
    NoMinimumTcb {
        /// The product.
        product: Product,
    },
    /// `fmc` is missing for Turin, or present for an earlier product.
    #[error(
        "[minimum_tcb.{product}] {}; only Turin has an FMC version",
        if *missing { "has no `fmc`" } else { "has `fmc`" }
    )]
    Fmc {
        /// The product.
        product: Product,
        /// Whether it is missing.
        missing: bool,
    },
    /// A design of processors without a floor of microcode.
    #[error(
        "[minimum_tcb.{}] has no floor for the microcode of {silicon}; write `microcode.{silicon}`",
        silicon.product()
    )]
    NoMicrocode {
        /// The design.
        silicon: Silicon,
    },
    /// A floor of microcode for a design that the product does not have.
    #[error("[minimum_tcb.{product}] has a floor for the microcode of {found:?}, which is not of {product}")]
    Silicon {
        /// The product.
        product: Product,
        /// The name.
        found: String,
    },
    /// A rule for what an ID block states, with no rule for who signed it: whoever hosts the guest can write
    /// any ID block.
    #[error(
        "`{field}` is asked for, but no key: list the ID keys or author keys whose ID blocks count, or          write \"any\""
    )]
    UnboundIdBlock {
        /// The key.
        field: &'static str,
    },
    /// A number outside its range.
    #[error("`{field}` is {found}, expected {expected}")]
    Number {
        /// The key.
        field: &'static str,
        /// The number.
        found: u64,
        /// The range.
        expected: &'static str,
    },
    /// Neither a vendor's roots nor a simulated one: nothing could ever be genuine.
    #[error(
        "no root is accepted; set `roots.amd = \"builtin\"` or another vendor's, or list a simulated root"
    )]
    NoRoots,
    /// Some tables of a platform, but not all of them.
    #[error("{platform} is accepted, but `{missing}` is missing; write it, or leave out all of {tables}")]
    Incomplete {
        /// The platform.
        platform: Platform,
        /// The first table or key that is missing.
        missing: &'static str,
        /// What belongs together.
        tables: &'static str,
    },
    /// A key that is no register.
    #[error("`{field}` has {found:?}, expected registers 0 to {maximum} and \"others\"")]
    Register {
        /// The table.
        field: &'static str,
        /// The key.
        found: String,
        /// Highest register.
        maximum: u8,
    },
    /// Nothing is said of the registers that are not listed.
    #[error(
        "`{field}.others` is missing or not \"any\"; write `others = \"any\"` beside the registers listed"
    )]
    Others {
        /// The table.
        field: &'static str,
    },
    /// A runtime policy for IMA that is none.
    #[error("`ima.runtime_policy`: {message}")]
    RuntimePolicy {
        /// What is wrong with it.
        message: String,
    },
    /// No platform at all.
    #[error("no platform is accepted; write the rules of at least one")]
    NoPlatform,
    /// Neither digests nor apps: no workload could ever be accepted.
    #[error("no workload is accepted; set `workload.digests` or list apps in `workload.apps`")]
    NoWorkload,
}
