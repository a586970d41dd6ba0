//! Packets by the thousand, on all of netpath or against the kernel.

mod conformance;
mod conformance_tun;
mod every_input;
