//! What may be asked of a running guest?
