//! Lab guards and assertions.

pub mod lab;
