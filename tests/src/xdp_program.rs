//! Somebody's XDP program inside an endpoint.

use std::os::fd::{AsRawFd as _, OwnedFd};

use aya::maps::{Array, Map, MapData};
use netpath::netns::Netns;
use nix::net::if_::if_nametoindex;

use crate::{asm::*, bpf};

/// What a program answers, by its number in `enum xdp_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpAnswer {
    /// `XDP_DROP`.
    Drop = 1,
    /// `XDP_PASS`.
    Pass = 2,
}

/// Where a program runs, by its `XDP_FLAGS_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpPlace {
    /// In the network stack.
    Generic = 1 << 1,
    /// In the driver.
    Native = 1 << 2,
}

/// A program that counts what comes in and answers all of it alike, as long as this lives.
pub struct XdpProgram {
    seen: Array<MapData, u64>,
    _link: OwnedFd,
}

impl XdpProgram {
    /// Loads it and attaches it to an interface of a namespace.
    pub fn attach(netns: &Netns, dev: &str, place: XdpPlace, answer: XdpAnswer) -> Self {
        let map = bpf::new_array(size_of::<u64>()).expect("BPF_MAP_CREATE");
        let program = bpf::load(bpf::XDP, &instructions(&map, answer)).expect("BPF_PROG_LOAD");
        let attach = || {
            let ifindex = if_nametoindex(dev).expect(dev);
            bpf::attach_xdp(&program, ifindex, place as u32).expect("BPF_LINK_CREATE")
        };
        let link = netns.run(attach).expect("entering the namespace");
        let map = Map::from_map_data(MapData::from_fd(map).expect("a map"));
        Self {
            seen: Array::try_from(map.expect("a map")).expect("an array"),
            _link: link,
        }
    }

    /// How many packets it has seen.
    pub fn seen(&self) -> u64 {
        self.seen.get(&0, 0).expect("reading the map")
    }
}

fn instructions(map: &OwnedFd, answer: XdpAnswer) -> Vec<u64> {
    let [fd_low, fd_high] = map_fd(R1, map.as_raw_fd());
    vec![
        // The key 0, on the stack.
        store_word(R10, -4, 0),
        move_register(R2, R10),
        add(R2, -4),
        fd_low,
        fd_high,
        call(MAP_LOOKUP_ELEM),
        // An array has its element; the verifier does not know.
        jump_if(R0, 0, 2),
        move_immediate(R1, 1),
        atomic_add(R0, 0, R1),
        move_immediate(R0, answer as i32),
        EXIT,
    ]
}
