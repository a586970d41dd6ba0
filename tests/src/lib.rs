//! Lab guards and assertions.
