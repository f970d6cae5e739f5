//! What may be asked of the validator?
