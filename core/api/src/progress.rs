//! What does a guest tell everyone while it starts?
