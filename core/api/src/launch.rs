//! What does a guest get to boot with, besides its image?
