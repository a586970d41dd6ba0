//! Each program on crafted packets: its answer, every byte, the mark, and every counter.
//!
//! Most packets are run with `BPF_PROG_TEST_RUN` (see `netpath::datapath::TestPacket`); `wire` sends real
//! ones, where what is to be seen is the work of the kernel's helpers.

mod cache;
mod connections;
mod cost;
mod datagrams;
mod deliver;
mod dropped;
mod kernels;
mod loading;
mod malformed;
mod prefixes;
mod punted;
mod punted_by_fib;
mod reasons;
mod redirect;
mod remote;
mod retired;
mod reverse_path;
mod shadow;
mod trail;
mod uplink;
mod wire;
