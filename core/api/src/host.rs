//! What may be asked of a host?
