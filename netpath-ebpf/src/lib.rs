//! The stages of netpath's TC programs.
//!
//! Their order stands in [`pipeline`]; `main.rs` only turns a decision into a TC return code. The crate also builds
//! on the host, where nothing of a kernel can be called, so that what is pure in a stage has ordinary unit tests.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod access;
pub mod cache;
pub mod counters;
pub mod datagrams;
pub mod log;
pub mod pipeline;
pub mod redirect;
pub mod trace;
pub mod trail;

mod checks;
mod connections;
mod destination;
mod ends;
mod family;
mod features;
mod fib;
mod flow;
mod gate;
mod once;
mod parse;
mod records;
mod reverse_path;
mod rewrite;
mod shadow;
mod side;
mod source;
mod too_big;
