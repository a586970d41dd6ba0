//! The command as people and their scripts see it.

mod bench;
mod bench_cross_check;
mod bench_scale;
mod command;
mod demo;
mod readme;
mod troubleshooting;
